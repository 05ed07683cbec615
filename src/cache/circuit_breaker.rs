//! A CRDS server that is left alone for a while after it could not be reached, or said nothing: for caches whose answers others
//! wait for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::crds::{Observatory, ServerInfo};
use crate::remote::{CrdsServer, RemoteError};

/// A server whose calls all fail for a while after one that the network has failed. Its description is asked for all the
/// same, and at other intervals.
pub(super) struct CircuitBreaker {
    server: Arc<dyn CrdsServer>,
    /// The time for which it is left alone.
    pause: Duration,
    last: Mutex<Option<(Instant, RemoteError)>>,
}

impl CircuitBreaker {
    /// `server`, left alone for `pause`.
    pub(super) fn new(server: Arc<dyn CrdsServer>, pause: Duration) -> Self {
        Self {
            server,
            pause,
            last: Mutex::default(),
        }
    }
}

impl CrdsServer for CircuitBreaker {
    fn observatory(&self) -> Observatory {
        self.server.observatory()
    }

    fn url(&self) -> &str {
        self.server.url()
    }

    fn is_described_at(&self, url: &str) -> bool {
        self.server.is_described_at(url)
    }

    fn outage(&self) -> Option<RemoteError> {
        let last = self.last.lock();
        let (when, error) = last.as_ref()?;
        (when.elapsed() < self.pause).then(|| error.clone())
    }

    fn note_silence(&self, error: &RemoteError) {
        *self.last.lock() = Some((Instant::now(), error.clone()));
    }

    fn call<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        if let Some(error) = self.outage() {
            return Box::pin(ready(Err(error)));
        }
        Box::pin(async move {
            let answered = self.server.call(method, params).await;
            if let Err(error) = &answered
                && error.is_of_network()
            {
                self.note_silence(error);
            }
            answered
        })
    }

    fn server_info(&self) -> BoxFuture<'_, Result<ServerInfo, RemoteError>> {
        self.server.server_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::remote::RemoteErrorKind;

    const PAUSE: Duration = Duration::from_secs(5);
    const MOMENT: Duration = Duration::from_millis(1);

    /// Fails all calls in one way, and counts them.
    struct Failing(RemoteErrorKind, AtomicUsize);

    impl CrdsServer for Failing {
        fn observatory(&self) -> Observatory {
            Observatory::Roman
        }

        fn url(&self) -> &'static str {
            "https://roman-crds.example.org"
        }

        fn call<'a>(&'a self, method: &'a str, _: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Box::pin(ready(Err(RemoteError::new(self.0, self.url(), method))))
        }
    }

    /// The number of calls that have reached a server: of two, one a moment before the end of the pause, one after it.
    async fn reached(kind: RemoteErrorKind) -> [usize; 3] {
        let server = Arc::new(Failing(kind, AtomicUsize::new(0)));
        let breaker = CircuitBreaker::new(Arc::clone(&server) as Arc<dyn CrdsServer>, PAUSE);
        let call = async || {
            let failed = breaker.call("get_dataset_ids", json!([])).await;
            assert_eq!(failed.map_err(|error| error.kind), Err(kind));
            server.1.load(Ordering::Relaxed)
        };
        let first = call().await;
        tokio::time::advance(PAUSE.saturating_sub(MOMENT)).await;
        let second = call().await;
        tokio::time::advance(MOMENT).await;
        [first, second, call().await]
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cannot_be_reached_is_left_alone_for_a_while() {
        assert_eq!(reached(RemoteErrorKind::Unreachable).await, [1, 1, 2]);
        assert_eq!(reached(RemoteErrorKind::TimedOut).await, [1, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_says_is_no_reason_to_leave_it_alone() {
        assert_eq!(reached(RemoteErrorKind::Rpc).await, [1, 2, 3]);
        assert_eq!(reached(RemoteErrorKind::Server).await, [1, 2, 3]);
    }
}
