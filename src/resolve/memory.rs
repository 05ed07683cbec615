//! The memory of earlier answers: bounded, with an age, and kept over restarts ([`saved`]). Pure: the time and the store are
//! the caller's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::answer::{Answer, ComputedBy, Header};
use super::error::ResolveError;
use super::headers::{Headers, Told};
use crate::crds::{BuildVersion, DatasetName, FileName, Observatory};

mod bounded;
mod saved;

use bounded::Bounded;
use saved::{Builds, Snapshot};

/// A question: a dataset under a literal context.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) observatory: Observatory,
    pub(super) context: FileName,
    pub(super) dataset: DatasetName,
}

/// The times for which things hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// Answers and headers.
    pub(super) answers: Duration,
    /// Failures.
    pub(super) failures: Duration,
}

/// The memory's reply to a question.
#[derive(Debug)]
pub(super) enum Recall {
    /// An answer that still holds.
    Fresh(Arc<Answer>),
    /// The question failed a moment ago.
    Failed(ResolveError),
    /// An answer that should be asked for anew, if that is possible.
    Stale(Arc<Answer>),
    /// Never asked, or forgotten.
    Nothing,
}

/// The known header of a dataset.
#[derive(Debug, Clone)]
pub(super) struct KnownHeader {
    pub(super) header: Arc<Header>,
    /// Nothing is missing that the rules of the question ask for: it was told under that very context, or the
    /// observatory's server tells everything under any.
    pub(super) is_whole: bool,
}

/// The header of a dataset, by age.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownHeaders {
    /// The header that still holds.
    pub(super) fresh: Option<KnownHeader>,
    /// The header of all that was ever told.
    pub(super) at_all: Option<KnownHeader>,
}

/// Answers, failures and headers.
pub(super) struct Memory {
    lifetimes: Lifetimes,
    answers: Bounded<Question, Arc<Answer>>,
    /// Questions whose answer is only one to fall back on, see [`Memory::doubt`].
    doubted: HashSet<Question>,
    failures: Bounded<Question, (ResolveError, SystemTime)>,
    headers: Bounded<(Observatory, DatasetName), Headers>,
    /// The server that was asked, by URL.
    servers: BTreeMap<Observatory, String>,
    builds: Builds,
    changes: u64,
}

/// The most bytes of all answers, of all failures and of all headers that are remembered. An answer and a header of a real
/// archive have some thousand each.
const MAX_BYTES: usize = 64 << 20;

/// The most releases that are remembered.
const MAX_BUILDS: usize = 1000;

impl Memory {
    /// An empty memory for at most `capacity` answers, and as many failures and headers, as far as they are not too large.
    pub(super) fn new(lifetimes: Lifetimes, capacity: NonZeroUsize) -> Self {
        Self {
            lifetimes,
            answers: Bounded::new(capacity, MAX_BYTES),
            doubted: HashSet::new(),
            failures: Bounded::new(capacity, MAX_BYTES),
            headers: Bounded::new(capacity, MAX_BYTES),
            servers: BTreeMap::new(),
            builds: Builds::new(),
            changes: 0,
        }
    }

    /// Recalls what is known about a question at `now`.
    pub(super) fn recall(&mut self, question: &Question, now: SystemTime) -> Recall {
        match self.answers.get(question) {
            Some(answer)
                if holds(answer.when, self.lifetimes.answers, now) && !self.doubted.contains(question) =>
            {
                return Recall::Fresh(Arc::clone(answer));
            }
            _ => {}
        }
        match self.failures.get(question) {
            Some((error, when)) if holds(*when, self.lifetimes.failures, now) => {
                Recall::Failed(error.clone())
            }
            _ => self
                .answers
                .peek(question)
                .map_or(Recall::Nothing, |answer| Recall::Stale(Arc::clone(answer))),
        }
    }

    /// The answer to a question, however old.
    pub(super) fn answer(&mut self, question: &Question) -> Option<Arc<Answer>> {
        self.answers.get(question).cloned()
    }

