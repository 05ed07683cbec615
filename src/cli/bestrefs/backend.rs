//! The backend that answers for dataset ids and that references are fetched into: a mount, or a cache directory with the
//! servers behind it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::ProgressBar;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use super::cache_dirs::CacheDirs;
use super::subject::is_instrument;
use crate::cache::Cache;
use crate::cli::flags::MountFlags;
use crate::cli::settings::{Environment, Settings};
use crate::cli::{Failure, output, wiring};
use crate::crds::{ContextError, DatasetName, FileKey, FileName, NameError, Observatory, ServerInfo};
use crate::mount::mountinfo;

/// The number of files fetched at the same time.
const AT_ONCE: usize = 16;

/// A description younger than this is not asked for again.
const JUST_NOW: Duration = Duration::from_secs(10);

/// So long a server may take that says again what is known already.
const PATIENCE: Duration = Duration::from_secs(20);

/// The directory of a backend.
pub(in crate::cli) enum BackendDir {
    /// The directory of a mount.
    Mount(PathBuf),
    /// The directory of a cache.
    Cache(PathBuf, Box<Settings>),
}

impl BackendDir {
    /// Finds out whether `directory` is a mount, else takes it for a cache, for which the flags hold.
    pub(in crate::cli) fn find(
        directory: PathBuf,
        flags: MountFlags,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        if is_mount(&directory)? {
            return Ok(Self::Mount(directory));
        }
        let text = directory.to_string_lossy().into_owned();
        let flags = MountFlags {
            cache: Some(text.clone()),
            ..flags
        };
        let settings = Settings::new(Some(&text), &flags, environment)?;
        Ok(Self::Cache(directory, Box::new(settings)))
    }
}

/// A mount, or a cache directory with the servers behind it.
pub(in crate::cli) enum Backend {
    Mount(PathBuf),
    Cache(Box<OpenCache>),
}

/// An open cache with the runtime of its tasks.
pub(in crate::cli) struct OpenCache {
    runtime: Runtime,
    cache: Cache,
}

