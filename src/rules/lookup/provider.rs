//! The provider of rules: compiles each mapping once, keeps mappings and contexts while there is room, and looks up in
//! them. Its owner supplies the texts ([`Texts`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::crds::Observatory;
use crate::rules::lookup::bestrefs::BestRefs;
use crate::rules::lookup::cache::Memory;
use crate::rules::lookup::context::{Context, LookupOptions};
use crate::rules::lookup::error::LookupError;
use crate::rules::lookup::explanation::Explanation;
use crate::rules::lookup::mapping::{Mapping, Mappings, Target};
use crate::rules::lookup::parallel::for_each_parallel;
use crate::rules::syntax::error::LoadError;
use crate::rules::values::header::Header;

/// The number of mappings that are kept: several whole contexts of any observatory, which share most of their rmaps.
const KEPT_MAPPINGS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// The number of contexts that are kept.
const KEPT_CONTEXTS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// The longest text of a mapping, in bytes; the code that reads a longer one refuses it.
pub(crate) const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The texts of mappings, by name.
pub trait Texts: Sync {
    /// Tells one text that a name has had from another. Where texts never change: `()`.
    type Version: Clone + PartialEq + Send + Sync;

    /// The text of a mapping, or why it cannot be had. [`LoadErrorKind::Absent`](crate::rules::LoadErrorKind::Absent)
    /// stands for a mapping that is not there, or not yet.
    fn text(&self, name: &str) -> Result<String, LoadError>;

    /// The version that [`Texts::text`] would give now. `None` where the text of a name never changes: then what was
    /// compiled of it is never looked at again.
    fn version(&self, name: &str) -> Option<Self::Version> {
        let _ = name;
        None
    }
}

/// A compiled mapping with the version of its text.
#[derive(Debug, Clone)]
pub(crate) struct Compiled<V> {
    /// The mapping.
    pub mapping: Arc<Mapping>,
    version: Option<V>,
}

/// Mappings that a lookup keeps, even if the provider forgets them meanwhile.
pub(crate) type Pinned<V> = HashMap<String, Compiled<V>>;

/// Mappings and contexts, compiled from texts when they are first asked for. The least recently used go first.
pub struct Provider<T: Texts> {
    texts: T,
    options: LookupOptions,
    mappings: Mutex<LruCache<String, Compiled<T::Version>>>,
    contexts: Mutex<LruCache<String, Arc<KeptContext<T::Version>>>>,
}

/// A context with the versions of the mappings that lookups in it have used.
struct KeptContext<V> {
    context: Context,
    /// `None` for a mapping that came in several versions.
    versions: Mutex<BTreeMap<String, Option<V>>>,
}

/// The names of everything below a context.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closure {
    /// The mappings, the context included.
    pub mappings: BTreeSet<String>,
    /// The references that they name.
    pub references: BTreeSet<String>,
}

impl<T: Texts> Provider<T> {
    /// A provider that has compiled nothing yet.
    pub fn new(texts: T, options: LookupOptions) -> Self {
        Self {
            texts,
            options,
            mappings: Mutex::new(LruCache::new(KEPT_MAPPINGS)),
            contexts: Mutex::new(LruCache::new(KEPT_CONTEXTS)),
        }
    }

    /// The texts that it compiles.
    pub fn texts(&self) -> &T {
        &self.texts
    }

    /// A mapping that is compiled already, in the present version of its text.
    pub(crate) fn compiled(&self, name: &str) -> Option<Compiled<T::Version>> {
        self.compiled_of(name, self.texts.version(name).as_ref())
    }

    fn compiled_of(&self, name: &str, version: Option<&T::Version>) -> Option<Compiled<T::Version>> {
        let mut mappings = self.mappings.lock();
        let known = mappings.get(name)?;
        (known.version.as_ref() == version).then(|| known.clone())
    }

    /// Compiles the text of a mapping, and keeps it. `version` was asked for before the text was read.
    pub(crate) fn compile(
        &self,
        name: &str,
        text: String,
        version: Option<T::Version>,
    ) -> Result<Compiled<T::Version>, LoadError> {
        let mapping = Arc::new(Mapping::load(name, text)?);
        let compiled = Compiled { mapping, version };
        self.mappings.lock().put(name.to_owned(), compiled.clone());
        Ok(compiled)
    }

