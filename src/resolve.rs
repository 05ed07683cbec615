//! From a context and a dataset to the best references: asked of the server or computed here, and remembered.
//!
//! [`Resolver::remembered`] answers on the spot from memory, which survives restarts; [`Resolver::answer`] asks. Callers
//! who ask at the same time share requests. Nothing here blocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::crds::context::symbolic_forms;
use crate::crds::{Catalog, ContextSpec, DatasetName, FileKey, FileKind, FileName, Observatory};
use crate::fetch::{Fetcher, Outcome};
use crate::rules::LookupOptions;

mod answer;
mod bad_files;
mod batch;
mod context;
mod error;
mod failures;
mod headers;
mod memory;
mod options;
mod own;
mod persist;
mod prefetch;
mod rules;
mod strategy;
#[cfg(test)]
mod tests;

pub(crate) use answer::Header;
pub use answer::{Answer, ComputedBy, TypeAnswer};
pub(crate) use error::ResolveError;
pub(crate) use failures::Failure;
#[cfg(test)]
pub(crate) use options::Clock;
pub(crate) use options::{BadFilePolicy, Permit, ResolveOptions};
pub use options::{Mode, UnknownMode};
pub use prefetch::{Prefetch, UnknownPrefetch};

use batch::Batcher;
use failures::Failures;
use memory::{Lifetimes, Memory, Question, Recall};
use persist::Persistence;
use prefetch::Prefetcher;
use rules::Rules;

/// Answers questions for best references. Clones share everything.
#[derive(Clone)]
pub(crate) struct Resolver {
    shared: Arc<Shared>,
}

type Answered = Result<Arc<Answer>, ResolveError>;

struct Shared {
    fetcher: Fetcher,
    batchers: BTreeMap<Observatory, Arc<Batcher>>,
    options: ResolveOptions,
    runtime: Handle,
    state: Mutex<State>,
    /// The catalogs by which rules and failures are remembered.
    seen: Mutex<HashMap<Observatory, Arc<Catalog>>>,
    persistence: Persistence,
    rules: BTreeMap<Observatory, Rules>,
    prefetcher: Prefetcher,
}

struct State {
    memory: Memory,
    /// Questions that are being worked on.
    pending: HashMap<Question, watch::Receiver<Option<Answered>>>,
    /// Contexts asked for in this run.
    contexts: BTreeSet<FileName>,
    failures: Failures,
}

