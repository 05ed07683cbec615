//! `crds-fs fetch`: brings files into a cache before anybody needs them.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

mod progress;
mod rules;
mod transfers;
mod wanted;

use std::path::PathBuf;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::flags::{CacheFlags, MountFlags};
use super::reference_filter::{FilterFlags, ReferenceFilter};
use super::selection::{self, Selected};
use super::settings::{self, Settings};
use super::suggestions::CONTEXTS;
use super::target::{Missing, Opened, Session, Target, TargetFlags};
use super::{Failure, logging, output};
use crate::crds::{ContextSpec, FileKey, FileName, Observatory};
use crate::rules::LookupOptions;
use progress::Progress;
use rules::Rules;
use transfers::Transfers;
use wanted::{Request, Wanted};

/// Exit status of a command that was interrupted, as shells give it.
const INTERRUPTED: u8 = 130;

/// Bring files into the cache, many at a time.
///
/// Files are named, or found by a context, by datasets, by dataset files, or by a lock file. They come through the mount,
/// or straight into a cache directory, which is an ordinary CRDS cache afterwards. What is here already is verified, and not
/// fetched again. An interrupted fetch goes on where it stopped when the same command is run again. The exit status is 1
/// when something could not be had.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("wanted").required(true).multiple(true)
    .args(["names", "context", "bestrefs", "files", "lock"]))]
pub(super) struct Args {
    /// Names of rules or references, or globs, which are to be quoted for the shell: 'jwst_miri_*.rmap'.
    #[arg(value_name = "NAME|GLOB")]
    names: Vec<String>,
    /// The rules of this context: a mapping, or a name such as jwst-latest. With --bestrefs or --files: the context to
    /// look up by [default: $CRDS_CONTEXT, else the observatory's default context].
    #[arg(long, value_name = "CONTEXT", value_parser = CONTEXTS, hide_possible_values = true)]
    context: Option<String>,
    /// All references of the context, too.
    #[arg(long, requires = "context")]
    references: bool,
    #[command(flatten)]
    filter: FilterFlags,
    /// The best references of these datasets of the archive.
    #[arg(long, value_name = "ID", num_args = 1..)]
    bestrefs: Vec<String>,
    /// The best references of these dataset files.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// The files of a lock file, as 'crds-fs run --record' writes it.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    target: TargetFlags,
    /// Only tell what would be fetched. Rules that have to be read for that are fetched all the same.
    #[arg(long)]
    dry_run: bool,
    /// Fetch so many large files at a time, and four times as many small ones [default: 8].
    #[arg(long, value_name = "N")]
    jobs: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    // Failures are told at the end: the log would repeat them.
    logging::to_standard_error("off");
    let environment = settings::environment();
    let request = Request::new(args)?;
    let missing = if args.dry_run {
        Missing::Refuse
    } else {
        Missing::Make
    };
    let target = Target::choose(&args.target, &environment, missing)?;
    target.must_be_cache()?;
    let flags = MountFlags {
        common: CacheFlags {
            jobs: args.jobs.clone(),
            ..CacheFlags::default()
        },
        ..MountFlags::default()
    };
    let mut settings = target.settings(&args.target, flags, &environment)?;
    if !args.dry_run {
        settings.share();
    }
    let session = Session::open(&target, settings)?;
    let outcome = session.wait(fetch(args, &request, session.settings(), session.target()));
    let hint = offline_hint(session.settings());
    session.end();
    outcome.map_err(|failure| match hint {
        Some(hint) => Failure::new(format!("{failure}\n{hint}")).with_status(failure.status()),
        None => failure,
    })
}

/// The way out, where no server is asked because of an inherited variable.
fn offline_hint(settings: &Settings) -> Option<String> {
    let url = settings.remote.server_url.as_ref().filter(|_| settings.offline)?;
    Some(format!(
        "hint: nothing is fetched, since CRDS_SERVER_URL is {url}: unset it, or name a server in CRDS_FS_SERVER"
    ))
}

