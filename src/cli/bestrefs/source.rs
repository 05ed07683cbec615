//! Where answers for dataset ids come from, and where references are brought to: a mount, or the rooms over a cache.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::ProgressBar;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use super::Args;
use crate::cli::flags::MountFlags;
use crate::cli::settings::{Environment, Settings};
use crate::cli::{Failure, assemble, output};
use crate::crds::{ContextError, DatasetName, FileKey, NameError};

/// Files brought at a time.
const AT_ONCE: usize = 16;

/// A mount, or a cache directory with the servers behind it.
pub(super) enum Source {
    Mount(PathBuf),
    Cache(Box<Rooms>),
}

pub(super) struct Rooms {
    runtime: Runtime,
    rooms: assemble::Rooms,
}

impl Source {
    /// The source that was asked for: the mount, else the cache directory, else the directory that `CRDS_PATH` names,
    /// which may be either.
    pub(super) fn new(args: &Args, environment: &Environment) -> Result<Self, Failure> {
        let named = || environment.get("CRDS_PATH").map(PathBuf::from);
        if let Some(mount) = &args.mount {
            return Ok(Self::Mount(mount.clone()));
        }
        let directory = args.cache.clone().or_else(named).ok_or_else(|| {
            Failure::usage("where to keep what is fetched? Give --cache DIR or --mount M, or set CRDS_PATH")
        })?;
        if is_mount(&directory) {
            return Ok(Self::Mount(directory));
        }
        let text = directory.to_string_lossy().into_owned();
        let flags = MountFlags {
            cache: Some(text.clone()),
            ..MountFlags::default()
        };
        let settings = Settings::new(Some(&text), &flags, environment)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let rooms = assemble::rooms(&settings, &directory, runtime.handle())?;
        Ok(Self::Cache(Box::new(Rooms { runtime, rooms })))
    }

    /// The name of the mapping that a context means.
    pub(super) fn literal(&self, context: &str) -> Result<String, String> {
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
                let found = own.runtime.block_on(own.rooms.resolver.context(&spec).wait());
                found
                    .map(|name| name.to_string())
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// The answers for a dataset of the archive, or why there are none.
    pub(super) fn answers(&self, context: &str, dataset: &DatasetName) -> Result<Map<String, Value>, String> {
        let bestrefs = |mut answer: Value| match answer.get_mut("bestrefs").map(Value::take) {
            Some(Value::Object(answers)) => Ok(answers),
            _ => Err("the answer makes no sense".to_owned()),
        };
        match self {
            Self::Mount(root) => {
                let path = root
                    .join("bestrefs")
                    .join(context)
                    .join(dataset.to_string())
                    .join("bestrefs.json");
                let text = fs::read(&path).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => format!("there is no such dataset, or no context {context}"),
                    _ => format!("{}: {error}", path.display()),
                })?;
                bestrefs(serde_json::from_slice(&text).map_err(|error| error.to_string())?)
            }
            Self::Cache(own) => {
                let context = context.parse().map_err(|error: NameError| error.to_string())?;
                let resolver = &own.rooms.resolver;
                let answer = own.runtime.block_on(resolver.answer(&context, dataset).wait());
                bestrefs(answer.map_err(|error| error.to_string())?.to_json())
            }
        }
    }

    /// Asks for many datasets at once, so that they share requests; the answers are remembered.
    pub(super) fn prepare(&self, contexts: &[&str], datasets: &[DatasetName]) {
        let Self::Cache(own) = self else { return };
        let resolver = &own.rooms.resolver;
        for context in contexts.iter().filter_map(|context| context.parse().ok()) {
            let answers = datasets
                .iter()
                .map(|dataset| resolver.answer(&context, dataset).wait());
            // What fails fails again, with its reason, when it is told.
            own.runtime.block_on(futures_util::future::join_all(answers));
        }
    }

    /// Brings references into the cache, data halves of GEIS files too; says what could not be had, and whether that was
    /// nothing.
    pub(super) fn fetch(&self, files: BTreeSet<FileKey>) -> bool {
        let halves = |key: FileKey| {
            let half = key.name.geis_data_half();
            let half = half.map(|name| FileKey {
                observatory: key.observatory,
                name,
            });
            std::iter::once(key).chain(half)
        };
        let files: Vec<FileKey> = files.into_iter().flat_map(halves).collect();
        let bar = if io::stderr().is_terminal() {
            ProgressBar::new(files.len() as u64)
        } else {
            ProgressBar::hidden()
        };
        let mut failures = 0;
        let mut done = |key: &FileKey, outcome: Result<(), String>| {
            bar.inc(1);
            if let Err(why) = outcome {
                failures += 1;
                bar.suspend(|| output::failure(&Failure::new(format!("{key}: {why}"))));
            }
        };
        match self {
            Self::Mount(root) => {
                for key in &files {
                    done(key, open_in_mount(root, key).map_err(|error| error.to_string()));
                }
            }
            Self::Cache(own) => own.runtime.block_on(async {
                let fetcher = &own.rooms.fetcher;
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
        bar.finish_and_clear();
        failures == 0
    }

    /// The end: writes down what is to be remembered.
    pub(super) fn close(self) {
        if let Self::Cache(own) = self {
            own.runtime.block_on(async {
                own.rooms.resolver.save().await;
                own.rooms.fetcher.shutdown();
                own.rooms.fetcher.finished().await;
            });
        }
    }
}

/// Whether crds-fs is mounted there: no store has a live status.
fn is_mount(directory: &Path) -> bool {
    directory.join(".crds-fs").join("status.json").exists()
}

/// Opens a reference in a mount, flat or by instrument: the open is the download.
fn open_in_mount(root: &Path, key: &FileKey) -> io::Result<()> {
    let directory = root.join("references").join(key.observatory.as_str());
    let name = key.name.as_str();
    let error = match File::open(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        other => return other.map(drop),
    };
    match key.observatory.instrument_of(name) {
        Some(instrument) => File::open(directory.join(instrument).join(name)).map(drop),
        None => Err(error),
    }
}