impl Resolver {
    /// A resolver that asks the servers of the fetcher's catalogs, with what an earlier run remembered. Reads one note
    /// from the store. Tasks run on `runtime`.
    pub(crate) fn new(fetcher: Fetcher, options: ResolveOptions, runtime: Handle) -> Self {
        let catalogs = fetcher.catalogs();
        let batcher = |observatory: &Observatory| {
            let server = catalogs.server(*observatory)?;
            let batcher = Batcher::new(Arc::clone(server), runtime.clone(), &options);
            Some((*observatory, Arc::new(batcher)))
        };
        let batchers = catalogs.observatories().iter().filter_map(batcher).collect();
        let lifetimes = Lifetimes {
            answers: options.ttl,
            failures: options.failure_ttl,
        };
        let mut memory = Memory::new(lifetimes, options.capacity);
        persist::restore(&mut memory, options.mode, &**fetcher.store());
        let server = |of: &Observatory| Some((*of, catalogs.server(*of)?.url().to_owned()));
        memory.ask_from_now_on(catalogs.observatories().iter().filter_map(server).collect());
        let lookup = LookupOptions {
            ignore_checksum: options.ignore_mapping_checksum,
        };
        let rules = |of: &Observatory| (*of, Rules::new(fetcher.clone(), *of, runtime.clone(), lookup));
        let rules = catalogs.observatories().iter().map(rules).collect();
        let background = fetcher.background_slots();
        let shared = Shared {
            fetcher,
            batchers,
            options,
            runtime,
            state: Mutex::new(State {
                memory,
                pending: HashMap::new(),
                contexts: BTreeSet::new(),
                failures: Failures::default(),
            }),
            seen: Mutex::default(),
            persistence: Persistence::default(),
            rules,
            prefetcher: Prefetcher::new(background),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The literal context that `spec` means; it exists.
    pub(crate) fn context(&self, spec: &ContextSpec) -> Outcome<FileName, ResolveError> {
        let (shared, subject) = (Arc::clone(&self.shared), format!("bestrefs/{spec}"));
        context::resolve(&self.shared, spec).map(move |found| {
            match &found {
                Ok(_) => shared.lock().failures.forget(&subject),
                // A catalog that cannot be had stands in the status itself.
                Err(ResolveError::Fetch(_) | ResolveError::ShuttingDown) => {}
                Err(error) => shared.note_failure(&subject, error),
            }
            found
        })
    }

    /// A catalogued file is opened: the rules below it, if it is a pmap, are fetched in the background, as
    /// [`ResolveOptions::prefetch`] says. Does not wait.
    pub(crate) fn note_opened(&self, key: &FileKey) {
        self.shared.prefetch(key);
    }

    /// The answer, if it is known and still holds, or holds for want of a better one because no server can be asked.
    /// From memory only.
    pub(crate) fn remembered(&self, context: &FileName, dataset: &DatasetName) -> Option<Arc<Answer>> {
        let shared = &self.shared;
        let question = Question::new(context, dataset)?;
        shared.notice_catalog(question.observatory);
        match shared.lock().memory.recall(&question, shared.options.clock.now()) {
            Recall::Fresh(answer) => Some(answer),
            Recall::Stale(answer) if shared.cut_off(question.observatory) => Some(answer),
            Recall::Stale(_) | Recall::Failed(_) | Recall::Nothing => None,
        }
    }

    /// The best references of a dataset under a literal context. Dropping the future abandons the wait, not the work.
    pub(crate) fn answer(
        &self,
        context: &FileName,
        dataset: &DatasetName,
    ) -> Outcome<Arc<Answer>, ResolveError> {
        let shared = &self.shared;
        let Some(question) = Question::new(context, dataset) else {
            return Outcome::Ready(Err(context::unknown(
                context,
                "its name belongs to no observatory",
            )));
        };
        shared.notice_catalog(question.observatory);
        let used = FileKey {
            observatory: question.observatory,
            name: context.clone(),
        };
        let mut state = shared.lock();
        match state.memory.recall(&question, shared.options.clock.now()) {
            Recall::Fresh(answer) => return Outcome::Ready(Ok(answer)),
            Recall::Failed(error) => return Outcome::Ready(Err(error)),
            Recall::Stale(answer) if shared.cut_off(question.observatory) => {
                return Outcome::Ready(Ok(answer));
            }
            Recall::Stale(_) | Recall::Nothing => {}
        }
        let mut waiting = if let Some(pending) = state.pending.get(&question) {
            pending.clone()
        } else {
            let (tell, waiting) = watch::channel(None);
            state.pending.insert(question.clone(), waiting.clone());
            shared.runtime.spawn(Arc::clone(shared).work(question, tell));
            waiting
        };
        drop(state);
        shared.prefetch(&used);
        Outcome::Later(Box::pin(async move {
            match waiting.wait_for(Option::is_some).await {
                Ok(answered) => answered.clone().unwrap_or(Err(ResolveError::ShuttingDown)),
                Err(_) => Err(ResolveError::ShuttingDown),
            }
        }))
    }

    /// Explains an answer, in words. Fetches the rules behind it.
    pub(crate) fn explain(&self, answer: &Arc<Answer>) -> Outcome<String, ResolveError> {
        Outcome::Later(Box::pin(Arc::clone(&self.shared).explain(Arc::clone(answer))))
    }

    /// The literal contexts that are known, sorted: the pipeline contexts of the catalogs in memory, and everything that
    /// was asked for.
    pub(crate) fn contexts(&self) -> Vec<FileName> {
        let mut contexts = {
            let state = self.shared.lock();
            let mut contexts = state.memory.contexts();
            contexts.extend(state.contexts.iter().cloned());
            contexts
        };
        for info in self.shared.catalogs_in_memory() {
            let pmaps = info
                .catalog()
                .mappings()
                .filter(|item| item.kind() == FileKind::Pmap);
            contexts.extend(pmaps.filter_map(|item| item.name.parse().ok()));
        }
        contexts.into_iter().collect()
    }

    /// The symbolic contexts of the catalogs in memory (`jwst-latest`; `latest` where one observatory is served), with
    /// what they mean today.
    pub(crate) fn symbolic_contexts(&self) -> Vec<(String, FileName)> {
        let mut forms: Vec<_> = self
            .shared
            .catalogs_in_memory()
            .flat_map(|info| symbolic_forms(&info))
            .collect();
        if let ([observatory], Some(info)) = (
            self.shared.observatories(),
            self.shared.catalogs_in_memory().next(),
        ) && info.observatory() == *observatory
        {
            forms.extend(
                info.default_context()
                    .map(|context| ("latest".to_owned(), context.clone())),
            );
        }
        forms
    }

    /// The matching parameters of a dataset, as far as they were ever told. From memory.
    pub(crate) fn known_header(&self, context: &FileName, dataset: &DatasetName) -> Option<Arc<Header>> {
        let question = Question::new(context, dataset)?;
        let known = self
            .shared
            .lock()
            .memory
            .header(&question, self.shared.options.clock.now());
        known.at_all.map(|known| known.header)
    }

    /// The datasets that have an answer under a context, sorted.
    pub(crate) fn datasets(&self, context: &FileName) -> Vec<DatasetName> {
        self.shared.lock().memory.datasets(context)
    }

    /// Decides by the policy about a file that an answer names, with the server's present list of bad files. Where
    /// rules are on that list, those of the answer's instrument are looked at, and fetched for that if need be.
    pub(crate) fn permit(&self, answer: &Answer, file: &FileName) -> Outcome<Permit, Infallible> {
        let shared = &self.shared;
        let (observatory, policy) = (answer.observatory, shared.options.bad_files);
        let Some(info) = shared.fetcher.catalogs().current(observatory) else {
            return Outcome::Ready(Ok(Permit::Fine));
        };
        if !bad_files::has_bad_rules(&info) {
            return Outcome::Ready(Ok(bad_files::permit(&info, policy, &[], file)));
        }
        shared.notice_catalog(observatory);
        let instrument = bad_files::instrument(answer, file);
        let rules = shared.rules.get(&observatory);
        let at_hand = rules.and_then(|rules| rules.names_at_hand(&answer.context, instrument.as_deref()));
        if let Some(names) = at_hand {
            return Outcome::Ready(Ok(bad_files::permit(&info, policy, &names, file)));
        }
        let (shared, context, file) = (Arc::clone(shared), answer.context.clone(), file.clone());
        Outcome::Later(Box::pin(async move {
            let names = match shared.rules.get(&observatory) {
                Some(rules) => rules.names(&context, instrument.as_deref()).await,
                None => Vec::new(),
            };
            Ok(bad_files::permit(&info, policy, &names, &file))
        }))
    }

    /// The questions that failed last, oldest first.
    pub(crate) fn last_failures(&self) -> Vec<Failure> {
        self.shared.lock().failures.all()
    }

    /// Notes, for the status and the log, that a name below `/bestrefs` means nothing.
    pub(crate) fn note_failure(&self, subject: &str, error: &ResolveError) {
        self.shared.note_failure(subject, error);
    }

    /// The number of answers that are remembered.
    #[cfg(test)]
    pub(crate) fn remembered_count(&self) -> usize {
        self.shared.lock().memory.len()
    }

    /// The treatment of rules whose own checksum is wrong.
    pub(crate) fn lookup_options(&self) -> LookupOptions {
        LookupOptions {
            ignore_checksum: self.shared.options.ignore_mapping_checksum,
        }
    }

    /// The time for which answers hold.
    pub(crate) fn ttl(&self) -> Duration {
        self.shared.options.ttl
    }

    /// Saves the memory of answers, if it has changed since the last time. For the end of a mount.
    pub(crate) async fn save(&self) {
        Arc::clone(&self.shared).save().await;
    }
}

impl Shared {
    /// Forgets what a new catalog may make wrong: failures, and answers that were computed with rules that have other
    /// contents now.
    fn notice_catalog(&self, observatory: Observatory) {
        let Some(info) = self.fetcher.catalogs().current(observatory) else {
            return;
        };
        let old = {
            let mut seen = self.seen.lock();
            match seen.get(&observatory) {
                Some(old) if Arc::ptr_eq(old, info.catalog()) => return,
                _ => seen.insert(observatory, Arc::clone(info.catalog())),
            }
        };
        let Some(old) = old else { return };
        let difference = Catalog::difference(&old, info.catalog());
        let rules_changed = difference.changed.iter().any(|name| name.kind().is_mapping());
        if rules_changed {
            self.prefetcher.forget();
        }
        let memory = &mut self.lock().memory;
        memory.forget_failures(observatory);
        if rules_changed {
            memory.forget_computed(observatory);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Keeps a failure for the status, and logs it unless it is the same as before.
    fn note_failure(&self, subject: &str, error: &ResolveError) {
        let failure = Failure {
            subject: subject.to_owned(),
            error: error.clone(),
            when: self.options.clock.now(),
        };
        let level = if self.lock().failures.note(failure) {
            log::Level::Warn
        } else {
            log::Level::Debug
        };
        log::log!(level, "{subject}: {error}");
    }

    fn rules(&self, observatory: Observatory) -> Result<&Rules, ResolveError> {
        let rules = self.rules.get(&observatory);
        rules.ok_or_else(|| context::unknown(&observatory, "it is not served here"))
    }

    fn observatories(&self) -> &[Observatory] {
        self.fetcher.catalogs().observatories()
    }

    fn catalogs_in_memory(&self) -> impl Iterator<Item = Arc<crate::crds::ServerInfo>> {
        let catalogs = self.fetcher.catalogs();
        catalogs
            .observatories()
            .iter()
            .filter_map(|observatory| catalogs.current(*observatory))
    }

    /// Whether there is no point in asking the server.
    fn cut_off(&self, observatory: Observatory) -> bool {
        !self.batchers.contains_key(&observatory)
    }
}

impl Question {
    fn new(context: &FileName, dataset: &DatasetName) -> Option<Self> {
        let observatory = Observatory::of_name(context.as_str())?;
        Some(Self {
            observatory,
            context: context.clone(),
            dataset: dataset.clone(),
        })
    }
}
