//! Answers one question: asks server, rules and memory, in the order that the mode sets.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::answer::{Answer, ComputedBy, Header, TypeAnswer};
use super::batch::ServerAnswer;
use super::context;
use super::error::ResolveError;
use super::memory::{KnownHeader, Question};
use super::options::Mode;
use super::rules::RulesError;
use super::{Answered, Shared};
use crate::crds::{DatasetId, DatasetName, FileName, ServerInfo};
use crate::fetch::FetchErrorKind;
use crate::remote::RemoteErrorKind;

/// An answer as it was found.
struct Resolved {
    answer: Arc<Answer>,
    /// Whether it may be remembered.
    keep: bool,
}

impl Shared {
    /// Finds the answer, remembers it, and sends it to all who wait for it.
    pub(super) async fn work(self: Arc<Self>, question: Question, tell: watch::Sender<Option<Answered>>) {
        // Callers get an answer also when this panics, and the next question is asked anew.
        let found = AssertUnwindSafe(self.find(&question)).catch_unwind().await;
        let answered = match found.unwrap_or_else(|_| Err(question.panicked())) {
            // The old answer keeps its age: the next question tries again.
            Err(error) if error.is_no_contact() => self.lock().memory.answer(&question).ok_or(error),
            Ok(Resolved { answer, keep }) => {
                if keep {
                    self.lock().memory.keep(question.clone(), &answer);
                }
                self.save_soon();
                Ok(answer)
            }
            Err(error) => Err(error),
        };
        let subject = question.subject();
        if let Err(error) = &answered
            && !matches!(error, ResolveError::ShuttingDown | ResolveError::Panicked { .. })
        {
            self.note_failure(&subject, error);
        }
        {
            let mut state = self.lock();
            state.pending.remove(&question);
            match &answered {
                Ok(_) => {
                    state.failures.forget(&subject);
                    state.contexts.insert(question.context.clone());
                }
                Err(error) if error.is_our_own() => {}
                Err(error) => state
                    .memory
                    .keep_failure(question, error, self.options.clock.now()),
            }
        }
        tell.send_replace(Some(answered));
    }

    async fn find(&self, question: &Question) -> Result<Resolved, ResolveError> {
        let info = context::exists(self, question.observatory, &question.context).await?;
        match &question.dataset {
            DatasetName::Id(dataset) => self.find_by_id(question, dataset, &info).await,
            DatasetName::Parameters(parameters) => {
                self.find_by_header(question, &Arc::new(parameters.as_map().clone()), &info)
                    .await
            }
        }
    }

    /// Whether the server evaluates the rules of this context for us, always.
    fn is_remote(&self, question: &Question, info: &ServerInfo) -> bool {
        let wanted = match self.options.mode {
            Mode::Remote => true,
            Mode::Auto => info.force_remote_mode(),
            Mode::Local => false,
        };
        wanted && !context::is_local(self, question.observatory, &question.context)
    }