    /// Keeps an answer, and its header for other contexts.
    pub(super) fn keep(&mut self, question: Question, answer: &Arc<Answer>) {
        self.failures.pop(&question);
        self.doubted.remove(&question);
        if let (Some(header), DatasetName::Id(_), ComputedBy::Server) =
            (&answer.header, &question.dataset, answer.computed_by)
        {
            self.keep_header(&question, &question.context, header, answer.when);
        }
        self.answers.put(question, Arc::clone(answer), answer.memory());
        self.changes += 1;
    }

    /// Keeps the header of a question's dataset as it was told under a context.
    pub(super) fn keep_header(
        &mut self,
        question: &Question,
        context: &FileName,
        header: &Arc<Header>,
        when: SystemTime,
    ) {
        self.tell(
            (question.observatory, question.dataset.clone()),
            Told {
                context: Some(context.clone()),
                header: Arc::clone(header),
                when,
            },
        );
        self.changes += 1;
    }

    fn tell(&mut self, key: (Observatory, DatasetName), told: Told) {
        let mut headers = self.headers.pop(&key).unwrap_or_default();
        headers.keep(told);
        let bytes = headers.memory();
        self.headers.put(key, headers, bytes);
    }

    /// Has the answers of these origins found anew, however young they are: an earlier run found them in another mode.
    pub(super) fn doubt(&mut self, is_doubtful: impl Fn(ComputedBy) -> bool) {
        let answers = self.answers.iter();
        self.doubted = answers
            .filter(|(_, answer)| is_doubtful(answer.computed_by))
            .map(|(question, _)| question.clone())
            .collect();
    }

    /// Keeps a failure for its short while.
    pub(super) fn keep_failure(&mut self, question: Question, error: &ResolveError, now: SystemTime) {
        // Most of a failure is its text, which may be a server's.
        let bytes = error.to_string().len();
        self.failures.put(question, (error.clone(), now), bytes);
    }

    /// Forgets the failures of an observatory: a new catalog may mend them.
    pub(super) fn forget_failures(&mut self, observatory: Observatory) {
        let of_it =
            |(question, _): (&Question, _)| (question.observatory == observatory).then(|| question.clone());
        let failed: Vec<Question> = self.failures.iter().filter_map(of_it).collect();
        for question in failed {
            self.failures.pop(&question);
        }
    }

    /// Forgets the answers that were computed here for an observatory: its rules have other contents now.
    pub(super) fn forget_computed(&mut self, observatory: Observatory) {
        let is_computed = |question: &Question, answer: &Answer| {
            question.observatory == observatory && answer.computed_by == ComputedBy::Here
        };
        let computed: Vec<Question> = self
            .answers
            .iter()
            .filter(|(question, answer)| is_computed(question, answer))
            .map(|(question, _)| question.clone())
            .collect();
        for question in computed {
            self.answers.pop(&question);
            self.changes += 1;
        }
    }

    /// The header of a question's dataset.
    pub(super) fn header(&mut self, question: &Question, now: SystemTime) -> KnownHeaders {
        let key = (question.observatory, question.dataset.clone());
        let Some(headers) = self.headers.get(&key) else {
            return KnownHeaders::default();
        };
        let tells_all = tells_all(question.observatory);
        let known = |counts: &dyn Fn(SystemTime) -> bool| {
            Some(KnownHeader {
                header: headers.united(counts)?,
                is_whole: tells_all || headers.is_of(&question.context, counts),
            })
        };
        KnownHeaders {
            fresh: known(&|when| holds(when, self.lifetimes.answers, now)),
            at_all: known(&|_| true),
        }
    }

    /// The contexts with answers.
    pub(super) fn contexts(&self) -> BTreeSet<FileName> {
        self.answers
            .iter()
            .map(|(question, _)| question.context.clone())
            .collect()
    }

