//! `crds-fs bestrefs`: best references of datasets, files, and headers.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

mod answers;
mod archive;
mod check;
mod counts;
mod explain;
mod files;
mod items;
mod lookup;
mod ordered;
mod record;
mod render;
mod request;
mod stream;
mod subject;
mod tally;

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::cache_dirs::CacheDirs;
use super::cache_rules::{CacheRules, check_context};
use super::settings::environment;
use super::suggestions::CONTEXTS;
use super::target::{Session, Target, TargetFlags};
use super::{Failure, failure, fetch, logging, output};
use crate::crds::ContextError;
use counts::Counts;
use lookup::{Defaults, Lookup};
use render::say;
use request::{Request, Subjects, Task};
use stream::StreamError;
use tally::Tally;

/// Tell the best references of datasets.
///
/// Headers, files and parameters are looked up here, by the rules in the cache directory or mount. For ids of the
/// archive the mount or the server is asked.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("subjects").args(["datasets", "files", "header", "headers"]))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(super) struct Args {
    /// Ids of datasets in the archive, or parameters KEY=VALUE,...
    datasets: Vec<String>,
    /// Dataset files: FITS, ASDF, GEIS, JSON or YAML.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Matching parameters; in values '%2C' stands for ',' and '%25' for '%'.
    #[arg(long, value_name = "KEY=VALUE,...")]
    header: Vec<String>,
    /// Headers as JSON lines {"id": ..., "header": {...}}, each optionally with "context" and "reftypes"; '-' reads
    /// standard input.
    #[arg(long, value_name = "FILE.jsonl|-")]
    headers: Option<PathBuf>,
    /// The context: a mapping, or a name such as jwst-latest; may be given several times [default: the default context
    /// of the observatory that the dataset is of; $CRDS_FS_CONTEXT, else $CRDS_CONTEXT].
    #[arg(long, value_name = "NAME", value_parser = CONTEXTS, hide_possible_values = true)]
    context: Vec<String>,
    /// Show only what is different under this context.
    #[arg(long, value_name = "NAME", value_parser = CONTEXTS, hide_possible_values = true)]
    compare: Option<String>,
    /// Only these types of references.
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    types: Vec<String>,
    /// Of files: not these types.
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    skip_types: Vec<String>,
    /// Of files: all types of the instrument, also those that its exposure type does not use.
    #[arg(long, conflicts_with = "types")]
    all_types: bool,
    #[command(flatten)]
    target: TargetFlags,
    /// Show also the types that have no answer, with the reasons.
    #[arg(long)]
    all: bool,
    /// Write JSON, one line for each answer.
    #[arg(long)]
    json: bool,
    /// Bring the references into the cache.
    #[arg(long)]
    fetch: bool,
    /// Write the answers into the headers of the files.
    #[arg(long, conflicts_with = "compare")]
    update_bestrefs: bool,
    /// Tell why: which rules, which parameters, which row and which date decided, and what would have to be different.
    #[arg(
        long,
        value_name = "TYPE,...",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["compare", "update_bestrefs", "fetch"]
    )]
    explain: Option<String>,
    /// Compare what the headers say was used with what is best now; the exit status is 3 if anything changed.
    #[arg(long, conflicts_with_all = ["compare", "update_bestrefs", "fetch", "explain"])]
    check: bool,
    /// With --update-bestrefs: say what would be written, and write nothing.
    #[arg(long, requires = "update_bestrefs")]
    dry_run: bool,
    /// With --update-bestrefs: no match is an error and leaves the file's value as it is.
    #[arg(long, requires = "update_bestrefs")]
    undefined_differences_matter: bool,
}

/// Gives the exit status.
pub(super) fn run(args: Args) -> Result<u8, Failure> {
    logging::to_standard_error("warn");
    let mut request = Request::new(args, &environment())?;
    let session = match request.settings.take() {
        Some(settings) => Some(Session::open(&request.target, settings)?),
        None => None,
    };
    if let (Some(session), Target::Servers) = (&session, &request.target)
        && request.dirs.check().is_err()
    {
        // Rules that are brought lie there.
        request.dirs = CacheDirs::of_cache(session.directory());
    }
    let done = look_up(&request, session.as_ref());
    if let Some(session) = session {
        session.close();
    }
    let Done {
        counts,
        fetched,
        changed,
    } = done?;
    finish(counts, fetched)?;
    Ok(if changed { failure::CHANGED } else { 0 })
}

/// The result of a call.
struct Done {
    counts: Counts,
    /// Whether every reference that was wanted could be fetched.
    fetched: bool,
    /// Whether a header records what is not the best any more.
    changed: bool,
}