    async fn find_by_id(
        &self,
        question: &Question,
        dataset: &DatasetId,
        info: &ServerInfo,
    ) -> Result<Resolved, ResolveError> {
        if self.is_remote(question, info) {
            let found = self.ask(question, &question.context, dataset, info).await?;
            return Ok(self.by_server(question, found));
        }
        let own_rules = context::is_local(self, question.observatory, &question.context);
        let only_here = own_rules || self.options.mode == Mode::Local;
        let now = self.options.clock.now();
        let known = self.lock().memory.header(question, now);
        if let Some(fresh) = &known.fresh {
            match self.compute(question, &fresh.header, fresh.is_whole).await {
                // The server tells more, or answers.
                Err(error) if !only_here || matches!(error, ResolveError::Incomplete { .. }) => {
                    let dataset = question.dataset.display();
                    match error {
                        ResolveError::Incomplete { context, missing, .. } => {
                            let missing = missing.join(", ");
                            log::info!("{dataset}: asking the server, as {context} needs {missing} too");
                        }
                        error => log::info!("{dataset}: asking the server, as here {error}"),
                    }
                }
                computed => return computed,
            }
        }
        // The server knows nothing of the user's own rules, but knows the header.
        let asked = if own_rules { info.default_context() } else { None };
        let asked = asked.unwrap_or(&question.context);
        match self.ask(question, asked, dataset, info).await {
            Ok(found) if only_here => self.compute_from(question, asked, found, now).await,
            Ok(found) => Ok(self.by_server(question, found)),
            // The server's answer for this very context, however old, goes before a computed one, unless none of it is wanted.
            Err(error)
                if error.is_no_contact()
                    && !self
                        .lock()
                        .memory
                        .answer(question)
                        .is_some_and(|old| self.options.mode.believes(old.computed_by)) =>
            {
                match known.at_all {
                    Some(old) => self
                        .compute(question, &old.header, old.is_whole)
                        .await
                        .map_err(|_| error),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Computes an answer from the header that the server has told under the context `asked`, and from what was known.
    async fn compute_from(
        &self,
        question: &Question,
        asked: &FileName,
        told: ServerAnswer,
        now: SystemTime,
    ) -> Result<Resolved, ResolveError> {
        let header = told
            .header
            .ok_or_else(|| question.not_computable("the server does not tell its parameters"))?;
        let known = {
            let memory = &mut self.lock().memory;
            memory.keep_header(question, asked, &header, now);
            memory.header(question, now)
        };
        let fresh = known.fresh.unwrap_or(KnownHeader {
            header,
            is_whole: *asked == question.context,
        });
        self.compute(question, &fresh.header, fresh.is_whole).await
    }

    async fn find_by_header(
        &self,
        question: &Question,
        header: &Arc<Header>,
        info: &ServerInfo,
    ) -> Result<Resolved, ResolveError> {
        if !self.is_remote(question, info) {
            return self.compute(question, header, true).await;
        }
        let server = self
            .fetcher
            .catalogs()
            .server(question.observatory)
            .ok_or_else(|| question.offline())?;
        let values = server.best_references(&question.context, header, None).await?;
        let types = values
            .iter()
            .filter_map(|(reftype, value)| Some((reftype.parse().ok()?, TypeAnswer::from_json(value))))
            .collect();
        let header = Some(Arc::clone(header));
        Ok(self.by_server(question, ServerAnswer { types, header }))
    }

    /// Evaluates the rules here. See [`Rules::best_references`](super::rules::Rules::best_references) for `whole`.
    async fn compute(
        &self,
        question: &Question,
        header: &Arc<Header>,
        whole: bool,
    ) -> Result<Resolved, ResolveError> {
        let rules = self.rules(question.observatory)?;
        let computed = rules.best_references(&question.context, header, whole).await;
        let computed = computed.map_err(|error| question.by_rules(error))?;
        let answer = Answer {
            observatory: question.observatory,
            context: question.context.clone(),
            dataset: question.dataset.clone(),
            types: computed.types,
            header: Some(Arc::clone(header)),
            computed_by: ComputedBy::Here,
            when: self.options.clock.now(),
        };
        Ok(Resolved {
            answer: Arc::new(answer),
            keep: !computed.volatile,
        })
    }

    /// Explains an answer, in words, by the rules as they are now, which are fetched for it, and the parameters that the answer
    /// was found with.
    pub(super) async fn explain(self: Arc<Self>, answer: Arc<Answer>) -> Result<String, ResolveError> {
        let question = Question {
            observatory: answer.observatory,
            context: answer.context.clone(),
            dataset: answer.dataset.clone(),
        };
        let unknown =
            || question.not_computable("its parameters are not known, so that nothing can be explained");
        let header = answer.header.as_deref().ok_or_else(unknown)?;
        let explained = self
            .rules(question.observatory)?
            .explain(&question.context, header);
        let explained = AssertUnwindSafe(explained).catch_unwind().await;
        let explained = explained.map_err(|_| question.panicked())?;
        let explained = explained.map_err(|error| question.by_rules(error))?;
        let mut text = format!("{}  {}\n", question.dataset.display(), question.context);
        for explanation in explained {
            let told = answer.get(&explanation.reftype).map(TypeAnswer::to_json);
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{explanation}");
            if let Some(told) = told.filter(|told| Some(told) != explanation.answer.as_ref()) {
                let _ = writeln!(text, "    but the {} said: {told}", answer.computed_by);
            }
        }
        Ok(text)
    }

    /// Asks the server, in one request with others.
    async fn ask(
        &self,
        question: &Question,
        context: &FileName,
        dataset: &DatasetId,
        info: &ServerInfo,
    ) -> Result<ServerAnswer, ResolveError> {
        let batcher = self
            .batchers
            .get(&question.observatory)
            .ok_or_else(|| question.offline())?;
        let limit = self.options.batch.get().min(info.limits().bestrefs_per_rpc);
        batcher.ask(context, dataset.clone(), limit).await
    }

    fn by_server(&self, question: &Question, found: ServerAnswer) -> Resolved {
        let answer = Answer {
            observatory: question.observatory,
            context: question.context.clone(),
            dataset: question.dataset.clone(),
            types: found.types,
            header: found.header,
            computed_by: ComputedBy::Server,
            when: self.options.clock.now(),
        };
        Resolved {
            answer: Arc::new(answer),
            keep: true,
        }
    }
}

impl Question {
    /// Its path in a mount.
    fn subject(&self) -> String {
        format!("bestrefs/{}/{}", self.context, self.dataset.display())
    }

    fn panicked(&self) -> ResolveError {
        ResolveError::Panicked {
            doing: format!(
                "looking for the best references of '{}' under {}",
                self.dataset.display(),
                self.context
            ),
        }
    }

    /// The failure of the rules for it.
    fn by_rules(&self, error: RulesError) -> ResolveError {
        match error {
            RulesError::Fetch(error) => error.into(),
            RulesError::Text(text) => self.not_computable(text),
            RulesError::Incomplete(missing) => self.incomplete(missing),
            RulesError::Panicked(_) => self.panicked(),
        }
    }

    fn incomplete(&self, missing: Vec<String>) -> ResolveError {
        ResolveError::Incomplete {
            dataset: self.dataset.display(),
            context: self.context.to_string(),
            missing,
        }
    }

    fn offline(&self) -> ResolveError {
        ResolveError::Offline {
            dataset: self.dataset.display(),
            context: self.context.to_string(),
        }
    }
}

impl ResolveError {
    /// Whether it is trouble of this process or its disk: remembering it would spare no server anything.
    fn is_our_own(&self) -> bool {
        match self {
            Self::Panicked { .. } | Self::ShuttingDown => true,
            Self::Fetch(error) => matches!(
                error.kind,
                FetchErrorKind::Store | FetchErrorKind::NoSpace | FetchErrorKind::ShuttingDown
            ),
            _ => false,
        }
    }

    /// Whether it only says that no server could be asked: an old answer is better then.
    pub(super) fn is_no_contact(&self) -> bool {
        match self {
            Self::Remote(error) => error.kind != RemoteErrorKind::Rpc,
            Self::Fetch(error) => matches!(
                error.kind,
                FetchErrorKind::Unreachable
                    | FetchErrorKind::TimedOut
                    | FetchErrorKind::Offline
                    | FetchErrorKind::ServerTrouble
            ),
            Self::Offline { .. } | Self::ShuttingDown => true,
            Self::UnknownContext { .. }
            | Self::UnknownDataset { .. }
            | Self::BadDatasetName(_)
            | Self::NotComputable { .. }
            | Self::Incomplete { .. }
            | Self::Panicked { .. } => false,
        }
    }
}