    /// The datasets with an answer under a context.
    pub(super) fn datasets(&self, context: &FileName) -> Vec<DatasetName> {
        let mut datasets: Vec<_> = self
            .answers
            .iter()
            .filter(|(question, _)| question.context == *context)
            .map(|(question, _)| question.dataset.clone())
            .collect();
        datasets.sort_unstable();
        datasets
    }

    /// The number of answers that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Takes note of the servers in force, by URL. What another server told of an observatory counts as old: it is asked
    /// for again, and used only where no server can be asked.
    pub(super) fn ask_from_now_on(&mut self, servers: BTreeMap<Observatory, String>) {
        for (observatory, url) in servers {
            let before = self.servers.insert(observatory, url.clone());
            if before.is_some_and(|before| before != url) {
                self.outdate(observatory);
            }
        }
    }

    /// The context of a release, and whether that still holds.
    pub(super) fn build(
        &self,
        observatory: Observatory,
        version: BuildVersion,
        now: SystemTime,
    ) -> Option<(FileName, bool)> {
        let (context, when) = self.builds.get(&(observatory, version))?;
        Some((context.clone(), holds(*when, self.lifetimes.answers, now)))
    }

    /// Keeps the context of a release.
    pub(super) fn keep_build(
        &mut self,
        observatory: Observatory,
        version: BuildVersion,
        context: FileName,
        now: SystemTime,
    ) {
        if self.builds.len() >= MAX_BUILDS {
            self.builds.clear();
        }
        self.builds.insert((observatory, version), (context, now));
        self.changes += 1;
    }

    fn outdate(&mut self, observatory: Observatory) {
        let answers = self.answers.iter_mut();
        for (_, answer) in answers.filter(|(question, _)| question.observatory == observatory) {
            Arc::make_mut(answer).when = UNIX_EPOCH;
        }
        let headers = self.headers.iter_mut();
        for (_, headers) in headers.filter(|((of, _), _)| *of == observatory) {
            headers.outdate();
        }
        let builds = self.builds.iter_mut();
        for (_, (_, when)) in builds.filter(|((of, _), _)| *of == observatory) {
            *when = UNIX_EPOCH;
        }
        self.changes += 1;
    }

    /// A number that grows with every change that [`Memory::snapshot`] would show.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Everything but the failures, cheaply: the parts are shared, [`Snapshot::to_json`] does the work elsewhere.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            answers: self
                .answers
                .iter()
                .rev()
                .map(|(_, answer)| Arc::clone(answer))
                .collect(),
            headers: self
                .headers
                .iter()
                .rev()
                .map(|((observatory, dataset), headers)| (*observatory, dataset.clone(), headers.clone()))
                .collect(),
            servers: self.servers.clone(),
            builds: self.builds.clone(),
        }
    }

    /// Adds the entries that an earlier run saved; those that cannot be read are left out.
    pub(super) fn restore(&mut self, text: &[u8]) -> Result<(), serde_json::Error> {
        let Some(restored) = saved::read(text)? else {
            return Ok(());
        };
        self.servers = restored.servers;
        self.builds = restored.builds;
        for (key, told) in restored.told {
            self.tell(key, told);
        }
        for answer in restored.answers {
            let question = Question {
                observatory: answer.observatory,
                context: answer.context.clone(),
                dataset: answer.dataset.clone(),
            };
            let bytes = answer.memory();
            self.answers.put(question, Arc::new(answer), bytes);
        }
        Ok(())
    }
}

/// Whether an observatory's server tells all parameters of a dataset, whatever context is asked for.
const fn tells_all(observatory: Observatory) -> bool {
    matches!(observatory, Observatory::Hst | Observatory::Tobs)
}

/// Whether something of the time `when` still holds. A time in the future (a clock that was set back) does not.
fn holds(when: SystemTime, lifetime: Duration, now: SystemTime) -> bool {
    now.duration_since(when).is_ok_and(|age| age < lifetime)
}
