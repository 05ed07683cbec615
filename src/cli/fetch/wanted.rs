//! The files that a fetch is to bring, found by the catalogs, the rules, the server, dataset files or a lock file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;

use super::Args;
use super::rules::Rules;
use super::transfers::Transfers;
use crate::cli::reference_filter::ReferenceFilter;
use crate::cli::selection::{self, Selected};
use crate::cli::settings::Settings;
use crate::cli::target::Opened;
use crate::cli::{Failure, lock_files};
use crate::crds::{ContextSpec, DatasetName, FileKey, FileName, LockFile, NameError, Observatory};
use crate::dataset;
use crate::rules::LookupOptions;

/// The request on the command line, read but not yet looked up.
pub(super) struct Request {
    names: Vec<String>,
    /// The context whose rules are wanted, or by which best references are looked up.
    context: Option<ContextSpec>,
    references: Option<ReferenceFilter>,
    datasets: Vec<DatasetName>,
    files: Vec<PathBuf>,
    lock: Option<LockFile>,
}

/// The files of a request.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) files: Selected,
    /// Datasets and dataset files without an answer, with the reasons.
    pub(super) problems: Vec<String>,
}

impl Request {
    /// Reads the arguments; what can be no name of its kind is wrong usage.
    pub(super) fn new(args: &Args) -> Result<Self, Failure> {
        let context = args.context.as_deref().map(str::parse::<ContextSpec>).transpose();
        let datasets = args.bestrefs.iter().map(|text| {
            text.parse().map_err(|error: NameError| {
                let hint = if Path::new(text).is_file() {
                    format!("; for the file of that name write --files {text}")
                } else if text.contains(['*', '?', '[']) {
                    "; names and globs go before --bestrefs".to_owned()
                } else {
                    String::new()
                };
                Failure::usage(format!("{error}{hint}"))
            })
        });
        Ok(Self {
            names: args.names.clone(),
            context: context.map_err(|error| Failure::usage(format!("--context: {error}")))?,
            references: args.references.then(|| args.filter.filter()),
            datasets: datasets.collect::<Result<_, _>>()?,
            files: args.files.clone(),
            lock: args.lock.as_deref().map(lock_files::read).transpose()?,
        })
    }

    /// Whether the context is wanted itself, with its rules, not just for looking best references up.
    fn wants_context(&self) -> bool {
        self.references.is_some() || (self.datasets.is_empty() && self.files.is_empty())
    }

    /// Finds everything that is wanted. Rules that have to be read for that are brought; with `brings_all` also those that
    /// are wanted themselves.
    pub(super) async fn find(
        &self,
        transfers: &Transfers<'_>,
        settings: &Settings,
        brings_all: bool,
    ) -> Result<Wanted, Failure> {
        let target = transfers.target();
        let mut wanted = Wanted {
            files: selection::select(target, &self.names).await?,
            problems: Vec::new(),
        };
        if let Some(lock) = &self.lock {
            wanted.add_lock(lock, transfers).await?;
        }
        let options = LookupOptions {
            ignore_checksum: settings.ignore_mapping_checksum,
        };
        let rules = Rules::new(transfers, options);
        if let Some(spec) = self.context.as_ref().filter(|_| self.wants_context()) {
            let context = target.context(spec).await?;
            let below = rules.below(&context, self.references.as_ref(), brings_all).await;
            wanted.files.extend(below.map_err(Failure::new)?);
        }
        let contexts = Contexts::new(target, self.context.as_ref(), settings);
        wanted.add_datasets(&self.datasets, target, &contexts).await;
        wanted.add_files(&self.files, &rules, target, &contexts).await;
        Ok(wanted)
    }
}

impl Wanted {
    /// Adds the files of a lock; those that the catalog has otherwise, or not at all, are refused.
    async fn add_lock(&mut self, lock: &LockFile, transfers: &Transfers<'_>) -> Result<(), Failure> {
        let target = transfers.target();
        for (key, locked) in &lock.files {
            let info = target.catalog(key.observatory).await?;
            let problem = match info.catalog().get(key.name.as_str()) {
                None => Some(format!("the catalog of {} does not have it", key.observatory)),
                Some(entry) if locked.sha1.is_some() && entry.sha1 != locked.sha1 => {
                    Some("the catalog has other contents for it than the lock file".to_owned())
                }
                Some(_) if target.status(key).is_local() => {
                    Some("a file of your own stands in its place; move that away".to_owned())
                }
                Some(entry) => {
                    self.files.insert(key.clone(), entry);
                    None
                }
            };
            if let Some(problem) = problem {
                transfers.refuse(key, locked.size, problem);
            }
        }
        Ok(())
    }

