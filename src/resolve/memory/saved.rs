//! The part of the memory that is kept over restarts, as one JSON text.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::crds::{BuildVersion, DatasetName, FileName, Observatory};
use crate::resolve::answer::{Answer, ComputedBy, Header, TypeAnswer};
use crate::resolve::headers::{Headers, Told};

/// The format of the text; those of another format are not read.
const FORMAT: u32 = 1;

/// The contexts of releases of calibration software, with the time at which they were told.
pub(super) type Builds = BTreeMap<(Observatory, BuildVersion), (FileName, SystemTime)>;

/// The parts of a memory that outlive the process.
pub(in crate::resolve) struct Snapshot {
    pub(super) answers: Vec<Arc<Answer>>,
    pub(super) headers: Vec<(Observatory, DatasetName, Headers)>,
    pub(super) servers: BTreeMap<Observatory, String>,
    pub(super) builds: Builds,
}

impl Snapshot {
    /// The text to keep. Headers shared by several answers are written once.
    pub(in crate::resolve) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut headers = SharedHeaders::default();
        let told = self.headers.iter().flat_map(|(observatory, dataset, headers)| {
            headers.iter().map(move |told| (observatory, dataset, told))
        });
        let datasets = told
            .map(|(observatory, dataset, told)| SavedHeader {
                observatory: observatory.as_str().into(),
                dataset: dataset.to_string(),
                context: told.context.as_ref().map(ToString::to_string),
                header: headers.index(&told.header),
                when: seconds(told.when),
            })
            .collect();
        let answers = self
            .answers
            .iter()
            .map(|answer| SavedAnswer::new(answer, &mut headers))
            .collect();
        let headers = headers
            .headers
            .iter()
            .map(|header| Header::clone(header))
            .collect();
        let servers = self.servers.iter();
        serde_json::to_vec(&Saved {
            format: FORMAT,
            servers: servers
                .map(|(of, url)| (of.as_str().to_owned(), url.clone()))
                .collect(),
            headers,
            datasets,
            answers,
            builds: self.builds.iter().map(SavedBuild::new).collect(),
        })
    }
}

/// The memory that an earlier run saved.
pub(super) struct Restored {
    pub(super) servers: BTreeMap<Observatory, String>,
    pub(super) builds: Builds,
    /// The headers that servers told of datasets, in the order in which it was kept.
    pub(super) told: Vec<((Observatory, DatasetName), Told)>,
    /// Answers, the one that was used last at the end.
    pub(super) answers: Vec<Answer>,
}

/// Reads a text that [`Snapshot::to_json`] has made, without the entries that make no sense; `None` if it is of another
/// format.
pub(super) fn read(text: &[u8]) -> Result<Option<Restored>, serde_json::Error> {
    let saved: Saved = serde_json::from_slice(text)?;
    if saved.format != FORMAT {
        return Ok(None);
    }
    let servers = saved.servers.into_iter();
    let headers: Vec<Arc<Header>> = saved.headers.into_iter().map(Arc::new).collect();
    let told = saved.datasets.into_iter();
    let answers = saved.answers.into_iter();
    Ok(Some(Restored {
        servers: servers
            .filter_map(|(of, url)| Some((of.parse().ok()?, url)))
            .collect(),
        builds: saved.builds.into_iter().filter_map(SavedBuild::read).collect(),
        told: told.filter_map(|entry| entry.read(&headers)).collect(),
        answers: answers.filter_map(|entry| entry.read(&headers)).collect(),
    }))
}

#[derive(Default)]
struct SharedHeaders {
    headers: Vec<Arc<Header>>,
    places: HashMap<*const Header, usize>,
}

impl SharedHeaders {
    fn index(&mut self, header: &Arc<Header>) -> usize {
        *self.places.entry(Arc::as_ptr(header)).or_insert_with(|| {
            self.headers.push(Arc::clone(header));
            self.headers.len() - 1
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    /// Earlier versions did not note them.
    #[serde(default)]
    servers: BTreeMap<String, String>,
    headers: Vec<Header>,
    datasets: Vec<SavedHeader>,
    answers: Vec<SavedAnswer>,
    /// Earlier versions did not note them.
    #[serde(default)]
    builds: Vec<SavedBuild>,
}

#[derive(Serialize, Deserialize)]
struct SavedBuild {
    observatory: String,
    version: String,
    context: String,
    when: u64,
}

impl SavedBuild {
    fn new(
        ((observatory, version), (context, when)): (&(Observatory, BuildVersion), &(FileName, SystemTime)),
    ) -> Self {
        Self {
            observatory: observatory.as_str().into(),
            version: version.to_string(),
            context: context.to_string(),
            when: seconds(*when),
        }
    }

    fn read(self) -> Option<((Observatory, BuildVersion), (FileName, SystemTime))> {
        let release = (self.observatory.parse().ok()?, self.version.parse().ok()?);
        Some((release, (self.context.parse().ok()?, time(self.when))))
    }
}

#[derive(Serialize, Deserialize)]
struct SavedHeader {
    observatory: String,
    dataset: String,
    /// Under which it was told; earlier versions did not note it.
    #[serde(default)]
    context: Option<String>,
    header: usize,
    when: u64,
}

impl SavedHeader {
    fn read(self, headers: &[Arc<Header>]) -> Option<((Observatory, DatasetName), Told)> {
        let told = Told {
            context: self.context.and_then(|context| context.parse().ok()),
            header: Arc::clone(headers.get(self.header)?),
            when: time(self.when),
        };
        Some(((self.observatory.parse().ok()?, self.dataset.parse().ok()?), told))
    }
}

#[derive(Serialize, Deserialize)]
struct SavedAnswer {
    observatory: String,
    context: String,
    dataset: String,
    server: bool,
    when: u64,
    header: Option<usize>,
    bestrefs: Map<String, Value>,
}

impl SavedAnswer {
    fn new(answer: &Answer, headers: &mut SharedHeaders) -> Self {
        Self {
            observatory: answer.observatory.as_str().into(),
            context: answer.context.as_str().into(),
            dataset: answer.dataset.display(),
            server: answer.computed_by == ComputedBy::Server,
            when: seconds(answer.when),
            header: answer.header.as_ref().map(|header| headers.index(header)),
            bestrefs: answer
                .types
                .iter()
                .map(|(reftype, answer)| (reftype.as_str().to_owned(), answer.to_json()))
                .collect(),
        }
    }

    fn read(self, headers: &[Arc<Header>]) -> Option<Answer> {
        let types = self.bestrefs.iter();
        Some(Answer {
            observatory: self.observatory.parse().ok()?,
            context: self.context.parse().ok()?,
            dataset: self.dataset.parse().ok()?,
            types: types
                .filter_map(|(reftype, value)| Some((reftype.parse().ok()?, TypeAnswer::from_json(value))))
                .collect(),
            header: self.header.and_then(|index| headers.get(index).cloned()),
            computed_by: if self.server {
                ComputedBy::Server
            } else {
                ComputedBy::Here
            },
            when: time(self.when),
        })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn time(seconds: u64) -> SystemTime {
    // Far beyond any clock, and still representable: a damaged number must not panic.
    UNIX_EPOCH + Duration::from_secs(seconds.min(1 << 40))
}
