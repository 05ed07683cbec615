//! `crds-fs verify`: whether what is in the cache is what the catalog says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};

use super::files_report::FilesReport;
use super::selection::{self, Selected};
use super::target::{Aside, Opened, TargetFlags};
use super::upkeep::{self, in_background};
use super::{Failure, output};
use crate::crds::{CatalogEntry, FileKey};
use crate::store::{Finding, Leftover};

/// The bar that is shown while files are hashed.
const BAR: &str = "{bar:20} {bytes:>11}/{total_bytes:<11} {bytes_per_sec:>12}  {msg}, {eta} left";

/// The pause between two lines of progress where there is no terminal.
const PERIOD: Duration = Duration::from_secs(10);

/// Read and hash what is in the cache, and compare it with the catalog.
///
/// Without names everything that is in the cache or held is checked, on all cores. It tells of files that are wrong,
/// truncated, or held and missing, and beside those of your own files in place of catalogued ones, of quarantine, and of
/// what killed processes have left. Through a mount the files are read as the mount shows them. The exit status is 1 when
/// something is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetFlags,
    /// Names and globs of files; globs are to be quoted for the shell.
    #[arg(value_name = "NAME|GLOB")]
    names: Vec<String>,
    /// Set what is wrong aside and fetch it anew, fetch what is held and missing, and remove what was left.
    #[arg(long)]
    repair: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    upkeep::with_target(&args.target, async |target, _| {
        let before = in_background(&target, Opened::aside).await?;
        let held = in_background(&target, Opened::held).await?;
        let checks = if args.names.is_empty() {
            upkeep::everything_here(&target, &held).await?
        } else {
            selection::select(&target, &args.names).await?
        };
        let outcomes = check_all(&target, checks, &held, args.repair).await;
        let after = in_background(&target, Opened::aside).await?;
        let removed = if args.repair {
            remove_leftovers(&target, &after).await?
        } else {
            0
        };
        report(args, &outcomes, &before, &after, removed)
    })
}

/// The finding under a name, and the result of its repair.
struct Outcome {
    key: FileKey,
    size: Option<u64>,
    state: &'static str,
    error: Option<String>,
}

impl Outcome {
    fn new(key: FileKey, size: Option<u64>, state: &'static str, error: Option<String>) -> Self {
        Self {
            key,
            size,
            state,
            error,
        }
    }

    /// The outcome of a finding without a repair.
    fn of(key: FileKey, entry: CatalogEntry, found: Result<Finding, Failure>, is_held: bool) -> Self {
        let expected = entry.size.unwrap_or_default();
        let (state, error) = match found {
            Ok(Finding::Right) => ("cached", None),
            Ok(Finding::Local(size)) => return Self::new(key, Some(size), "local", None),
            Ok(Finding::Absent) if is_held => ("missing", Some("it is held and not here".to_owned())),
            Ok(Finding::Absent) => ("remote", None),
            Ok(Finding::WrongLength(size)) => {
                let state = if size < expected { "truncated" } else { "wrong" };
                (state, Some(format!("it has {size} bytes instead of {expected}")))
            }
            Ok(Finding::WrongDigest(sha1)) => {
                let expected = entry.sha1.map(|sha1| format!(" instead of {sha1}"));
                let text = format!("its SHA-1 is {sha1}{}", expected.unwrap_or_default());
                ("wrong", Some(text))
            }
            Err(failure) => ("unreadable", Some(failure.to_string())),
        };
        Self::new(key, entry.size, state, error)
    }
}

/// Checks files on all cores.
async fn check_all(
    target: &Arc<Opened>,
    checks: Selected,
    held: &BTreeSet<FileKey>,
    repair: bool,
) -> BTreeMap<FileKey, Outcome> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut progress = Progress::new(&checks);
    let one = |(key, entry): (FileKey, CatalogEntry)| {
        let is_held = held.contains(&key);
        async move {
            let mut outcome = check(target, &key, entry, is_held).await;
            if matches!(outcome.state, "wrong" | "truncated") {
                let told = in_background(target, move |target| Ok(target.came_from(&key))).await;
                if let (Some(error), Ok(Some(url))) = (&mut outcome.error, told) {
                    *error = format!("{error}; it came from {url}");
                }
            }
            match outcome.error {
                Some(_) if repair => mend(target, entry, outcome).await,
                _ => outcome,
            }
        }
    };
    let mut checked = stream::iter(checks).map(one).buffer_unordered(cores);
    let mut outcomes = BTreeMap::new();
    while let Some(outcome) = checked.next().await {
        progress.add(&outcome);
        outcomes.insert(outcome.key.clone(), outcome);
    }
    progress.bar.finish_and_clear();
    outcomes
}

async fn check(target: &Arc<Opened>, key: &FileKey, entry: CatalogEntry, is_held: bool) -> Outcome {
    let own = key.clone();
    let found = in_background(target, move |target| target.examine(&own, entry)).await;
    Outcome::of(key.clone(), entry, found, is_held)
}

