//! The way to one answer: which of server, rules and memory is asked, in which order.

use std::sync::Arc;

use tokio::sync::watch;

use super::answer::{Answer, ComputedBy};
use super::batch::{Batcher, Found};
use super::context;
use super::error::ResolveError;
use super::memory::Question;
use super::options::Mode;
use super::{Answered, Shared};
use crate::crds::{DatasetId, DatasetName, ServerInfo};
use crate::fetch::FetchErrorKind;
use crate::remote::RemoteErrorKind;

impl Shared {
    /// Finds the answer, remembers it, and tells everybody who waits.
    pub(super) async fn work(self: Arc<Self>, question: Question, tell: watch::Sender<Option<Answered>>) {
        let answered = match self.find(&question).await {
            // The old answer keeps its age: the next question tries again.
            Err(error) if error.is_no_contact() => self.lock().memory.answer(&question).ok_or(error),
            Ok(answer) => {
                self.lock().memory.keep(question.clone(), &answer);
                self.save_soon();
                Ok(answer)
            }
            Err(error) => Err(error),
        };
        {
            let mut state = self.lock();
            state.pending.remove(&question);
            match &answered {
                Ok(_) => {
                    state.contexts.insert(question.context.clone());
                }
                Err(error) => state
                    .memory
                    .keep_failure(question, error, self.options.clock.now()),
            }
        }
        tell.send_replace(Some(answered));
    }

    async fn find(&self, question: &Question) -> Answered {
        let info = context::exists(self, question.observatory, &question.context).await?;
        match &question.dataset {
            DatasetName::Id(dataset) => self.find_by_id(question, dataset, &info).await,
            DatasetName::Parameters(_) => {
                Err(question.not_computable("parameters need rules evaluated here"))
            }
        }
    }

    async fn find_by_id(&self, question: &Question, dataset: &DatasetId, info: &ServerInfo) -> Answered {
        if self.options.mode == Mode::Local {
            return Err(question.not_computable("CRDS_MODE=local"));
        }
        let found = self.ask(question, dataset, info).await?;
        Ok(Arc::new(self.by_server(question, found)))
    }

    /// Asks the server, in company.
    async fn ask(
        &self,
        question: &Question,
        dataset: &DatasetId,
        info: &ServerInfo,
    ) -> Result<Found, ResolveError> {
        let batcher: &Arc<Batcher> = match self.batchers.get(&question.observatory) {
            Some(batcher) => batcher,
            None => {
                return Err(ResolveError::Offline {
                    dataset: question.dataset.display(),
                    context: question.context.to_string(),
                });
            }
        };
        let limit = self.options.batch.get().min(info.limits().bestrefs_per_rpc);
        batcher.ask(&question.context, dataset.clone(), limit).await
    }

    fn by_server(&self, question: &Question, found: Found) -> Answer {
        Answer {
            observatory: question.observatory,
            context: question.context.clone(),
            dataset: question.dataset.clone(),
            types: found.types,
            header: found.header,
            computed_by: ComputedBy::Server,
            when: self.options.clock.now(),
        }
    }
}

impl ResolveError {
    /// Whether it says nothing but that nobody could be asked: an old answer is better then.
    pub(super) fn is_no_contact(&self) -> bool {
        match self {
            Self::Remote(error) => matches!(
                error.kind,
                RemoteErrorKind::Unreachable
                    | RemoteErrorKind::TimedOut
                    | RemoteErrorKind::Interrupted
                    | RemoteErrorKind::Busy
                    | RemoteErrorKind::Server
                    | RemoteErrorKind::Protocol
                    | RemoteErrorKind::Denied
                    | RemoteErrorKind::NotFound
                    | RemoteErrorKind::Offline
            ),
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
            | Self::NotComputable { .. } => false,
        }
    }
}
