//! `crds-fs hold` and `crds-fs release`: files that stay whatever the quota says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::files_report::FilesReport;
use super::target::{Opened, TargetFlags};
use super::upkeep::{self, Wanted, in_background};
use super::{Failure, output};
use crate::crds::{CatalogEntry, FileKey, Observatory};
use crate::store::HoldChange;

/// Keep files in the cache whatever its size limit says, or list what is kept so.
///
/// Names, globs, the rules of contexts (with --references also the references that they name), or the files of a lock file
/// are never evicted from now on, whether or not they are here yet. 'crds-fs fetch' brings them, 'crds-fs release' takes it
/// back. --list tells whether all that is held is here, so that it is complete for offline work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetFlags,
    #[command(flatten)]
    wanted: Wanted,
    /// List what is held, with its state.
    #[arg(long, conflicts_with_all = ["names", "lock", "references"])]
    list: bool,
    /// Print JSON.
    #[arg(long, conflicts_with_all = ["names", "lock", "references"])]
    json: bool,
}

/// Let files be evicted again that are held.
#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    target: TargetFlags,
    #[command(flatten)]
    wanted: Wanted,
    /// Release all that is held.
    #[arg(long, conflicts_with_all = ["names", "lock", "references"])]
    all: bool,
}

/// Runs `hold`.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.json && !args.list {
        return Err(Failure::usage("--json is for what is held: say --list --json"));
    }
    if !args.list && args.wanted.is_empty() {
        return Err(Failure::usage(
            "what is to be held? Name files, globs or contexts, or a lock file with --lock; --list tells what is held",
        ));
    }
    upkeep::with_target(&args.target, async |target, settings| {
        if args.list {
            return list(&target, args.json).await;
        }
        let selected = args.wanted.select(&target, settings).await?;
        let before = in_background(&target, Opened::held).await?;
        let new = selected.keys().filter(|key| !before.contains(*key)).count() as u64;
        change(&target, selected.into_keys().map(HoldChange::Hold).collect()).await?;
        let held = look(&target).await?;
        let (more, verb) = (output::files(new), output::verb(new));
        output::line(format!("{more} more {verb} held, {}", held.sentence()))?;
        Ok(())
    })
}

/// Runs `release`.
pub(super) fn release(args: &ReleaseArgs) -> Result<(), Failure> {
    if !args.all && args.wanted.is_empty() {
        return Err(Failure::usage(
            "what is to be released? Name files, globs or contexts, or a lock file with --lock, or say --all",
        ));
    }
    upkeep::with_target(&args.target, async |target, settings| {
        let held = in_background(&target, Opened::held).await?;
        let released: BTreeSet<FileKey> = if args.all {
            held
        } else {
            args.wanted.select_among(&target, settings, &held).await?
        };
        let count = released.len() as u64;
        change(&target, released.into_iter().map(HoldChange::Release).collect()).await?;
        let left = in_background(&target, Opened::held).await?.len() as u64;
        let (gone, verb, verb_left) = (output::files(count), output::verb(count), output::verb(left));
        output::line(format!("{gone} {verb} released, {left} {verb_left} held"))?;
        Ok(())
    })
}

async fn change(target: &Arc<Opened>, changes: Vec<HoldChange>) -> Result<(), Failure> {
    in_background(target, move |target| target.change_holds(changes)).await
}

/// The held files, with their states.
#[derive(Default)]
struct Held {
    report: FilesReport,
    files: usize,
    missing: u64,
    missing_bytes: u64,
    /// The reasons for which observatories have no catalog, without which a mount shows none of their files.
    without_catalog: Vec<String>,
}

impl Held {
    fn sentence(&self) -> String {
        let files = format!("{} in all", self.files);
        let catalogs = self.without_catalog.join("; ");
        match (self.missing, catalogs.is_empty()) {
            (0, true) => format!("{files}, and here: complete for offline work"),
            (0, false) => format!("{files}, and here, but not complete for offline work: {catalogs}"),
            (missing, _) => {
                let verb = output::verb(missing);
                let bytes = match self.missing_bytes {
                    0 => String::new(),
                    bytes => format!(" ({})", output::size(bytes)),
                };
                format!(
                    "{files}; {missing} of them{bytes} {verb} not here: not complete for offline work; 'crds-fs fetch' with \
                     the same names, or 'crds-fs verify --repair', brings what is missing"
                )
            }
        }
    }
}

async fn look(target: &Arc<Opened>) -> Result<Held, Failure> {
    let names = in_background(target, Opened::held).await?;
    let mut held = Held {
        files: names.len(),
        ..Held::default()
    };
    let mut catalogs = BTreeMap::new();
    for observatory in names
        .iter()
        .map(|key| key.observatory)
        .collect::<BTreeSet<Observatory>>()
    {
        match target.catalog(observatory).await {
            Ok(info) => drop(catalogs.insert(observatory, info)),
            Err(failure) => held
                .without_catalog
                .push(format!("the catalog of {observatory}: {failure}")),
        }
    }
    in_background(target, move |target| {
        for key in &names {
            let info = catalogs.get(&key.observatory);
            let entry = info.and_then(|info| info.catalog().get(key.name.as_str()));
            held.add(target, key, entry);
        }
        Ok(held)
    })
    .await
}

impl Held {
    fn add(&mut self, target: &Opened, key: &FileKey, entry: Option<CatalogEntry>) {
        let status = target.copy(key);
        let local = status.and_then(|copy| copy.local);
        let size = local.or_else(|| entry.and_then(|entry| entry.size));
        let (state, error) = match (status, entry) {
            (Some(_), _) if local.is_some() => ("local", None),
            (Some(_), _) => ("cached", None),
            (None, Some(_)) => ("missing", Some("it is not here")),
            (None, None) => ("missing", Some("it is neither here nor in the catalog")),
        };
        if error.is_some() {
            self.missing += 1;
            self.missing_bytes += size.unwrap_or_default();
        }
        self.report.add(key, size, state, error.map(str::to_owned));
    }
}

async fn list(target: &Arc<Opened>, json: bool) -> Result<(), Failure> {
    let held = look(target).await?;
    if json {
        output::write(held.report.to_json().as_bytes())?;
    } else {
        output::write(held.report.to_table().as_bytes())?;
        output::line(format!("held: {}", held.sentence()))?;
    }
    Ok(())
}