/// Fetches a file that is wrong or missing.
async fn mend(target: &Arc<Opened>, entry: CatalogEntry, outcome: Outcome) -> Outcome {
    let key = outcome.key.clone();
    let rejected = if outcome.state == "missing" {
        Ok(())
    } else {
        in_background(target, move |target| target.reject(&key, entry)).await
    };
    let fetched = match rejected {
        Ok(()) => target.file(&outcome.key).await.map(drop),
        Err(failure) => Err(failure),
    };
    match fetched {
        Ok(()) => Outcome::new(outcome.key, outcome.size, "repaired", None),
        Err(failure) => {
            let found = outcome.error.unwrap_or_default();
            let error = format!("{found}; it cannot be repaired: {failure}");
            Outcome::new(outcome.key, outcome.size, outcome.state, Some(error))
        }
    }
}

/// The progress: a bar on a terminal, else a line now and then.
struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    told: Instant,
    files: usize,
    done: usize,
    bytes: u64,
    wrong: usize,
}

impl Progress {
    fn new(checks: &Selected) -> Self {
        let bytes = checks.values().filter_map(|entry| entry.size).sum();
        let is_terminal = io::stderr().is_terminal();
        let bar = if is_terminal {
            // The template above is right.
            let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(bytes).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        Self {
            bar,
            is_terminal,
            told: Instant::now(),
            files: checks.len(),
            done: 0,
            bytes: 0,
            wrong: 0,
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        self.done += 1;
        self.wrong += usize::from(outcome.error.is_some());
        let bytes = outcome.size.unwrap_or_default();
        self.bytes += bytes;
        self.bar.inc(bytes);
        let text = format!("{} of {} files, {} wrong", self.done, self.files, self.wrong);
        if !self.is_terminal && self.told.elapsed() >= PERIOD {
            self.told = Instant::now();
            output::remark(&format!("{text}, {}\n", output::size(self.bytes)));
        }
        self.bar.set_message(text);
    }
}

async fn remove_leftovers(target: &Arc<Opened>, aside: &Aside) -> Result<u64, Failure> {
    let leftovers = aside.leftovers.clone();
    in_background(target, move |target| {
        for leftover in &leftovers {
            target.remove_leftover(leftover)?;
        }
        Ok(leftovers.len() as u64)
    })
    .await
}

/// Prints the findings; an error if something is wrong.
fn report(
    args: &Args,
    outcomes: &BTreeMap<FileKey, Outcome>,
    before: &Aside,
    after: &Aside,
    removed: u64,
) -> Result<(), Failure> {
    let mut report = FilesReport::default();
    for outcome in outcomes.values() {
        report.add(&outcome.key, outcome.size, outcome.state, outcome.error.clone());
    }
    report.note("quarantined", after.quarantined, after.quarantined_bytes);
    report.note(
        "leftovers",
        after.leftovers.len() as u64,
        bytes_of(&after.leftovers),
    );
    // A mount finds some by itself, on opening them, and brings them anew.
    let set_aside = after.quarantined.saturating_sub(before.quarantined);
    let found_by_mount = if args.repair { 0 } else { set_aside };
    if args.json {
        output::write(report.to_json().as_bytes())?;
    } else {
        output::write(report.noteworthy(&["local", "repaired"]).as_bytes())?;
        output::write(report.sums().as_bytes())?;
        tell_aside(after, set_aside, removed)?;
    }
    let wrong = report.failed();
    if wrong > 0 {
        let advice = if args.repair {
            ""
        } else {
            "; 'crds-fs verify --repair' sets aside what is wrong, and fetches it and what is missing"
        };
        let (files, verb) = (output::files(wrong), output::verb(wrong));
        return Err(Failure::new(format!("{files} {verb} not right{advice}")));
    }
    if found_by_mount > 0 {
        let was = if found_by_mount == 1 { "was" } else { "were" };
        return Err(Failure::new(format!(
            "{} {was} found to be wrong on opening; the mount has set that aside and fetched it anew",
            output::files(found_by_mount)
        )));
    }
    Ok(())
}

fn bytes_of(leftovers: &[Leftover]) -> u64 {
    leftovers.iter().map(|leftover| leftover.bytes).sum()
}

/// Prints the contents of the store besides the files.
fn tell_aside(aside: &Aside, set_aside: u64, removed: u64) -> Result<(), output::OutputError> {
    if aside.quarantined > 0 {
        let now = if set_aside > 0 {
            format!(", {set_aside} of them now")
        } else {
            String::new()
        };
        output::line(format!(
            "quarantine: {} with {}{now}, in .crds-fs/quarantine in the cache: look through them",
            output::files(aside.quarantined),
            output::size(aside.quarantined_bytes)
        ))?;
    }
    if aside.partial > 0 {
        output::line(format!(
            "interrupted transfers have left {}, and go on from there",
            output::size(aside.partial)
        ))?;
    }
    let left = aside.leftovers.len() as u64;
    match (left, removed) {
        (0, _) => {}
        (_, 0) => {
            output::line(format!(
                "killed processes have left {} with {}, which '--repair' removes:",
                output::files(left),
                output::size(bytes_of(&aside.leftovers))
            ))?;
            for leftover in &aside.leftovers {
                output::line(format!("  {}", leftover.path.display()))?;
            }
        }
        (_, removed) => output::line(format!(
            "removed {} that killed processes have left",
            output::files(removed)
        ))?,
    }
    Ok(())
}
