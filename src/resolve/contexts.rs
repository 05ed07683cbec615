//! Rules brought in through the fetcher, and evaluated here.
//!
//! A context loads lazily: the imap of a header's instrument when first asked for, then all its rmaps in one burst.
//! Compiled rules are kept and shared between contexts, so that the next context costs what differs.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::answer::{Header, TypeAnswer};
use super::library::Library;
use super::own;
use crate::crds::{FileKey, FileName, Observatory, Reftype};
use crate::fetch::{FetchError, Fetcher, OwnVersion};
use crate::rules::{
    Answer, Context, LoadError, LoadErrorKind, LookupError, LookupOptions, Mapping, Mappings, Memory, Target,
};

/// No rule is larger; what is, is refused.
const MAX_BYTES: u64 = 64 << 20;

/// Rounds of loading for one lookup: the context, an imap, its rmaps, and what was forgotten meanwhile.
const MAX_ROUNDS: usize = 8;

/// Why rules have no answer.
#[derive(Debug, Clone)]
pub(super) enum RulesError {
    /// A rule could not be had.
    Fetch(FetchError),
    /// In the client's words wherever it has some.
    Text(String),
    /// The header lacks parameters that the rules ask for.
    Incomplete(Vec<String>),
    /// A mistake of this program with this rule.
    Panicked(String),
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Computed {
    pub(super) types: BTreeMap<Reftype, TypeAnswer>,
    /// The user's own rules had a part in it: they may change at any time.
    pub(super) volatile: bool,
}

/// The user's own version of a rule.
type Stamp = Option<OwnVersion>;

/// A context with the versions of the rules that it is made of.
struct Loaded {
    context: Context,
    stamps: Mutex<BTreeMap<String, Stamp>>,
}

type Loading = watch::Receiver<Option<Result<Arc<Mapping>, RulesError>>>;

/// The rules of all observatories.
pub(super) struct Contexts {
    fetcher: Fetcher,
    runtime: Handle,
    options: LookupOptions,
    library: Library<Arc<Loaded>>,
    /// Rules on their way, each in a task of its own, so that many who need one compile it once.
    loading: Arc<Mutex<HashMap<String, Loading>>>,
}

impl Contexts {
    pub(super) fn new(fetcher: Fetcher, runtime: Handle, ignore_checksum: bool) -> Self {
        Self {
            fetcher,
            runtime,
            options: LookupOptions { ignore_checksum },
            library: Library::new(),
            loading: Arc::default(),
        }
    }

    /// Forgets all compiled rules: some have other contents now.
    pub(super) fn forget(&self) {
        self.library.clear();
    }

    /// The best references of all types for a header under a literal context. What a header lacks that the rules ask for
    /// is an error unless the header is `whole`: then the dataset has no such parameter.
    pub(super) async fn best_references(
        &self,
        observatory: Observatory,
        context: &FileName,
        header: &Header,
        whole: bool,
    ) -> Result<Computed, RulesError> {
        let header: crate::rules::Header = header
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut stock = Stock {
            contexts: self,
            observatory,
            own: Mutex::default(),
        };
        for _ in 0..MAX_ROUNDS {
            let loaded = self.context(&stock, context).await?;
            let missing = loaded.context.missing(&stock, &header);
            if missing.is_empty() {
                if !whole {
                    let absent = loaded
                        .context
                        .missing_parkeys(&stock, &header)
                        .unwrap_or_default();
                    if !absent.is_empty() {
                        return Err(RulesError::Incomplete(absent));
                    }
                }
                match lookup(&loaded.context, &stock, &header) {
                    Err(error) if error.is_absent_mapping() => {}
                    other => {
                        let types = other.map_err(|error| RulesError::Text(error.to_string()))?;
                        let volatile = loaded.stamps.lock().values().any(Option::is_some);
                        return Ok(Computed { types, volatile });
                    }
                }
            }
            stock.bring(&missing).await?;
            let mut stamps = loaded.stamps.lock();
            for name in missing {
                let stamp = self.stamp(observatory, &name);
                stamps.insert(name, stamp);
            }
        }
        Err(RulesError::Text(format!(
            "the rules of {context} change faster than they can be read"
        )))
    }