    /// A mapping, compiled unless it is already.
    pub fn mapping(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        Ok(self.load(name)?.mapping)
    }

    fn load(&self, name: &str) -> Result<Compiled<T::Version>, LoadError> {
        let version = self.texts.version(name);
        if let Some(known) = self.compiled_of(name, version.as_ref()) {
            return Ok(known);
        }
        self.compile(name, self.texts.text(name)?, version)
    }

    /// A context for lookups. It is made anew where one of its mappings has another version by now.
    pub fn context(&self, observatory: Observatory, name: &str) -> Result<OpenContext<'_, T>, LookupError> {
        self.open(observatory, name, None)
    }

    /// As [`Provider::context`], with mappings that are here even if the provider has forgotten them.
    pub(crate) fn context_with<'p>(
        &'p self,
        observatory: Observatory,
        name: &str,
        pinned: &'p Pinned<T::Version>,
    ) -> Result<OpenContext<'p, T>, LookupError> {
        self.open(observatory, name, Some(pinned))
    }

    fn open<'p>(
        &'p self,
        observatory: Observatory,
        name: &str,
        pinned: Option<&'p Pinned<T::Version>>,
    ) -> Result<OpenContext<'p, T>, LookupError> {
        let open = |kept| OpenContext {
            provider: self,
            pinned,
            kept,
        };
        let known = self.contexts.lock().get(name).cloned();
        match known {
            Some(known) if self.is_current(&known) => return Ok(open(known)),
            Some(_) => drop(self.contexts.lock().pop(name)),
            None => {}
        }
        let compiled = match pinned.and_then(|pinned| pinned.get(name)) {
            Some(pinned) => pinned.clone(),
            None => self.load(name)?,
        };
        let kept = KeptContext {
            context: Context::new(compiled.mapping, observatory, self.options)?,
            versions: Mutex::default(),
        };
        kept.note(name, compiled.version);
        // A context that another thread has kept meanwhile stays: its rules may be linked already.
        let mut contexts = self.contexts.lock();
        let kept = contexts.get_or_insert(name.to_owned(), || Arc::new(kept));
        Ok(open(Arc::clone(kept)))
    }

    fn is_current(&self, kept: &KeptContext<T::Version>) -> bool {
        // The owner may look at files for a version: not under the lock.
        let versions = kept.versions.lock().clone();
        let mut versions = versions.into_iter();
        versions.all(|(name, version)| version.is_some() && self.texts.version(&name) == version)
    }

    /// Everything below a mapping of any level. Mappings of one level are compiled on all cores.
    pub fn closure(&self, name: &str) -> Result<Closure, LoadError> {
        let mut closure = Closure::default();
        let mut level = vec![name.to_owned()];
        while !level.is_empty() {
            self.prepare(&level.iter().map(String::as_str).collect::<Vec<_>>());
            let mut below = Vec::new();
            for name in level {
                let mapping = self.mapping(&name)?;
                let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
                closure.references.extend(names(mapping.references()));
                below.extend(names(mapping.children()));
                closure.mappings.insert(name);
            }
            below.retain(|name| !closure.mappings.contains(name));
            level = below;
        }
        Ok(closure)
    }

    /// The mappings that lookups of an instrument (lower case) rest on: its imap and the rmaps of that, or the context and
    /// its children where it has no such imap.
    pub fn mappings_of_instrument(
        &self,
        context: &str,
        instrument: Option<&str>,
    ) -> Result<Vec<String>, LoadError> {
        let context = self.mapping(context)?;
        let imap = instrument.and_then(|instrument| context.child(instrument));
        let imap = imap.map(|name| self.mapping(name)).transpose()?;
        let family = imap.as_ref().unwrap_or(&context).family();
        Ok(family.into_iter().map(str::to_owned).collect())
    }

    /// The reference types that a context has rules for, in lower case.
    pub fn reftypes(&self, context: &str) -> Result<BTreeSet<String>, LoadError> {
        let context = self.mapping(context)?;
        if let Target::Reference(reference) = context.target() {
            return Ok([reference.filekind().to_lowercase()].into());
        }
        let imaps = match context.target() {
            Target::Pipeline(_) => {
                let names = context.children();
                self.prepare(&names);
                names
                    .into_iter()
                    .map(|name| self.mapping(name))
                    .collect::<Result<Vec<_>, _>>()?
            }
            _ => vec![context],
        };
        let mut reftypes = BTreeSet::new();
        for imap in &imaps {
            reftypes.extend(imap.instrument()?.filekinds().map(str::to_owned));
        }
        Ok(reftypes)
    }

    /// Compiles those of some mappings that are not compiled, on all cores.
    fn prepare(&self, names: &[&str]) {
        let is_new = |name: &&str| self.compiled(name).is_none();
        let new: Vec<&str> = names.iter().copied().filter(is_new).collect();
        // An error comes back when the mapping is asked for.
        for_each_parallel(&new, |name| drop(self.load(name)));
    }
}