impl Backend {
    /// Opens the cache, if it is one. Nothing is asked of the network.
    pub(in crate::cli) fn open(dir: &BackendDir) -> Result<Self, Failure> {
        let (directory, settings) = match dir {
            BackendDir::Mount(mount) => return Ok(Self::Mount(mount.clone())),
            BackendDir::Cache(directory, settings) => (directory, settings),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let cache = wiring::cache(settings, directory, runtime.handle())?;
        Ok(Self::Cache(Box::new(OpenCache { runtime, cache })))
    }

    /// The name of the mapping that a context means.
    pub(in crate::cli) fn literal(&self, context: &str) -> Result<String, String> {
        match self {
            Self::Mount(root) => {
                let path = root.join("bestrefs").join(context);
                let target =
                    fs::canonicalize(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let name = target.file_name().and_then(|name| name.to_str());
                name.map(str::to_owned)
                    .ok_or_else(|| format!("{context} means no mapping"))
            }
            Self::Cache(own) => {
                let spec = context.parse().map_err(|error: ContextError| error.to_string())?;
                let found = own.runtime.block_on(own.cache.context(&spec));
                found
                    .map(|name| name.to_string())
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// The description of an observatory's server: as the server gives it now, else as it is kept, with the reason why the
    /// server was not asked. A mount says what it goes by.
    pub(in crate::cli) fn description(
        &self,
        observatory: Observatory,
    ) -> Result<(Arc<ServerInfo>, Option<String>), String> {
        let own = match self {
            Self::Mount(root) => {
                let info = CacheDirs::of_cache(root).server_info(observatory)?;
                return Ok((Arc::new(info), None));
            }
            Self::Cache(own) => own,
        };
        let catalogs = own.cache.fetcher().catalogs();
        own.runtime.block_on(async {
            let kept = catalogs.load(observatory).wait().await;
            let kept = kept.map_err(|error| error.to_string())?;
            let is_fresh = catalogs.age(observatory).is_some_and(|age| age < JUST_NOW);
            if is_fresh || catalogs.is_offline(observatory) {
                return Ok((kept, None));
            }
            let fresh = tokio::time::timeout(PATIENCE, catalogs.refresh(observatory).wait()).await;
            Ok(match fresh {
                Ok(Ok(fresh)) => (fresh, None),
                Ok(Err(error)) => (kept, Some(error.to_string())),
                Err(_) => {
                    let why = format!(
                        "the server of {observatory} says nothing for {} s",
                        PATIENCE.as_secs()
                    );
                    (kept, Some(why))
                }
            })
        })
    }

    /// The answers for a dataset of the archive, or why there are none.
    pub(super) fn answers(&self, context: &str, dataset: &DatasetName) -> Result<ArchiveAnswer, String> {
        let bestrefs =
            |mut answer: Value, header: Option<Value>| match answer.get_mut("bestrefs").map(Value::take) {
                Some(Value::Object(answers)) => {
                    let header = match header {
                        Some(Value::Object(header)) => Some(header),
                        _ => None,
                    };
                    Ok(ArchiveAnswer {
                        instrument: header.as_ref().and_then(instrument),
                        header,
                        answers,
                    })
                }
                _ => Err("the answer makes no sense".to_owned()),
            };
        match self {
            Self::Mount(root) => {
                let path = answer_in_mount(root, context, dataset);
                let text = fs::read(&path).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => format!("there is no such dataset, or no context {context}"),
                    _ => format!("{}: {error}", path.display()),
                })?;
                let header = fs::read(path.with_file_name("header.json")).ok();
                let header = header.and_then(|text| serde_json::from_slice(&text).ok());
                bestrefs(
                    serde_json::from_slice(&text).map_err(|error| error.to_string())?,
                    header,
                )
            }
            Self::Cache(own) => {
                let context = context.parse().map_err(|error: NameError| error.to_string())?;
                let resolver = own.cache.resolver();
                let answer = own.runtime.block_on(resolver.answer(&context, dataset).wait());
                let answer = answer.map_err(|error| error.to_string())?;
                let header = answer.header.as_deref();
                bestrefs(
                    answer.to_json(),
                    header.and_then(|header| serde_json::to_value(header).ok()),
                )
            }
        }
    }

    /// Asks for many datasets at once, so that they share requests; the answers are remembered.
    pub(super) fn prepare(&self, contexts: &[&str], datasets: &[DatasetName]) {
        // A question that fails here is asked again for its answer, and its failure is reported then.
        match self {
            Self::Mount(root) => {
                for context in contexts {
                    let look = |dataset: &DatasetName| fs::metadata(answer_in_mount(root, context, dataset));
                    several_at_once(datasets, look, |_, _| ());
                }
            }
            Self::Cache(own) => {
                let resolver = own.cache.resolver();
                for context in contexts.iter().filter_map(|context| context.parse().ok()) {
                    let answers = datasets
                        .iter()
                        .map(|dataset| resolver.answer(&context, dataset).wait());
                    own.runtime.block_on(futures_util::future::join_all(answers));
                }
            }
        }
    }

    /// Fetches references into the cache, with the data halves of GEIS files, and prints the failures. True when there
    /// were none.
    pub(in crate::cli) fn fetch(&self, files: BTreeSet<FileKey>) -> bool {
        let halves = |key: FileKey| {
            let half = key.name.geis_data_half();
            let half = half.map(|name| FileKey {
                observatory: key.observatory,
                name,
            });
            std::iter::once(key).chain(half)
        };
        let files: Vec<FileKey> = files.into_iter().flat_map(halves).collect();
        let mut progress = Progress::new(files.len());
        self.fetch_each(&files, &mut |key, outcome| progress.done(key, outcome));
        progress.end()
    }

    /// Brings files, several at a time; tells of each when it is here or cannot be had.
    fn fetch_each(&self, files: &[FileKey], done: &mut dyn FnMut(&FileKey, Result<(), String>)) {
        match self {
            Self::Mount(root) => {
                let open =
                    |key: &FileKey| open_in_mount(root, key).map_err(|error| format!("{key}: {error}"));
                several_at_once(files, open, done);
            }
            Self::Cache(own) => own.runtime.block_on(async {
                let fetcher = own.cache.fetcher();
                let open = |key: &FileKey| {
                    let (key, opened) = (key.clone(), fetcher.open(key).wait());
                    async move { (key, opened.await.map(drop).map_err(|error| error.to_string())) }
                };
                let mut opened = stream::iter(files.iter().map(open)).buffer_unordered(AT_ONCE);
                while let Some((key, outcome)) = opened.next().await {
                    done(&key, outcome);
                }
            }),
        }
    }

    /// Fetches rules; gives a message for each that cannot be had.
    pub(in crate::cli) fn bring(&self, names: &[String]) -> Vec<String> {
        let mut failures = Vec::new();
        let mut rules = Vec::new();
        for name in names {
            let observatory = Observatory::of_name(name);
            match (observatory, name.parse::<FileName>()) {
                (Some(observatory), Ok(name)) => rules.push(FileKey { observatory, name }),
                _ => failures.push(format!("'{name}' is not the name of a rule in a cache")),
            }
        }
        self.fetch_each(&rules, &mut |_, outcome| {
            failures.extend(outcome.err());
        });
        if let Self::Cache(own) = self {
            // They are read by their names.
            failures.extend(
                own.cache
                    .fetcher()
                    .store()
                    .flush()
                    .err()
                    .map(|error| error.to_string()),
            );
        }
        failures
    }

    /// Closes the backend, and saves the state of its cache.
    pub(in crate::cli) fn close(self) {
        if let Self::Cache(own) = self {
            own.runtime.block_on(own.cache.close());
        }
    }
}

/// The answers for a dataset of the archive.
pub(super) struct ArchiveAnswer {
    /// The instrument, in upper case, where it is known.
    pub(super) instrument: Option<String>,
    /// The matching parameters, where they are known.
    pub(super) header: Option<Map<String, Value>>,
    /// By reference type.
    pub(super) answers: Map<String, Value>,
}

fn instrument(parameters: &Map<String, Value>) -> Option<String> {
    let (_, value) = parameters.iter().find(|(name, _)| is_instrument(name))?;
    value.as_str().map(|text| text.trim().to_uppercase())
}

/// Whether crds-fs is mounted there: no store has a live status. A mount that does not answer is an error.
pub(in crate::cli) fn is_mount(directory: &Path) -> Result<bool, Failure> {
    mountinfo::must_answer(directory)?;
    Ok(directory.join(".crds-fs").join("status.json").exists())
}

/// The progress of references that are being fetched: a bar on a terminal, else a line for each.
struct Progress {
    bar: ProgressBar,
    files: usize,
    brought: usize,
    failures: usize,
}

impl Progress {
    fn new(files: usize) -> Self {
        let bar = if io::stderr().is_terminal() {
            ProgressBar::new(files as u64)
        } else {
            ProgressBar::hidden()
        };
        Self {
            bar,
            files,
            brought: 0,
            failures: 0,
        }
    }

    fn done(&mut self, key: &FileKey, outcome: Result<(), String>) {
        self.bar.inc(1);
        match outcome {
            Ok(()) => self.brought += 1,
            Err(why) => {
                self.failures += 1;
                self.bar.suspend(|| output::failure(&Failure::new(why)));
                return;
            }
        }
        if self.bar.is_hidden() {
            let (done, all) = (self.brought + self.failures, self.files);
            // With standard error closed the line is lost.
            let _ = writeln!(io::stderr().lock(), "{done} of {all}  {}", key.name);
        }
    }

    /// Ends the bar. False if a file could not be fetched.
    fn end(self) -> bool {
        self.bar.finish_and_clear();
        self.failures == 0
    }
}

/// Does `work`, which waits, for [`AT_ONCE`] items at a time, and calls `done` for each when it is done.
fn several_at_once<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(&T, R),
) {
    let next = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            let (tell, next, work) = (tell.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The receiver stays until the last sender is dropped.
                    let _ = tell.send((item, work(item)));
                }
            });
        }
        drop(tell);
        for (item, result) in told {
            done(item, result);
        }
    });
}

/// The file with the answers for a dataset.
fn answer_in_mount(root: &Path, context: &str, dataset: &DatasetName) -> PathBuf {
    let datasets = root.join("bestrefs").join(context);
    datasets.join(dataset.to_string()).join("bestrefs.json")
}

/// Opens a file in a mount, references flat or by instrument: the open is the download.
fn open_in_mount(root: &Path, key: &FileKey) -> io::Result<()> {
    let name = key.name.as_str();
    if key.name.kind().is_mapping() {
        return File::open(root.join("mappings").join(key.observatory.as_str()).join(name)).map(drop);
    }
    let directory = root.join("references").join(key.observatory.as_str());
    let error = match File::open(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        other => return other.map(drop),
    };
    match key.observatory.instrument_of(name) {
        Some(instrument) => File::open(directory.join(instrument).join(name)).map(drop),
        None => Err(error),
    }
}
