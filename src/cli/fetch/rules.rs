//! The rules that a fetch needs to know what it is to bring: those below a context, and those for a header.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;

use super::transfers::Transfers;
use crate::cli::reference_filter::ReferenceFilter;
use crate::cli::selection::{self, Selected};
use crate::crds::{FileKey, FileKind, FileName, Observatory};
use crate::dataset::read_text;
use crate::rules::{Context, Header, LoadError, LookupOptions, MAX_TEXT_BYTES, Mapping, Mappings, Memory};

/// Lookups take three rounds: the context, an imap, its rmaps.
const MAX_ROUNDS: usize = 5;

/// The rules read so far. They are brought into the target for that.
pub(super) struct Rules<'a> {
    transfers: &'a Transfers<'a>,
    options: LookupOptions,
    read: Mutex<BTreeMap<String, Arc<Mapping>>>,
}

/// Mappings that were read.
struct Known<'a>(&'a BTreeMap<String, Arc<Mapping>>);

impl Mappings for Known<'_> {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        self.0.get(name).cloned().ok_or_else(|| LoadError::absent(name))
    }
}

/// A mapping to come, with whether the references below it are wanted.
struct Step {
    name: FileName,
    is_wanted: bool,
}

impl<'a> Rules<'a> {
    pub(super) fn new(transfers: &'a Transfers<'a>, options: LookupOptions) -> Self {
        Self {
            transfers,
            options,
            read: Mutex::default(),
        }
    }

    /// The mappings below a context, itself included, and the references that they name, as far as they are wanted. Each is
    /// asked for as soon as its parent is read. With `brings_all` every mapping is brought, else only those that have to be
    /// read.
    pub(super) async fn below(
        &self,
        context: &FileKey,
        filter: Option<&ReferenceFilter>,
        brings_all: bool,
    ) -> Result<Selected, String> {
        let observatory = context.observatory;
        let mut types = BTreeSet::new();
        let mut found = self.entries(observatory, &[context.name.as_str()]).await;
        let mut running = FuturesUnordered::new();
        let first = Step {
            name: context.name.clone(),
            is_wanted: true,
        };
        running.push(self.step(observatory, first, filter.is_some()));
        while let Some((step, read)) = running.next().await {
            // A mapping that cannot be had is among the failures of the report; what it names is not known.
            let Some(mapping) = read else { continue };
            if let Some(filter) = filter.filter(|_| step.is_wanted) {
                filter.check_instruments(&mapping)?;
                found.extend(
                    self.entries(observatory, &filter.references(&mapping, &mut types))
                        .await,
                );
            }
            let children = self.entries(observatory, &mapping.children()).await;
            for (key, entry) in children {
                if found.insert(key.clone(), entry).is_some() {
                    continue;
                }
                let next = step.below(&mapping, key.name.clone(), filter);
                let is_read = next.has_to_be_read(filter.is_some());
                if brings_all || is_read {
                    self.transfers.progress().announce(&key, entry.size);
                    running.push(self.step(observatory, next, filter.is_some()));
                }
            }
        }
        match filter.and_then(|filter| filter.unknown_type(&types)) {
            Some(problem) => Err(format!("{context} {problem}")),
            None => Ok(found),
        }
    }

    /// Brings a mapping, and reads it where something below it is wanted; what cannot be had is noted.
    async fn step(
        &self,
        observatory: Observatory,
        step: Step,
        with_references: bool,
    ) -> (Step, Option<Arc<Mapping>>) {
        let key = FileKey {
            observatory,
            name: step.name.clone(),
        };
        if step.has_to_be_read(with_references) {
            let read = self.mapping(&key).await.ok();
            return (step, read);
        }
        for (key, entry) in self.entries(observatory, &[key.name.as_str()]).await {
            drop(self.transfers.bring(&key, entry).await);
        }
        (step, None)
    }

    /// Names as files of the catalog ([`selection::with_entries`]).
    async fn entries(&self, observatory: Observatory, names: &[&str]) -> Selected {
        let names = names.iter().filter_map(|name| name.parse().ok());
        let keys = names.map(|name| FileKey { observatory, name });
        selection::with_entries(self.transfers.target(), keys).await
    }

    /// Brings a mapping and reads it.
    async fn mapping(&self, key: &FileKey) -> Result<Arc<Mapping>, String> {
        if let Some(known) = self.read.lock().get(key.name.as_str()) {
            return Ok(Arc::clone(known));
        }
        let info = self.transfers.target().catalog(key.observatory).await;
        let info = info.map_err(|failure| failure.to_string())?;
        let entry = info.catalog().get(key.name.as_str());
        let entry = entry.unwrap_or_default();
        let file = self.transfers.bring(key, entry).await?;
        let name = key.name.to_string();
        let mapping = tokio::task::spawn_blocking(move || {
            let text = read_text(&file, MAX_TEXT_BYTES).map_err(|error| format!("{name}: {error}"))?;
            Mapping::load(&name, text).map_err(|error| error.to_string())
        });
        let mapping = mapping.await.map_err(|error| error.to_string())?.map(Arc::new);
        if let Err(error) = &mapping {
            self.transfers.refuse(key, entry.size, error.clone());
        }
        let mapping = mapping?;
        self.read
            .lock()
            .insert(key.name.to_string(), Arc::clone(&mapping));
        Ok(mapping)
    }

    /// The best references for a header under a context, of the types that its exposure needs.
    pub(super) async fn best_references(
        &self,
        context: &FileKey,
        header: &Header,
    ) -> Result<BTreeSet<FileName>, String> {
        let observatory = context.observatory;
        let mapping = self.mapping(context).await?;
        let opened = Context::new(mapping, observatory, self.options).map_err(|error| error.to_string())?;
        for _ in 0..MAX_ROUNDS {
            let known = self.read.lock().clone();
            let missing = opened.missing(&Known(&known), header);
            if missing.is_empty() {
                let answers =
                    opened.best_references::<&str>(&mut Memory::none(), &Known(&known), header, None);
                let answers = answers.map_err(|error| error.to_string())?;
                let names = answers.iter().flat_map(|(_, answer)| answer.files());
                return Ok(names.filter_map(|name| name.parse().ok()).collect());
            }
            let keys = missing.iter().map(|name| {
                let name: FileName = name.parse().map_err(|error| format!("{context}: {error}"))?;
                Ok(FileKey { observatory, name })
            });
            let keys = keys.collect::<Result<Vec<_>, String>>()?;
            let read = join_all(keys.iter().map(|key| self.mapping(key))).await;
            read.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Err(format!("the rules of {context} are not as they should be"))
    }
}

impl Step {
    /// The step to a mapping that this one's names.
    fn below(&self, mapping: &Mapping, name: FileName, filter: Option<&ReferenceFilter>) -> Self {
        let is_wanted = match filter {
            Some(filter) if mapping.kind() == FileKind::Pmap => filter.wants_below(mapping, name.as_str()),
            _ => self.is_wanted,
        };
        Self { name, is_wanted }
    }

    /// Whether what it names is wanted.
    fn has_to_be_read(&self, with_references: bool) -> bool {
        self.name.kind() != FileKind::Rmap || (with_references && self.is_wanted)
    }
}
