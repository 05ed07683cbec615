//! Requests to one server, in batches: datasets that are asked for within a short window share a request, and a dataset
//! for which the server refuses a whole request is found and fails alone.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join, join_all};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::{Header, TypeAnswer};
use super::error::ResolveError;
use super::options::ResolveOptions;
use crate::crds::{DatasetId, FileName, Reftype};
use crate::remote::{BestReferences, CrdsServer, RemoteError, RemoteErrorKind, Retry};

/// Requests at a time to one server.
const AT_ONCE: usize = 4;

/// The number of waits for more datasets before a request is sent.
const MAX_WAITS: usize = 10;

/// Requests spent on finding the datasets for which the server refuses a batch.
const SEARCH_BUDGET: usize = 64;

/// Attempts of a request whose failure may pass.
const ATTEMPTS: u32 = 3;

/// The longest pause between attempts; a server that asks for a longer one is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The answer of a server for one dataset.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServerAnswer {
    pub(super) types: BTreeMap<Reftype, TypeAnswer>,
    pub(super) header: Option<Arc<Header>>,
}

/// The result of a batch for one dataset.
pub(super) type BatchResult = Result<ServerAnswer, ResolveError>;

type Asks = Vec<(DatasetId, oneshot::Sender<BatchResult>)>;

/// The requests to one server.
pub(super) struct Batcher {
    server: Arc<dyn CrdsServer>,
    runtime: Handle,
    window: Duration,
    timeout: Duration,
    gathering: Mutex<HashMap<FileName, Gathering>>,
    slots: Semaphore,
    /// The time of the server's last reply.
    replied: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Gathering {
    asks: Asks,
    /// Number of datasets that have been asked for, by which the gathering task sees whether more have come.
    arrivals: usize,
}

impl Batcher {
    pub(super) fn new(server: Arc<dyn CrdsServer>, runtime: Handle, options: &ResolveOptions) -> Self {
        Self {
            server,
            runtime,
            window: options.window,
            timeout: options.timeout,
            gathering: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
            replied: Mutex::default(),
        }
    }

    /// Asks about a dataset, in one request with up to `limit` others. Dropping the future does not stop the request.
    pub(super) async fn ask(
        self: &Arc<Self>,
        context: &FileName,
        dataset: DatasetId,
        limit: usize,
    ) -> BatchResult {
        let (answer, result) = oneshot::channel();
        let panicked = ResolveError::Panicked {
            doing: format!("asking for '{}' under {context}", dataset.typed()),
        };
        self.join(context, dataset, answer, limit);
        match self.while_replying(result).await {
            Ok(result) => result.unwrap_or(Err(panicked)),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a future as long as the server replies to anything: it fails when there has been no reply for the time
    /// limit. A queue behind a server that is slow moves, one behind a server that has stalled does not.
    async fn while_replying<T>(&self, future: impl Future<Output = T>) -> Result<T, RemoteError> {
        let begun = Instant::now();
        let limit = || (*self.replied.lock()).map_or(begun, |replied| replied.max(begun)) + self.timeout;
        let mut future = pin!(future);
        loop {
            match timeout_at(limit(), &mut future).await {
                Ok(output) => return Ok(output),
                Err(_) if limit() > Instant::now() => {}
                Err(_) => return Err(self.timed_out()),
            }
        }
    }

    fn timed_out(&self) -> RemoteError {
        let message = format!("the server has not answered within {:?}", self.timeout);
        RemoteError::new(RemoteErrorKind::TimedOut, self.server.url(), message).with_retry(Retry::No)
    }

    fn join(
        self: &Arc<Self>,
        context: &FileName,
        dataset: DatasetId,
        answer: oneshot::Sender<BatchResult>,
        limit: usize,
    ) {
        let mut gathering = self.lock();
        let batch = gathering.entry(context.clone()).or_default();
        batch.asks.push((dataset, answer));
        batch.arrivals += 1;
        let (first, full) = (batch.arrivals == 1, batch.asks.len() >= limit.max(1));
        if full {
            let asks = std::mem::take(&mut batch.asks);
            self.runtime.spawn(Arc::clone(self).send(context.clone(), asks));
        }
        if first {
            self.runtime.spawn(Arc::clone(self).gather(context.clone()));
        }
    }

    /// Waits until no more datasets are asked for, then sends those that are gathered.
    async fn gather(self: Arc<Self>, context: FileName) {
        let mut seen = 0;
        for _ in 0..MAX_WAITS {
            sleep(self.window).await;
            let arrivals = self.lock().get(&context).map_or(0, |batch| batch.arrivals);
            if arrivals == seen {
                break;
            }
            seen = arrivals;
        }
        let batch = self.lock().remove(&context);
        if let Some(batch) = batch
            && !batch.asks.is_empty()
        {
            self.send(context, batch.asks).await;
        }
    }

    async fn send(self: Arc<Self>, context: FileName, asks: Asks) {
        let together = DatasetId::apart(asks, |(dataset, _)| dataset).into_iter();
        join_all(together.map(|asks| self.send_together(&context, asks))).await;
    }

    async fn send_together(&self, context: &FileName, asks: Asks) {
        let datasets: Vec<DatasetId> = asks.iter().map(|(dataset, _)| dataset.clone()).collect();
        let budget = AtomicUsize::new(SEARCH_BUDGET);
        let results = self.request(context, &datasets, &budget).await;
        for ((_, answer), result) in asks.into_iter().zip(results) {
            // A caller that has dropped its future does not want it.
            let _ = answer.send(result);
        }
    }

    /// A result for each dataset. A request that the server refuses is halved until the datasets that it refuses are alone.
    fn request<'a>(
        &'a self,
        context: &'a FileName,
        datasets: &'a [DatasetId],
        budget: &'a AtomicUsize,
    ) -> BoxFuture<'a, Vec<BatchResult>> {
        async move {
            let error = match self.attempt(context, datasets).await {
                Ok(reply) => {
                    return datasets
                        .iter()
                        .map(|dataset| result_for(&reply, dataset))
                        .collect();
                }
                Err(error) => error,
            };
            // Only what the service itself refuses can be the fault of one dataset.
            let may_search = error.kind == RemoteErrorKind::Rpc
                && budget
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(2))
                    .is_ok();
            match datasets {
                [_, _, ..] if may_search => {
                    let (left, right) = datasets.split_at(datasets.len() / 2);
                    let (mut results, others) = join(
                        self.request(context, left, budget),
                        self.request(context, right, budget),
                    )
                    .await;
                    results.extend(others);
                    results
                }
                _ => datasets
                    .iter()
                    .map(|dataset| Err(failure(dataset, &error)))
                    .collect(),
            }
        }
        .boxed()
    }