/// Looks everything up.
fn look_up(request: &Request, session: Option<&Session>) -> Result<Done, Failure> {
    let rules = CacheRules::new(request.dirs.clone(), request.options);
    let literal = |name: &str| literal(name, &rules, session);
    let contexts = request.contexts.iter().map(|name| {
        literal(name).map_err(|failure| match request.context_variable {
            Some(variable) => Failure::new(format!("{variable}: {failure}")).with_status(failure.status()),
            None => failure,
        })
    });
    let lookup = Lookup {
        contexts: contexts.collect::<Result<_, _>>()?,
        defaults: Defaults::new(request.observatory, |name| {
            literal(name).map_err(|failure| failure.to_string())
        }),
        compare: request.compare.as_deref().map(literal).transpose()?,
        reftypes: &request.reftypes,
        json: request.json,
        all: request.all,
        hides: AtomicBool::new(false),
        explain: request.task == Task::Explain,
        check: (request.task == Task::Check).then(Tally::default),
        rules: &rules,
        wanted: request.fetch.then(Mutex::default),
        differs: AtomicBool::new(false),
    };
    lookup.check_reftypes(&lookup.contexts).map_err(Failure::usage)?;
    let counts = match &request.subjects {
        Subjects::Items(items) => items::run(&lookup, items, session)?,
        Subjects::Lines(path) => lines(&lookup, path.as_deref())?,
        Subjects::Files(paths, update) => match &lookup.check {
            Some(tally) => check::files(&lookup, paths, tally)?,
            None => files::run(&lookup, paths, *update)?,
        },
    };
    summarize(&lookup, counts)?;
    let changed = lookup.check.as_ref().is_some_and(Tally::has_changes);
    let wanted = lookup.wanted.map(Mutex::into_inner);
    let fetched = match (session, wanted) {
        (Some(session), Some(wanted)) => {
            session.wait(fetch::bring(session.target(), session.settings(), wanted)) == 0
        }
        _ => true,
    };
    Ok(Done {
        counts,
        fetched,
        changed,
    })
}

/// The literal name of a context.
fn literal(name: &str, rules: &CacheRules, session: Option<&Session>) -> Result<String, Failure> {
    check_context(name).map_err(Failure::usage)?;
    match (rules.literal(name), session) {
        (Err(_), Some(session)) => {
            let spec = name
                .parse()
                .map_err(|error: ContextError| Failure::usage(error.to_string()))?;
            let found = session.wait(session.target().context(&spec))?;
            Ok(found.name.to_string())
        }
        (literal, _) => literal.map_err(Failure::new),
    }
}

/// Prints what there is to say about all answers together.
fn summarize(lookup: &Lookup<'_>, counts: Counts) -> Result<(), Failure> {
    if let Some(tally) = &lookup.check
        && !lookup.json
    {
        output::write(tally.summary(counts).as_bytes())?;
    }
    if let Some(new) = &lookup.compare
        && !lookup.json
        && counts.asked > counts.failed
        && !lookup.differs.load(Ordering::Relaxed)
    {
        say("INFO", &format!("no differences under {new}"));
    }
    if lookup.hides.load(Ordering::Relaxed) {
        say(
            "INFO",
            "types without an answer are not shown: --all shows them, --explain says why",
        );
    }
    Ok(())
}

/// Streams JSON lines of a file, else of standard input, through all cores.
fn lines(lookup: &Lookup<'_>, path: Option<&Path>) -> Result<Counts, Failure> {
    let unreadable = |error: io::Error| {
        let path = path.unwrap_or(Path::new("-"));
        Failure::because(format!("reading {}", path.display()), error)
    };
    let failed = |error: StreamError| match error {
        StreamError::Input(error) => unreadable(error),
        StreamError::Output(error) => error.into(),
    };
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut output = BufWriter::with_capacity(1 << 16, output::results());
    if let Some(path) = path {
        let input = BufReader::with_capacity(1 << 18, File::open(path).map_err(unreadable)?);
        lookup.stream(input, &mut output, cores).map_err(failed)
    } else {
        let input = BufReader::with_capacity(1 << 18, io::stdin());
        lookup.stream(input, &mut output, cores).map_err(failed)
    }
}

/// The end: whether everything could be done, else how much could not.
fn finish(counts: Counts, fetched: bool) -> Result<(), Failure> {
    let Counts { asked, failed } = counts;
    let datasets = (failed > 0).then(|| format!("{failed} of {asked} datasets failed"));
    let references = (!fetched).then(|| "not every reference could be fetched".to_owned());
    let trouble: Vec<String> = datasets.into_iter().chain(references).collect();
    if trouble.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format!("{}: see above", trouble.join(", and "))))
    }
}
