//! `crds-fs evict`: copies that go before they have to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::builder::TypedValueParser as _;

use super::files_report::FilesReport;
use super::reference_filter::ReferenceFilter;
use super::selection::{self, Selected};
use super::suggestions::CONTEXTS;
use super::target::{CopyStatus, Opened, TargetFlags};
use super::upkeep::{self, in_background};
use super::{Failure, fetch, output, settings};
use crate::crds::{CatalogEntry, ContextSpec, FileKey};
use crate::store::Eviction;

/// Drop copies from the cache. They are fetched again when somebody opens them.
///
/// Copies are named, or found by a context (its rules and the references that they name), or are all that are in the cache;
/// of these go those that were not used for a time, and with --to the least recently used first until the cache is no larger
/// than that. Your own files, files that are open, and files that are held stay.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["names", "context", "unused_for", "to"]))]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetFlags,
    /// Names and globs of files; globs are to be quoted for the shell.
    #[arg(value_name = "NAME|GLOB")]
    names: Vec<String>,
    /// The files of this context.
    #[arg(long, value_name = "CONTEXT", hide_possible_values = true,
        value_parser = CONTEXTS.try_map(|name| name.parse::<ContextSpec>()))]
    context: Option<ContextSpec>,
    /// Only what was not used for so long, as in 30d.
    #[arg(long, value_name = "DUR", value_parser = settings::duration)]
    unused_for: Option<Duration>,
    /// Only as much as has to go until the cache is no larger than this, as in 100G.
    #[arg(long, value_name = "SIZE", value_parser = settings::size)]
    to: Option<u64>,
    /// Only tell what would go.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    upkeep::with_target(&args.target, async |target, settings| {
        let mut selected = selection::select(&target, &args.names).await?;
        if let Some(spec) = &args.context {
            let all = ReferenceFilter::default();
            selected.extend(fetch::below(&target, settings, spec, Some(&all)).await?);
        }
        if args.names.is_empty() && args.context.is_none() {
            selected = upkeep::everything_here(&target, &BTreeSet::new()).await?;
        }
        let used = in_background(&target, Opened::aside).await?.used;
        let plan = Plan::new(&target, selected, args, used).await?;
        let left = plan.left;
        let report = if args.dry_run {
            plan.report()
        } else {
            evict(&target, plan).await?
        };
        print(args, &report)?;
        match args.to.filter(|to| left > *to) {
            Some(to) => Err(Failure::new(format!(
                "{} are left, more than {}: what else there is was not named, or is open, held, your own, in quarantine, or \
                 was left by interrupted transfers",
                output::size(left),
                output::size(to)
            ))),
            None => Ok(()),
        }
    })
}

/// The copies to evict, in order, and those that stay although they were named.
#[derive(Default)]
struct Plan {
    going: Vec<(FileKey, CatalogEntry)>,
    staying: FilesReport,
    /// Bytes that are used afterwards.
    left: u64,
}

impl Plan {
    async fn new(target: &Arc<Opened>, selected: Selected, args: &Args, used: u64) -> Result<Self, Failure> {
        let mut copies = in_background(target, move |target| Ok(target.copies(selected))).await?;
        // Copies without a known last use go first.
        copies.sort_by_key(|(copy, ..)| copy.last_used);
        let before = args.unused_for.map(|unused| SystemTime::now() - unused);
        let mut plan = Self {
            left: used,
            ..Self::default()
        };
        for (copy, key, entry) in copies {
            plan.add(&copy, key, entry, before, args.to);
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        copy: &CopyStatus,
        key: FileKey,
        entry: CatalogEntry,
        before: Option<SystemTime>,
        to: Option<u64>,
    ) {
        let is_used = before.is_some_and(|before| copy.last_used.is_some_and(|used| used > before));
        if is_used || to.is_some_and(|to| self.left <= to) {
            return;
        }
        let size = copy.local.or(entry.size);
        if let Some(state) = stays(copy) {
            self.staying.add(&key, size, state, None);
            return;
        }
        self.left = self.left.saturating_sub(size.unwrap_or_default());
        self.going.push((key, entry));
    }

    /// The report on the plan, without doing anything.
    fn report(self) -> FilesReport {
        let mut report = self.staying;
        for (key, entry) in &self.going {
            report.add(key, entry.size, "evictable", None);
        }
        report
    }
}

/// The reason for which a copy stays, as a state of the report.
fn stays(copy: &CopyStatus) -> Option<&'static str> {
    if copy.local.is_some() {
        Some("local")
    } else if copy.is_held {
        Some("held")
    } else if copy.is_open {
        Some("open")
    } else {
        None
    }
}

/// Evicts the copies of a plan, and reports on each.
async fn evict(target: &Arc<Opened>, plan: Plan) -> Result<FilesReport, Failure> {
    let (going, mut report) = (plan.going, plan.staying);
    // A thread of its own: a mount drops a copy when another one looks its name up.
    let evicting = std::thread::Builder::new().name("evict".to_owned()).spawn({
        let target = Arc::clone(target);
        move || {
            let evict = |(key, entry): (FileKey, CatalogEntry)| {
                let became = target.evict(&key, entry);
                (key, entry, became)
            };
            going.into_iter().map(evict).collect::<Vec<_>>()
        }
    })?;
    let joined = tokio::task::spawn_blocking(move || evicting.join()).await?;
    let became = joined.map_err(|_| Failure::new("a mistake in crds-fs: please report it"))?;
    let gone = |(key, _, became): &(FileKey, CatalogEntry, Result<Eviction, Failure>)| {
        matches!(became, Ok(Eviction::Gone(_))).then(|| key.clone())
    };
    let evicted: Vec<FileKey> = became.iter().filter_map(gone).collect();
    in_background(target, move |target| {
        target.settle(&evicted);
        Ok(())
    })
    .await?;
    for (key, entry, became) in became {
        let (state, error) = match became {
            Ok(Eviction::Gone(_)) => ("evicted", None),
            Ok(Eviction::Absent) => continue,
            Ok(Eviction::Local) => ("local", None),
            Ok(Eviction::Held) => ("held", None),
            Ok(Eviction::Open) => ("open", None),
            Ok(Eviction::Wrong) => (
                "wrong",
                Some(
                    "it is not the catalogued file, and may be somebody's: 'crds-fs verify' tells more"
                        .to_owned(),
                ),
            ),
            Err(failure) => ("failed", Some(failure.to_string())),
        };
        report.add(&key, entry.size, state, error);
    }
    Ok(report)
}

fn print(args: &Args, report: &FilesReport) -> Result<(), Failure> {
    if args.json {
        output::write(report.to_json().as_bytes())?;
    } else if args.dry_run {
        output::write(report.to_table().as_bytes())?;
    } else {
        output::write(report.noteworthy(&["held", "open", "local"]).as_bytes())?;
        output::write(report.sums().as_bytes())?;
    }
    match report.failed() {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} files could not be evicted"))),
    }
}