    /// Adds the best references of datasets of the archive, asked for all at once.
    async fn add_datasets(&mut self, datasets: &[DatasetName], target: &Opened, contexts: &Contexts<'_>) {
        let answers = datasets.iter().map(|dataset| async move {
            let observatory = match dataset {
                DatasetName::Id(id) => id.observatory(),
                DatasetName::Parameters(_) => None,
            };
            let context = contexts.of(observatory).await?;
            let answers = target.best_references(&context, dataset).await;
            answers.map_err(|failure| failure.to_string())
        });
        for (dataset, answer) in datasets.iter().zip(join_all(answers).await) {
            match answer {
                Ok(files) => self.add(files, target).await,
                Err(problem) => self.problems.push(format!("{}: {problem}", dataset.display())),
            }
        }
    }

    /// Adds the best references of dataset files, looked up by the rules.
    async fn add_files(
        &mut self,
        paths: &[PathBuf],
        rules: &Rules<'_>,
        target: &Opened,
        contexts: &Contexts<'_>,
    ) {
        for path in paths {
            match of_file(path, rules, contexts).await {
                Ok(files) => self.add(files, target).await,
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    /// Adds references, the data halves of GEIS files with them.
    async fn add(&mut self, files: Vec<FileKey>, target: &Opened) {
        self.files.extend(selection::with_entries(target, files).await);
    }
}

/// The best references of a dataset file.
async fn of_file(path: &Path, rules: &Rules<'_>, contexts: &Contexts<'_>) -> Result<Vec<FileKey>, String> {
    let header =
        dataset::read(path, contexts.observatory()).map_err(|error| Failure::from(error).to_string())?;
    let header = header
        .for_lookup()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let context = contexts.of(Some(header.observatory())).await?;
    let names = rules.best_references(&context, &header.iter().collect()).await;
    let names = names.map_err(|error| format!("{}: {error}", path.display()))?;
    let key = |name: FileName| FileKey {
        observatory: context.observatory,
        name,
    };
    Ok(names.into_iter().map(key).collect())
}

/// The contexts by which best references are looked up: that which was named, else that of the environment, else the
/// default one of the observatory.
struct Contexts<'a> {
    target: &'a Opened,
    named: Option<&'a ContextSpec>,
    settings: &'a Settings,
    found: tokio::sync::Mutex<BTreeMap<Option<Observatory>, Result<FileKey, String>>>,
}

impl<'a> Contexts<'a> {
    fn new(target: &'a Opened, named: Option<&'a ContextSpec>, settings: &'a Settings) -> Self {
        Self {
            target,
            named,
            settings,
            found: tokio::sync::Mutex::default(),
        }
    }

    /// The observatory of what does not tell its own.
    fn observatory(&self) -> Option<Observatory> {
        let only = match self.target.observatories() {
            [only] => Some(*only),
            _ => None,
        };
        self.named.and_then(ContextSpec::observatory).or(only)
    }

    /// The context for a dataset of an observatory.
    async fn of(&self, observatory: Option<Observatory>) -> Result<FileKey, String> {
        let observatory = observatory.or_else(|| self.observatory());
        let mut found = self.found.lock().await;
        if let Some(known) = found.get(&observatory) {
            return known.clone();
        }
        let context = self.find(observatory).await;
        found.insert(observatory, context.clone());
        context
    }

    async fn find(&self, observatory: Option<Observatory>) -> Result<FileKey, String> {
        let of_environment = self.settings.context.as_ref().filter(|spec| {
            let named = spec.observatory();
            named.is_some() && (observatory.is_none() || named == observatory)
        });
        let latest = || {
            let observatory = observatory.ok_or(
                "of which observatory it is cannot be told: give --context, as in --context hst-latest",
            )?;
            let spec: Result<ContextSpec, _> = format!("{observatory}-latest").parse();
            spec.map_err(|error| error.to_string())
        };
        let spec = match self.named.or(of_environment) {
            Some(spec) => spec.clone(),
            None => latest()?,
        };
        let context = self.target.context(&spec).await;
        context.map_err(|failure| failure.to_string())
    }
}