    /// Makes a request, and again where its failure may pass, all within the time limit once it has a slot.
    async fn attempt(
        &self,
        context: &FileName,
        datasets: &[DatasetId],
    ) -> Result<BestReferences, RemoteError> {
        let (mut attempt, mut deadline) = (1, None);
        loop {
            let answer = {
                // The semaphore is never closed; without a slot the request goes out all the same.
                let _slot = self.while_replying(self.slots.acquire()).await?.ok();
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.timeout);
                let request = self.server.best_references_by_ids(context, datasets, None, true);
                let answer = timeout_at(deadline, request).await;
                answer.unwrap_or_else(|_| {
                    let error = self.timed_out();
                    self.server.note_silence(&error);
                    Err(error)
                })
            };
            let is_reply = |error: &RemoteError| error.kind == RemoteErrorKind::Rpc;
            if answer.as_ref().map_or_else(is_reply, |_| true) {
                *self.replied.lock() = Some(Instant::now());
            }
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = match error.retry {
                Retry::Soon => Duration::from_millis(200) * attempt * attempt,
                Retry::After(pause) => pause,
                Retry::No => return Err(error),
            };
            // Callers hear at once that the server cannot be reached, or does not answer.
            let silent = matches!(
                error.kind,
                RemoteErrorKind::Unreachable | RemoteErrorKind::TimedOut
            );
            if attempt == ATTEMPTS || pause > LONGEST_PAUSE || silent {
                return Err(error);
            }
            attempt += 1;
            sleep(pause.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FileName, Gathering>> {
        self.gathering.lock()
    }
}

/// The part of a reply about a dataset.
fn result_for(reply: &BestReferences, dataset: &DatasetId) -> BatchResult {
    match reply.answer(dataset) {
        Some(Ok(values)) => Ok(ServerAnswer {
            types: values
                .iter()
                .filter_map(|(reftype, value)| Some((reftype.parse().ok()?, TypeAnswer::from_json(value))))
                .collect(),
            header: reply.header(dataset).cloned().map(Arc::new),
        }),
        Some(Err(text)) => Err(unknown(dataset, text)),
        None => Err(unknown(dataset, "the server's answer does not mention it")),
    }
}

/// The failure of a dataset whose request failed.
fn failure(dataset: &DatasetId, error: &RemoteError) -> ResolveError {
    let text = error.message.to_ascii_lowercase();
    let about_dataset = error.kind == RemoteErrorKind::Rpc
        && ["not found dataset", "dataset id does not exist", "bad id format"]
            .iter()
            .any(|words| text.contains(words));
    if about_dataset {
        unknown(dataset, &error.message)
    } else {
        error.clone().into()
    }
}

fn unknown(dataset: &DatasetId, text: &str) -> ResolveError {
    ResolveError::UnknownDataset {
        dataset: dataset.typed().to_owned(),
        text: text.to_owned(),
    }
}
