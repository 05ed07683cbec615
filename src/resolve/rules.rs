//! The rules of one observatory, brought in through the fetcher and evaluated here.
//!
//! A context loads lazily: the imap of a header's instrument when first asked for, then all its rmaps in one burst.
//! Compiled rules are kept and shared between contexts, so that the next context costs what differs.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::answer::{Header, TypeAnswer};
use super::own;
use crate::crds::{FileKey, FileName, Observatory, Reftype, Sha1Sum};
use crate::dataset::read_text;
use crate::fetch::{FetchError, Fetcher, OwnVersion};
use crate::rules::{
    BestRef, Compiled, Explanation, LoadError, LoadErrorKind, LookupError, LookupOptions, MAX_TEXT_BYTES,
    Memory, OpenContext, Pinned, Provider, Target, Texts,
};

/// Rounds of loading for one lookup: the context, an imap, its rmaps, and what has changed meanwhile.
const MAX_ROUNDS: usize = 8;

/// The reason for which rules have no answer.
#[derive(Debug, Clone)]
pub(super) enum RulesError {
    /// A rule could not be had.
    Fetch(FetchError),
    /// In the client's words wherever it has some.
    Text(String),
    /// The header lacks parameters that the rules ask for.
    Incomplete(Vec<String>),
    /// The task that read this rule panicked.
    Panicked(String),
}

/// The answers of the rules.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Computed {
    pub(super) types: BTreeMap<Reftype, TypeAnswer>,
    /// Whether the user's own rules had a part in it: those may change at any time.
    pub(super) volatile: bool,
}

/// The version of a rule's text.
#[derive(Debug, Clone, PartialEq)]
enum Version {
    /// A file of the user's own.
    Own(OwnVersion),
    /// The catalogued file, by its SHA-1 where the catalog has one.
    Catalogued(Option<Sha1Sum>),
}

/// The versions of an observatory's rules as they are now. Texts have to be fetched, which takes a task: a rule that is
/// not compiled is absent.
struct Versions {
    fetcher: Fetcher,
    observatory: Observatory,
}

impl Versions {
    fn of(&self, name: &FileName) -> Version {
        let key = FileKey {
            observatory: self.observatory,
            name: name.clone(),
        };
        if let Some(own) = own::version(&self.fetcher, &key) {
            return Version::Own(own);
        }
        let info = self.fetcher.catalogs().current(self.observatory);
        let entry = info.and_then(|info| info.catalog().get(name.as_str()));
        Version::Catalogued(entry.and_then(|entry| entry.sha1))
    }
}

impl Texts for Versions {
    type Version = Version;

    fn text(&self, name: &str) -> Result<String, LoadError> {
        let text = format!("the rules in {name} are not at hand");
        Err(LoadError::new(LoadErrorKind::Absent, text))
    }

    fn version(&self, name: &str) -> Option<Version> {
        Some(self.of(&name.parse().ok()?))
    }
}

type Loading = watch::Receiver<Option<Result<Compiled<Version>, RulesError>>>;

/// The rules of one observatory.
pub(super) struct Rules {
    runtime: Handle,
    provider: Arc<Provider<Versions>>,
    /// The rules that are being fetched and compiled, each in a task of its own, so that each is compiled once.
    loading: Arc<Mutex<HashMap<FileName, Loading>>>,
}

impl Rules {
    pub(super) fn new(
        fetcher: Fetcher,
        observatory: Observatory,
        runtime: Handle,
        options: LookupOptions,
    ) -> Self {
        let versions = Versions { fetcher, observatory };
        Self {
            runtime,
            provider: Arc::new(Provider::new(versions, options)),
            loading: Arc::default(),
        }
    }

    /// The best references of all types for a header under a literal context. What a header lacks that the rules ask for
    /// is an error unless the header is `whole`: then the dataset has no such parameter.
    pub(super) async fn best_references(
        &self,
        context: &FileName,
        header: &Header,
        whole: bool,
    ) -> Result<Computed, RulesError> {
        let header = for_lookup(header);
        self.in_context(context, &header, |open| compute(open, &header, whole))
            .await
    }

