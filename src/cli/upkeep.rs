//! Common parts of `hold`, `release`, `verify` and `evict`: the open target, and the files that arguments mean.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::fetch;
use super::flags::MountFlags;
use super::reference_filter::FilterFlags;
use super::selection::{self, Pattern, Selected};
use super::settings::{self, Settings};
use super::target::{Missing, Opened, Session, Target, TargetFlags};
use super::{Failure, lock_files, logging, output};
use crate::crds::{Catalog, CatalogEntry, ContextSpec, FileKey, FileKind, Observatory};

/// Opens the target of a command, works on it, and ends it.
pub(super) fn with_target<T>(
    flags: &TargetFlags,
    work: impl AsyncFnOnce(Arc<Opened>, &Settings) -> Result<T, Failure>,
) -> Result<T, Failure> {
    logging::to_standard_error("off");
    let mut environment = settings::environment();
    // Here differences are told also where opens tolerate them.
    for unchecked in ["CRDS_DOWNLOAD_CHECKSUMS", "CRDS_DOWNLOAD_LENGTHS"] {
        environment.remove(unchecked);
    }
    let target = Target::choose(flags, &environment, Missing::Refuse)?;
    target.must_be_cache()?;
    let settings = target.settings(flags, MountFlags::default(), &environment)?;
    let session = Session::open(&target, settings)?;
    let done = session.wait(work(Arc::clone(session.target()), session.settings()));
    session.close();
    done
}

/// Runs blocking work on a thread for such work.
pub(super) async fn in_background<T: Send + 'static>(
    target: &Arc<Opened>,
    work: impl FnOnce(&Opened) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let target = Arc::clone(target);
    tokio::task::spawn_blocking(move || work(&target)).await?
}

/// The catalogued files that are here, and those that are held. An observatory of a mount whose directories cannot be listed
/// is told and passed over: nothing of it may be wanted here.
pub(super) async fn everything_here(
    target: &Arc<Opened>,
    held: &BTreeSet<FileKey>,
) -> Result<Selected, Failure> {
    let mut selected = Selected::new();
    for observatory in target.observatories().to_owned() {
        let here = match in_background(target, move |target| target.here(observatory)).await {
            Ok(here) => here,
            Err(failure) => {
                output::remark(&format!("{observatory} is passed over: {failure}\n"));
                continue;
            }
        };
        let mut held = held
            .iter()
            .filter(|key| key.observatory == observatory)
            .peekable();
        if here.is_empty() && held.peek().is_none() {
            continue;
        }
        let info = target.catalog(observatory).await?;
        let entry = |key: &FileKey| info.catalog().get(key.name.as_str());
        selected.extend(
            here.into_iter()
                .filter_map(|key| Some((key.clone(), entry(&key)?))),
        );
        selected.extend(held.map(|key| (key.clone(), entry(key).unwrap_or_default())));
    }
    Ok(selected)
}

/// The files that names, globs, contexts and a lock file mean.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Wanted {
    /// Names and globs of files; a context, such as jwst_1322.pmap or jwst-latest, stands for its rules.
    #[arg(value_name = "NAME|GLOB|CONTEXT")]
    names: Vec<String>,
    /// With contexts also the references that their rules name.
    #[arg(long, requires = "names")]
    references: bool,
    #[command(flatten)]
    filter: FilterFlags,
    /// The files of a lock file, as 'crds-fs run --record' writes it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "references"])]
    lock: Option<PathBuf>,
}

impl Wanted {
    /// Whether nothing is named.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.lock.is_none()
    }

    /// The files that are meant; those of a lock file also where no catalog has them.
    pub(super) async fn select(
        &self,
        target: &Arc<Opened>,
        settings: &Settings,
    ) -> Result<Selected, Failure> {
        let (contexts, patterns) = self.contexts();
        let mut selected = selection::select(target, &patterns).await?;
        selected.extend(self.below(&contexts, target, settings).await?);
        Ok(selected)
    }

    /// Those of some names that are meant, whether or not a catalog has them.
    pub(super) async fn select_among(
        &self,
        target: &Arc<Opened>,
        settings: &Settings,
        among: &BTreeSet<FileKey>,
    ) -> Result<BTreeSet<FileKey>, Failure> {
        let (contexts, patterns) = self.contexts();
        let mut selected = Selected::new();
        for text in &patterns {
            let pattern = Pattern::new(text);
            let mut found = false;
            for observatory in Observatory::ALL {
                let own = among.iter().filter(|key| key.observatory == observatory);
                let own = Catalog::new(own.map(|key| (key.name.clone(), CatalogEntry::default())));
                found |= pattern.select(observatory, &own, &mut selected);
            }
            if !found {
                return Err(Failure::new(format!(
                    "nothing that is held is '{text}'; 'crds-fs hold --list' tells what is"
                )));
            }
        }
        selected.extend(self.below(&contexts, target, settings).await?);
        selected.retain(|key, _| among.contains(key));
        Ok(selected.into_keys().collect())
    }

    /// The files below contexts, and those of a lock file.
    async fn below(
        &self,
        contexts: &[ContextSpec],
        target: &Arc<Opened>,
        settings: &Settings,
    ) -> Result<Selected, Failure> {
        let filter = self.references.then(|| self.filter.filter());
        let mut selected = Selected::new();
        for context in contexts {
            selected.extend(fetch::below(target, settings, context, filter.as_ref()).await?);
        }
        if let Some(lock) = &self.lock {
            selected.extend(lock_files::read(lock)?.files);
        }
        Ok(selected)
    }

    /// The contexts among the names, and the rest.
    fn contexts(&self) -> (Vec<ContextSpec>, Vec<String>) {
        let (mut contexts, mut patterns) = (Vec::new(), Vec::new());
        for name in &self.names {
            match name.parse() {
                Ok(spec) if is_whole(&spec) => contexts.push(spec),
                _ => patterns.push(name.clone()),
            }
        }
        (contexts, patterns)
    }
}

/// Whether it stands for what is below it, and not for one mapping only.
fn is_whole(spec: &ContextSpec) -> bool {
    match spec {
        ContextSpec::Literal(name) => name.kind() == FileKind::Pmap,
        ContextSpec::Symbolic(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_from_names_and_globs() {
        let names = [
            "jwst_1322.pmap",
            "jwst-latest",
            "hst-2018-01-21",
            "jwst_*.pmap",
            "jwst_miri_0002.imap",
            "jwst_miri_dark_0001.fits",
            "mappings/jwst/jwst_1322.pmap",
        ];
        let wanted = Wanted {
            names: names.map(str::to_owned).to_vec(),
            ..Wanted::default()
        };
        let (contexts, patterns) = wanted.contexts();
        let contexts: Vec<String> = contexts.iter().map(ToString::to_string).collect();
        assert_eq!(contexts, names[..3]);
        assert_eq!(patterns, names[3..]);
    }
}
