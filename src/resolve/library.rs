//! Compiled rules, kept while there is room: the least recently used go first.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::rules::{Context, Mapping};

/// Mappings kept: several whole contexts of any observatory, which share most of their rmaps.
const MAPPINGS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// Contexts kept.
const CONTEXTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

/// Compiled mappings and contexts by name. `C` is what is kept for a context.
pub struct Library<C = Arc<Context>> {
    mappings: Mutex<LruCache<String, Arc<Mapping>>>,
    contexts: Mutex<LruCache<String, C>>,
}

impl<C: Clone> Library<C> {
    /// An empty library.
    pub fn new() -> Self {
        Self {
            mappings: Mutex::new(LruCache::new(MAPPINGS)),
            contexts: Mutex::new(LruCache::new(CONTEXTS)),
        }
    }

    /// A mapping by the name it was kept under.
    pub fn mapping(&self, name: &str) -> Option<Arc<Mapping>> {
        self.mappings.lock().get(name).cloned()
    }

    /// Keeps a mapping under its own name.
    pub fn keep_mapping(&self, mapping: &Arc<Mapping>) {
        self.mappings
            .lock()
            .put(mapping.name().to_owned(), Arc::clone(mapping));
    }

    /// A context by the name it was kept under.
    pub fn context(&self, name: &str) -> Option<C> {
        self.contexts.lock().get(name).cloned()
    }

    /// Keeps a context. What another thread kept meanwhile stays, and is given back: its rules are put together already.
    pub fn keep_context(&self, name: &str, context: C) -> C {
        self.contexts
            .lock()
            .get_or_insert(name.to_owned(), || context)
            .clone()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.mappings.lock().clear();
        self.contexts.lock().clear();
    }

    /// Forgets a context.
    pub fn drop_context(&self, name: &str) {
        self.contexts.lock().pop(name);
    }
}

impl<C: Clone> Default for Library<C> {
    fn default() -> Self {
        Self::new()
    }
}