    /// The mapping that `parent` names for an instrument or a type.
    pub(super) async fn child(
        &self,
        observatory: Observatory,
        parent: &FileName,
        key: &str,
    ) -> Result<Option<FileName>, RulesError> {
        let mapping = self.mapping(observatory, parent.as_str()).await?;
        let name = mapping.child(key).map(str::parse).transpose();
        name.map_err(|error| RulesError::Text(format!("{parent} names no usable file for '{key}': {error}")))
    }

    /// The names of the rules that lookups of an instrument rest on: its imap and the rmaps of that, or the context's where
    /// it has no such imap. What cannot be had is left out: it is no reason to withhold a file.
    pub(super) async fn names(
        &self,
        observatory: Observatory,
        context: &FileName,
        instrument: Option<&str>,
    ) -> Vec<String> {
        let found: Result<Vec<String>, RulesError> = async {
            let mapping = self.mapping(observatory, context.as_str()).await?;
            match instrument.and_then(|instrument| mapping.child(instrument)) {
                Some(imap) => Ok(family(&*self.mapping(observatory, imap).await?)),
                None => Ok(family(&mapping)),
            }
        }
        .await;
        found.unwrap_or_else(|error| {
            log::warn!("whether bad rules are in {context} is not known: {error:?}");
            vec![context.to_string()]
        })
    }

    /// The same, if all of it is in memory.
    pub(super) fn names_at_hand(
        &self,
        observatory: Observatory,
        context: &FileName,
        instrument: Option<&str>,
    ) -> Option<Vec<String>> {
        let mapping = self.at_hand(observatory, context.as_str())?;
        match instrument.and_then(|instrument| mapping.child(instrument)) {
            Some(imap) => Some(family(&*self.at_hand(observatory, imap)?)),
            None => Some(family(&mapping)),
        }
    }

    /// A compiled rule that is in memory and not the user's own, which may change at any time.
    fn at_hand(&self, observatory: Observatory, name: &str) -> Option<Arc<Mapping>> {
        match self.stamp(observatory, name) {
            None => self.library.mapping(name),
            Some(_) => None,
        }
    }

    /// The context, if need be with its rules read anew because the user has changed one.
    async fn context(&self, stock: &Stock<'_>, name: &FileName) -> Result<Arc<Loaded>, RulesError> {
        if let Some(loaded) = self.library.context(name.as_str()) {
            let as_it_was = |(rule, stamp): (&String, &Stamp)| self.stamp(stock.observatory, rule) == *stamp;
            if loaded.stamps.lock().iter().all(as_it_was) {
                return Ok(loaded);
            }
            self.library.drop_context(name.as_str());
        }
        let stamp = self.stamp(stock.observatory, name.as_str());
        let mapping = self.mapping(stock.observatory, name.as_str()).await?;
        let context = Context::new(mapping, stock.observatory, self.options)
            .map_err(|error| RulesError::Text(error.to_string()))?;
        let stamps = Mutex::new([(name.to_string(), stamp)].into());
        Ok(self
            .library
            .keep_context(name.as_str(), Arc::new(Loaded { context, stamps })))
    }

    /// A compiled rule, fetched if need be.
    async fn mapping(&self, observatory: Observatory, name: &str) -> Result<Arc<Mapping>, RulesError> {
        if let Some(mapping) = self.at_hand(observatory, name) {
            return Ok(mapping);
        }
        let local = self.stamp(observatory, name).is_some();
        let parsed: FileName = name
            .parse()
            .map_err(|error| RulesError::Text(format!("Can't load file {name} : {error}")))?;
        let key = FileKey {
            observatory,
            name: parsed,
        };
        let mut loading = self
            .loading
            .lock()
            .entry(name.to_owned())
            .or_insert_with(|| self.start_loading(key))
            .clone();
        let ended = || {
            RulesError::Text(format!(
                "the rules in {name} cannot be read: crds-fs is shutting down"
            ))
        };
        let loaded = loading.wait_for(Option::is_some).await.map_err(|_| ended())?;
        let mapping = loaded.clone().unwrap_or_else(|| Err(ended()))?;
        if !local {
            self.library.keep_mapping(&mapping);
        }
        Ok(mapping)
    }

    /// Reads a rule in a task, which takes it off the list of those on their way also when that is a panic.
    fn start_loading(&self, key: FileKey) -> Loading {
        let (tell, loading) = watch::channel(None);
        let (fetcher, running) = (self.fetcher.clone(), Arc::clone(&self.loading));
        self.runtime.spawn(async move {
            let name = key.name.to_string();
            let mapping = AssertUnwindSafe(read(fetcher, key)).catch_unwind().await;
            let mapping = mapping.unwrap_or_else(|_| Err(RulesError::Panicked(name.clone())));
            running.lock().remove(&name);
            tell.send_replace(Some(mapping));
        });
        loading
    }