/// Finds and brings everything, shows the progress, and reports.
async fn fetch(args: &Args, request: &Request, settings: &Settings, opened: &Opened) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let begun = Instant::now();
    let transfers = Transfers::new(opened, Progress::new(), settings.jobs);
    let work = async {
        let wanted = request.find(&transfers, settings, !args.dry_run).await?;
        for problem in &wanted.problems {
            transfers.progress().say(problem);
        }
        if !args.dry_run {
            for (key, entry) in &wanted.files {
                transfers.progress().announce(key, entry.size);
            }
            transfers.bring_all(&wanted.files).await;
        }
        Ok::<Wanted, Failure>(wanted)
    };
    let found = tokio::select! {
        found = work => Some(found),
        () = transfers.progress().watch(opened) => None,
        by_keyboard = signals.next() => {
            if by_keyboard {
                transfers.progress().interrupted();
            }
            None
        }
    };
    let speed = transfers.progress().finish(begun);
    if found.is_some() {
        tokio::select! {
            () = opened.write_back() => {}
            _ = signals.next() => {}
        }
    }
    tokio::select! {
        () = opened.close() => {}
        _ = signals.next() => {}
    }
    let Some(found) = found else {
        let here = transfers.here();
        let text = format!("interrupted after {here} files: the same command goes on with the rest");
        return Err(Failure::new(text).with_status(INTERRUPTED));
    };
    report(args, &transfers, &found?, &speed)
}

/// Prints the results; an error if something could not be had.
fn report(args: &Args, transfers: &Transfers<'_>, wanted: &Wanted, speed: &str) -> Result<(), Failure> {
    let report = if args.dry_run {
        transfers.plan(&wanted.files)
    } else {
        transfers.report()
    };
    if args.json {
        output::write(report.to_json().as_bytes())?;
    } else if args.dry_run {
        output::write(report.to_table().as_bytes())?;
    } else {
        let fetched = report.count("fetched") > 0;
        let speed = if fetched {
            format!("{speed}\n")
        } else {
            String::new()
        };
        output::write(format!("{}{speed}", report.sums()).as_bytes())?;
    }
    let mut trouble = Vec::new();
    if report.failed() > 0 {
        let table = if args.json {
            String::new()
        } else {
            format!(":\n{}", report.failures())
        };
        trouble.push(format!(
            "{} of {} files could not be had{}",
            report.failed(),
            report.len(),
            table.trim_end()
        ));
    }
    if !wanted.problems.is_empty() {
        let datasets = wanted.problems.len();
        trouble.push(format!("{datasets} of the datasets have no answer: see above"));
    }
    if trouble.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(trouble.join("\n")))
    }
}

/// The mappings below a context, itself included, and with a filter the references that they name, for commands that bring
/// neither. Rules that have to be read for that are brought, and an error if they cannot be had.
pub(super) async fn below(
    target: &Opened,
    settings: &Settings,
    spec: &ContextSpec,
    filter: Option<&ReferenceFilter>,
) -> Result<Selected, Failure> {
    let transfers = Transfers::new(target, Progress::silent(), settings.jobs);
    let options = LookupOptions {
        ignore_checksum: settings.ignore_mapping_checksum,
    };
    let context = target.context(spec).await?;
    let found = Rules::new(&transfers, options)
        .below(&context, filter, false)
        .await;
    let report = transfers.report();
    if report.failed() > 0 {
        return Err(Failure::new(format!(
            "{} rules below {context} could not be had, so that not all of its files are known:\n{}",
            report.failed(),
            report.failures().trim_end()
        )));
    }
    found.map_err(Failure::new)
}

/// Brings files for another command, the data halves of GEIS references with them, and shows the progress. Gives the number of
/// those that cannot be had, which are told.
pub(super) async fn bring(
    target: &Opened,
    settings: &Settings,
    keys: impl IntoIterator<Item = FileKey>,
) -> u64 {
    let begun = Instant::now();
    let transfers = Transfers::new(target, Progress::new(), settings.jobs);
    let files = selection::with_entries(target, keys).await;
    for (key, entry) in &files {
        transfers.progress().announce(key, entry.size);
    }
    tokio::select! {
        () = transfers.bring_all(&files) => {}
        () = transfers.progress().watch(target) => {}
    }
    transfers.progress().finish(begun);
    transfers.report().failed()
}

/// Brings rules to where others read them by their names; gives a message for each that cannot be had.
pub(super) async fn bring_rules(target: &Opened, settings: &Settings, names: &[String]) -> Vec<String> {
    let mut failures = Vec::new();
    let mut keys = Vec::new();
    for name in names {
        match (Observatory::of_name(name), name.parse::<FileName>()) {
            (Some(observatory), Ok(name)) => keys.push(FileKey { observatory, name }),
            _ => failures.push(format!("'{name}' is not the name of a rule in a cache")),
        }
    }
    let transfers = Transfers::new(target, Progress::silent(), settings.jobs);
    transfers
        .bring_all(&selection::with_entries(target, keys).await)
        .await;
    failures.extend(transfers.report().errors());
    failures.extend(target.flush().await.err().map(|failure| failure.to_string()));
    failures
}

/// The signals that end a fetch.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one; true for that of the keyboard.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => false,
        }
    }
}