impl<V: Clone + PartialEq> KeptContext<V> {
    /// Remembers the version of a mapping that the context may have been linked with.
    fn note(&self, name: &str, version: Option<V>) {
        let Some(version) = version else { return };
        let mut versions = self.versions.lock();
        match versions.get_mut(name) {
            Some(known) if known.as_ref() == Some(&version) => {}
            Some(known) => *known = None,
            None => drop(versions.insert(name.to_owned(), Some(version))),
        }
    }
}

/// A context together with the provider of its other mappings.
pub struct OpenContext<'p, T: Texts> {
    provider: &'p Provider<T>,
    pinned: Option<&'p Pinned<T::Version>>,
    kept: Arc<KeptContext<T::Version>>,
}

impl<T: Texts> OpenContext<'_, T> {
    /// The context.
    pub fn context(&self) -> &Context {
        &self.kept.context
    }

    /// The best references for a header: see [`Context::best_references`].
    pub fn best_references<S: AsRef<str>>(
        &self,
        memory: &mut Memory,
        header: &Header,
        reftypes: Option<&[S]>,
    ) -> Result<BestRefs<'_>, LookupError> {
        self.kept.context.best_references(memory, self, header, reftypes)
    }

    /// Explains the best references for a header: see [`Context::explain`].
    pub fn explain<S: AsRef<str>>(
        &self,
        header: &Header,
        reftypes: Option<&[S]>,
    ) -> Result<Vec<Explanation>, LookupError> {
        self.kept.context.explain(self, header, reftypes)
    }

    /// The mappings that a lookup of this header needs next and that are not here: see [`Context::missing`].
    pub fn missing(&self, header: &Header) -> Vec<String> {
        self.kept.context.missing(self, header)
    }

    /// The parameters that the rules ask for and the header does not have: see [`Context::missing_parkeys`].
    pub fn missing_parkeys(&self, header: &Header) -> Result<Vec<String>, LookupError> {
        self.kept.context.missing_parkeys(self, header)
    }

    /// The parameters that the rules of each instrument ask for: see [`Context::required_parkeys`].
    pub fn required_parkeys(&self) -> Result<Vec<(String, Vec<String>)>, LookupError> {
        self.kept.context.required_parkeys(self)
    }

    /// Whether any mapping that lookups have used here was of such a version.
    pub(crate) fn has_used(&self, is_such: impl Fn(&T::Version) -> bool) -> bool {
        let versions = self.kept.versions.lock();
        versions.values().flatten().any(is_such)
    }
}

impl<T: Texts> Mappings for OpenContext<'_, T> {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        let compiled = match self.pinned.and_then(|pinned| pinned.get(name)) {
            Some(pinned) => pinned.clone(),
            None => self.provider.load(name)?,
        };
        self.kept.note(name, compiled.version);
        Ok(compiled.mapping)
    }

    fn prepare(&self, names: &[&str]) {
        let is_pinned = |name: &&str| self.pinned.is_some_and(|pinned| pinned.contains_key(*name));
        let new: Vec<&str> = names.iter().copied().filter(|name| !is_pinned(name)).collect();
        self.provider.prepare(&new);
    }
}