    /// The version of a rule, if it is the user's own.
    fn stamp(&self, observatory: Observatory, name: &str) -> Stamp {
        let key = FileKey {
            observatory,
            name: name.parse().ok()?,
        };
        own::version(&self.fetcher, &key)
    }
}

fn family(mapping: &Mapping) -> Vec<String> {
    mapping.family().into_iter().map(str::to_owned).collect()
}

/// Opens and compiles a rule.
async fn read(fetcher: Fetcher, key: FileKey) -> Result<Arc<Mapping>, RulesError> {
    let name = key.name.to_string();
    let copy = match own::version(&fetcher, &key) {
        None => Some(fetcher.open(&key).wait().await.map_err(RulesError::Fetch)?),
        Some(_) => None,
    };
    let compiled = tokio::task::spawn_blocking(move || {
        let own = || own::open(&fetcher, &key).map(Arc::new);
        match copy.map_or_else(own, Ok) {
            Ok(file) => compile(key.name.as_str(), &file),
            Err(error) => Err(RulesError::Text(format!(
                "Can't load file {} : {error}",
                key.name
            ))),
        }
    });
    compiled.await.unwrap_or_else(|_| Err(RulesError::Panicked(name)))
}

fn compile(name: &str, file: &File) -> Result<Arc<Mapping>, RulesError> {
    let failed =
        |error: &dyn std::fmt::Display| RulesError::Text(format!("Can't load file {name} : {error}"));
    let size = file.metadata().map_err(|error| failed(&error))?.len();
    if size > MAX_BYTES {
        return Err(failed(&"it is larger than 64 MiB"));
    }
    // The handle is shared with others: read by position.
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|error| failed(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| failed(&error))?;
    Mapping::load(name, text)
        .map(Arc::new)
        .map_err(|error| RulesError::Text(error.to_string()))
}

/// The rules at hand for one lookup.
struct Stock<'a> {
    contexts: &'a Contexts,
    observatory: Observatory,
    /// Brought for this lookup: not forgotten before it ends.
    own: Mutex<HashMap<String, Arc<Mapping>>>,
}

impl Stock<'_> {
    /// Brings rules, all at once.
    async fn bring(&mut self, names: &[String]) -> Result<(), RulesError> {
        let mappings = names
            .iter()
            .map(|name| self.contexts.mapping(self.observatory, name));
        let mappings: Result<Vec<_>, _> = join_all(mappings).await.into_iter().collect();
        self.own.lock().extend(names.iter().cloned().zip(mappings?));
        Ok(())
    }
}

impl Mappings for Stock<'_> {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        if let Some(mapping) = self.own.lock().get(name) {
            return Ok(Arc::clone(mapping));
        }
        let kept = self.contexts.at_hand(self.observatory, name);
        kept.ok_or_else(|| {
            LoadError::new(
                LoadErrorKind::Absent,
                format!("the rules in {name} are not at hand"),
            )
        })
    }
}

/// All types, whatever the level of the context.
fn lookup(
    context: &Context,
    mappings: &dyn Mappings,
    header: &crate::rules::Header,
) -> Result<BTreeMap<Reftype, TypeAnswer>, LookupError> {
    let own: Vec<&str> = match context.mapping().target() {
        Target::Reference(reference) => vec![reference.filekind()],
        Target::Pipeline(_) | Target::Instrument(_) => Vec::new(),
    };
    let answers = context.best_references(&mut Memory::none(), mappings, header, Some(&own))?;
    Ok(answers
        .iter()
        .filter_map(|(reftype, answer)| Some((reftype.parse().ok()?, type_answer(answer))))
        .collect())
}

fn type_answer(answer: &Answer<'_>) -> TypeAnswer {
    match answer {
        Answer::File(_) | Answer::Several(_) | Answer::Named(_) => {
            TypeAnswer::from_json(&serde_json::to_value(answer).unwrap_or_default())
        }
        Answer::NotApplicable => TypeAnswer::NotApplicable(answer.text().into_owned()),
        // A failure's text may well contain "n/a": it is one all the same.
        Answer::NotFound(_) | Answer::Value(_) | Answer::Object(_) => {
            TypeAnswer::NotFound(answer.text().into_owned())
        }
    }
}