    /// Explains the best references of all types for a header under a literal context.
    pub(super) async fn explain(
        &self,
        context: &FileName,
        header: &Header,
    ) -> Result<Vec<Explanation>, RulesError> {
        let header = for_lookup(header);
        self.in_context(context, &header, |open| {
            match open.explain(&header, Some(&all_types(open))) {
                Err(error) if error.is_absent_mapping() => None,
                explained => Some(explained.map_err(|error| RulesError::Text(error.to_string()))),
            }
        })
        .await
    }

    /// Fetches the rules that a lookup of this header needs, and looks up. `look_up` gives nothing if some of them have been
    /// dropped or changed meanwhile.
    async fn in_context<T>(
        &self,
        context: &FileName,
        header: &crate::rules::Header,
        look_up: impl Fn(&OpenContext<'_, Versions>) -> Option<Result<T, RulesError>>,
    ) -> Result<T, RulesError> {
        let observatory = self.provider.texts().observatory;
        // Brought for this lookup: not forgotten before it ends.
        let mut pinned = Pinned::new();
        for _ in 0..MAX_ROUNDS {
            let open = self.provider.context_with(observatory, context.as_str(), &pinned);
            let missing = match open {
                Ok(open) => match open.missing(header) {
                    missing if !missing.is_empty() => missing,
                    _ => match look_up(&open) {
                        Some(found) => return found,
                        None => continue,
                    },
                },
                Err(error) if error.is_absent_mapping() => vec![context.to_string()],
                Err(error) => return Err(RulesError::Text(error.to_string())),
            };
            pinned.extend(self.bring(missing).await?);
        }
        Err(RulesError::Text(format!(
            "the rules of {context} change faster than they can be read"
        )))
    }

    /// The mapping that `parent` names for an instrument or a type.
    pub(super) async fn child(&self, parent: &FileName, key: &str) -> Result<Option<FileName>, RulesError> {
        let compiled = self.load(parent.as_str()).await?;
        let name = compiled.mapping.child(key).map(str::parse).transpose();
        name.map_err(|error| RulesError::Text(format!("{parent} names no usable file for '{key}': {error}")))
    }

    /// The mappings that a mapping names; names that no file can have are left out.
    pub(super) async fn children(&self, parent: &FileName) -> Result<Vec<FileName>, RulesError> {
        let mapping = self.load(parent.as_str()).await?.mapping;
        let names = mapping.children().into_iter();
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// The names of the rules that lookups of an instrument rest on. What cannot be had is left out: it is no reason to
    /// withhold a file.
    pub(super) async fn names(&self, context: &FileName, instrument: Option<&str>) -> Vec<String> {
        let found: Result<Vec<String>, RulesError> = async {
            let pmap = self.load(context.as_str()).await?.mapping;
            if let Some(imap) = instrument.and_then(|instrument| pmap.child(instrument)) {
                self.load(imap).await?;
            }
            let names = self.provider.mappings_of_instrument(context.as_str(), instrument);
            names.map_err(|error| RulesError::Text(error.to_string()))
        }
        .await;
        found.unwrap_or_else(|error| {
            log::warn!("whether bad rules are in {context} is not known: {error:?}");
            vec![context.to_string()]
        })
    }

    /// As [`Rules::names`], if all of these rules are compiled.
    pub(super) fn names_at_hand(&self, context: &FileName, instrument: Option<&str>) -> Option<Vec<String>> {
        let names = self.provider.mappings_of_instrument(context.as_str(), instrument);
        names.ok()
    }

    /// Brings rules, all at once.
    async fn bring(&self, names: Vec<String>) -> Result<Pinned<Version>, RulesError> {
        let loaded = join_all(names.iter().map(|name| self.load(name))).await;
        let loaded: Result<Vec<_>, _> = loaded.into_iter().collect();
        Ok(names.into_iter().zip(loaded?).collect())
    }

    /// A compiled rule, fetched if need be.
    async fn load(&self, name: &str) -> Result<Compiled<Version>, RulesError> {
        if let Some(compiled) = self.provider.compiled(name) {
            return Ok(compiled);
        }
        let parsed: FileName = name
            .parse()
            .map_err(|error| RulesError::Text(format!("Can't load file {name} : {error}")))?;
        let mut loading = self
            .loading
            .lock()
            .entry(parsed)
            .or_insert_with_key(|name| self.start_loading(name.clone()))
            .clone();
        let ended = || {
            RulesError::Text(format!(
                "the rules in {name} cannot be read: crds-fs is shutting down"
            ))
        };
        let loaded = loading.wait_for(Option::is_some).await.map_err(|_| ended())?;
        loaded.clone().unwrap_or_else(|| Err(ended()))
    }

    /// Reads a rule in a task, which takes it off the list of those on their way also when that is a panic.
    fn start_loading(&self, name: FileName) -> Loading {
        let (tell, loading) = watch::channel(None);
        let (provider, running) = (Arc::clone(&self.provider), Arc::clone(&self.loading));
        self.runtime.spawn(async move {
            let loaded = AssertUnwindSafe(read(provider, name.clone()))
                .catch_unwind()
                .await;
            let loaded = loaded.unwrap_or_else(|_| Err(RulesError::Panicked(name.to_string())));
            running.lock().remove(&name);
            tell.send_replace(Some(loaded));
        });
        loading
    }
}

/// Opens and compiles a rule.
async fn read(provider: Arc<Provider<Versions>>, name: FileName) -> Result<Compiled<Version>, RulesError> {
    let versions = provider.texts();
    let key = FileKey {
        observatory: versions.observatory,
        name: name.clone(),
    };
    // Before the file is opened: the text that is read is of this version or a later one.
    let version = versions.of(&name);
    let copy = match version {
        Version::Own(_) => None,
        Version::Catalogued(_) => {
            let opened = versions.fetcher.open(&key).wait().await;
            Some(opened.map_err(RulesError::Fetch)?)
        }
    };
    let compiled = tokio::task::spawn_blocking(move || {
        let name = key.name.as_str();
        let own = || own::open(&provider.texts().fetcher, &key).map(Arc::new);
        let text = copy
            .map_or_else(own, Ok)
            .and_then(|file| read_text(&file, MAX_TEXT_BYTES));
        let text = text.map_err(|error| RulesError::Text(format!("Can't load file {name} : {error}")))?;
        provider
            .compile(name, text, Some(version))
            .map_err(|error| RulesError::Text(error.to_string()))
    });
    compiled
        .await
        .unwrap_or_else(|_| Err(RulesError::Panicked(name.to_string())))
}

/// The answers of a context whose rules are all compiled; nothing if some have been dropped or changed meanwhile.
fn compute(
    context: &OpenContext<'_, Versions>,
    header: &crate::rules::Header,
    whole: bool,
) -> Option<Result<Computed, RulesError>> {
    if !whole {
        let absent = context.missing_parkeys(header).unwrap_or_default();
        if !absent.is_empty() {
            return Some(Err(RulesError::Incomplete(absent)));
        }
    }
    let types = match lookup(context, header) {
        Err(error) if error.is_absent_mapping() => return None,
        Err(error) => return Some(Err(RulesError::Text(error.to_string()))),
        Ok(types) => types,
    };
    let volatile = context.has_used(|version| matches!(version, Version::Own(_)));
    Some(Ok(Computed { types, volatile }))
}

/// All types, whatever the level of the context.
fn lookup(
    context: &OpenContext<'_, Versions>,
    header: &crate::rules::Header,
) -> Result<BTreeMap<Reftype, TypeAnswer>, LookupError> {
    let answers = context.best_references(&mut Memory::none(), header, Some(&all_types(context)))?;
    Ok(answers
        .iter()
        .filter_map(|(reftype, answer)| Some((reftype.parse().ok()?, type_answer(answer))))
        .collect())
}

/// The types to ask for where all are wanted: an rmap has to be asked for its own.
fn all_types<'o>(context: &'o OpenContext<'_, Versions>) -> Vec<&'o str> {
    match context.context().mapping().target() {
        Target::Reference(reference) => vec![reference.filekind()],
        Target::Pipeline(_) | Target::Instrument(_) => Vec::new(),
    }
}

fn for_lookup(header: &Header) -> crate::rules::Header {
    header
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn type_answer(answer: &BestRef<'_>) -> TypeAnswer {
    match answer {
        BestRef::File(_) | BestRef::Several(_) | BestRef::Named(_) => {
            TypeAnswer::from_json(&serde_json::to_value(answer).unwrap_or_default())
        }
        BestRef::NotApplicable => TypeAnswer::NotApplicable(answer.text().into_owned()),
        // A failure's text may well contain "n/a": it is one all the same.
        BestRef::NotFound(_) | BestRef::Value(_) | BestRef::Object(_) => {
            TypeAnswer::NotFound(answer.text().into_owned())
        }
    }
}
