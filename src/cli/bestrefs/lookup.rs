//! The question about every dataset: contexts, types, and the form of the output; and one lookup of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use super::render;
use super::request::ReftypeSelection;
use super::subject::Subject;
use super::tally::Tally;
use crate::cli::cache_dirs::observatory_of;
use crate::cli::cache_rules::CacheRules;
use crate::crds::{FileKey, FileName, Observatory};
use crate::rules::{BestRefs, Memory};

/// The error where a context is neither given nor follows from anything.
const WHICH_CONTEXT: &str = "under which context? Give --context, or set CRDS_CONTEXT or CRDS_OBSERVATORY (in lines of --headers: \"context\")";

/// The literal name of a context, or why there is none.
type Literal = Result<String, String>;

/// Finds the mapping that a name such as `hst-latest` means.
type Find<'a> = dyn Fn(&str) -> Literal + Sync + 'a;

/// The default context of each observatory, found when it is first needed.
pub(super) struct Defaults<'a> {
    /// The observatory of subjects that do not tell their own.
    pub(super) observatory: Option<Observatory>,
    find: Box<Find<'a>>,
    found: Mutex<BTreeMap<Observatory, Literal>>,
}

impl<'a> Defaults<'a> {
    /// `find` gives the mapping that a name such as `hst-latest` means.
    pub(super) fn new(observatory: Option<Observatory>, find: impl Fn(&str) -> Literal + Sync + 'a) -> Self {
        Self {
            observatory,
            find: Box::new(find),
            found: Mutex::default(),
        }
    }
}

/// The question about every subject: contexts, types, and the form of the output.
pub(super) struct Lookup<'a> {
    pub(super) rules: &'a CacheRules,
    /// The contexts that were asked for, by literal names.
    pub(super) contexts: Vec<String>,
    /// The contexts where none was asked for.
    pub(super) defaults: Defaults<'a>,
    /// The context to compare with.
    pub(super) compare: Option<String>,
    pub(super) reftypes: &'a ReftypeSelection,
    pub(super) json: bool,
    /// Whether types without an answer are shown to people, too.
    pub(super) all: bool,
    /// Whether some were not shown.
    pub(super) hides: AtomicBool,
    /// Whether the answers are explained.
    pub(super) explain: bool,
    /// The counts of `--check`, which compares the references in headers with the answers.
    pub(super) check: Option<Tally>,
    /// The references named so far, where they are to be fetched.
    pub(super) wanted: Option<Mutex<BTreeSet<FileKey>>>,
    /// Whether anything was different in a comparison.
    pub(super) differs: AtomicBool,
}

impl Lookup<'_> {
    /// The observatory of the contexts, where some were asked for.
    pub(super) fn observatory(&self) -> Option<Observatory> {
        let context = self.contexts.first()?;
        observatory_of(context).parse().ok()
    }

    /// The contexts for a dataset of this observatory, as far as that is known.
    pub(super) fn contexts_of(&self, observatory: Option<Observatory>) -> Result<Vec<String>, String> {
        if !self.contexts.is_empty() {
            return Ok(self.contexts.clone());
        }
        let Some(observatory) = observatory.or(self.defaults.observatory) else {
            return Err(WHICH_CONTEXT.to_owned());
        };
        let mut found = self.defaults.found.lock();
        let default = found.entry(observatory).or_insert_with(|| {
            let literal = (self.defaults.find)(&format!("{observatory}-latest")).map_err(|why| {
                format!("{WHICH_CONTEXT}; the default context of {observatory} is not known ({why})")
            })?;
            self.check_reftypes(std::slice::from_ref(&literal))?;
            Ok(literal)
        });
        default.clone().map(|context| vec![context])
    }

    /// Refuses types that the contexts do not know, as far as their rules can be read. The error is its text.
    pub(super) fn check_reftypes(&self, contexts: &[String]) -> Result<(), String> {
        if self.reftypes.named().next().is_none() || contexts.is_empty() {
            return Ok(());
        }
        let known: Option<Vec<_>> = contexts.iter().map(|name| self.rules.reftypes(name)).collect();
        let Some(known) = known else { return Ok(()) };
        let known: BTreeSet<String> = known.into_iter().flatten().collect();
        let is_unknown = |name: &&String| !known.contains(&name.to_lowercase());
        match self.reftypes.named().find(is_unknown) {
            Some(unknown) => Err(format!(
                "'{unknown}' is no type of references under {}, which has: {}",
                contexts.join(", "),
                known.into_iter().collect::<Vec<_>>().join(", ")
            )),
            None => Ok(()),
        }
    }

    pub(super) fn note_difference(&self, differs: bool) {
        self.differs.fetch_or(differs, Ordering::Relaxed);
    }

    /// Writes the answers under one context. `id` is JSON.
    pub(super) fn write_answers(&self, out: &mut Vec<u8>, id: &str, context: &str, answers: &impl Serialize) {
        if self.json {
            render::answers(out, id, context, answers);
            return;
        }
        let shows_all = self.all || self.reftypes.only.is_some();
        if render::table(out, id, context, answers, shows_all) {
            self.hides.store(true, Ordering::Relaxed);
        }
    }

    /// Notes references that are to be fetched, if any are.
    pub(super) fn want<I: Iterator<Item = FileName>>(&self, context: &str, names: impl FnOnce() -> I) {
        if let (Some(wanted), Ok(observatory)) = (&self.wanted, observatory_of(context).parse()) {
            let keys = names().map(|name| FileKey { observatory, name });
            wanted.lock().extend(keys);
        }
    }

    /// Looks a subject up; a failure of the lookup as a whole is its text.
    pub(super) fn with_answers<T>(
        &self,
        memory: &mut Memory,
        subject: &Subject<'_>,
        context: &str,
        tell: impl FnOnce(&mut Memory, &BestRefs<'_>) -> T,
    ) -> Result<T, String> {
        let context = self.rules.context(context).map_err(|error| error.to_string())?;
        let types = subject.types.as_deref().or(self.reftypes.only.as_deref());
        let answers = context
            .best_references(memory, &subject.header, types)
            .map_err(|error| error.to_string())?;
        Ok(tell(memory, &answers))
    }
}
