//! What the rules of the served cache say: closures, parameters, best references.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::archive::Files;
use super::envelope::Fault;
use crate::crds::{FileName, Observatory};
use crate::rules::{
    Context, Header, HeaderValue, LoadError, LoadErrorKind, LookupOptions, Mapping, Mappings, Memory, Target,
    spread,
};

/// Mappings and contexts that are kept after use.
const KEPT_MAPPINGS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
const KEPT_CONTEXTS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// The rules of one observatory, read when they are asked for.
pub(super) struct Rules {
    observatory: Observatory,
    mappings: Mutex<LruCache<String, Arc<Mapping>>>,
    contexts: Mutex<LruCache<FileName, Arc<Context>>>,
}

/// The rules together with the files that they are read from.
struct Reading<'a> {
    rules: &'a Rules,
    files: &'a Files,
}

impl Mappings for Reading<'_> {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        if let Some(known) = self.rules.mappings.lock().get(name) {
            return Ok(Arc::clone(known));
        }
        let file = self.files.get(name).ok_or_else(|| LoadError::absent(name))?;
        let text = std::fs::read_to_string(&file.path).map_err(|error| {
            LoadError::new(LoadErrorKind::Absent, format!("cannot read '{name}': {error}"))
        })?;
        let mapping = Arc::new(Mapping::load(name, text)?);
        self.rules
            .mappings
            .lock()
            .put(name.to_owned(), Arc::clone(&mapping));
        Ok(mapping)
    }

    fn prepare(&self, names: &[&str]) {
        let known = |name: &&str| self.rules.mappings.lock().contains(*name);
        let new: Vec<&str> = names.iter().copied().filter(|name| !known(name)).collect();
        // What is wrong with one is told to whoever asks for it.
        spread(&new, |name| drop(self.get(name)));
    }
}

impl Rules {
    pub(super) fn new(observatory: Observatory) -> Self {
        Self {
            observatory,
            mappings: Mutex::new(LruCache::new(KEPT_MAPPINGS)),
            contexts: Mutex::new(LruCache::new(KEPT_CONTEXTS)),
        }
    }

    /// The names of all mappings that a context consists of, itself included.
    pub(super) fn mapping_names(&self, files: &Files, context: &FileName) -> Result<Value, Fault> {
        Ok(json!(self.closure(files, context)?.0))
    }

    /// The names of all references that a context names.
    pub(super) fn reference_names(&self, files: &Files, context: &FileName) -> Result<Value, Fault> {
        Ok(json!(self.closure(files, context)?.1))
    }

    /// Mappings and references below a context.
    fn closure(
        &self,
        files: &Files,
        context: &FileName,
    ) -> Result<(BTreeSet<String>, BTreeSet<String>), Fault> {
        let reading = Reading { rules: self, files };
        let (mut mappings, mut references) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![context.to_string()];
        while let Some(name) = open.pop() {
            if !mappings.insert(name.clone()) {
                continue;
            }
            let mapping = reading
                .get(&name)
                .map_err(|error| Fault::new(error.class(), &error))?;
            open.extend(mapping.children().into_iter().map(str::to_owned));
            references.extend(mapping.references().into_iter().map(str::to_owned));
        }
        Ok((mappings, references))
    }

    /// The parameters that the rules ask for, by instrument; of an rmap its own alone.
    pub(super) fn required_parkeys(&self, files: &Files, name: &FileName) -> Result<Value, Fault> {
        let context = self.context(files, name)?;
        let keys = context
            .required_parkeys(&Reading { rules: self, files })
            .map_err(|error| Fault::new(error.class(), &error))?;
        Ok(match context.mapping().target() {
            Target::Reference(_) => json!(keys.into_iter().flat_map(|(_, keys)| keys).collect::<Vec<_>>()),
            _ => Value::Object(
                keys.into_iter()
                    .map(|(instrument, keys)| (instrument, json!(keys)))
                    .collect(),
            ),
        })
    }

    /// The best references for a header.
    pub(super) fn best_references(
        &self,
        files: &Files,
        name: &FileName,
        header: &Map<String, Value>,
        types: Option<&[String]>,
    ) -> Result<Value, Fault> {
        let context = self.context(files, name)?;
        let mut parameters = Header::new();
        for (key, value) in header {
            parameters.push(key.as_str(), HeaderValue::from(value));
        }
        let found = context
            .best_references(
                &mut Memory::none(),
                &Reading { rules: self, files },
                &parameters,
                types,
            )
            .map_err(|error| Fault::new(error.class(), &error))?;
        Ok(Value::Object(
            found
                .iter()
                .map(|(reftype, answer)| (reftype.to_owned(), json!(answer)))
                .collect(),
        ))
    }

    fn context(&self, files: &Files, name: &FileName) -> Result<Arc<Context>, Fault> {
        if let Some(known) = self.contexts.lock().get(name) {
            return Ok(Arc::clone(known));
        }
        let mapping = Reading { rules: self, files }
            .get(name.as_str())
            .map_err(|error| Fault::new(error.class(), &error))?;
        let context = Context::new(mapping, self.observatory, LookupOptions::default())
            .map_err(|error| Fault::new(error.class(), &error))?;
        let context = Arc::new(context);
        self.contexts.lock().put(name.clone(), Arc::clone(&context));
        Ok(context)
    }
}
