//! Calls that are passed on to the upstream server.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;

use super::Upstream;
use crate::remote::{RemoteError, RemoteErrorKind};
use crate::serve::envelope::{MethodResult, RpcError};

/// The time for which upstream is not called again after it could not be reached, or said nothing.
const OUTAGE: Duration = Duration::from_secs(5);

/// The last call that did not reach upstream: its failure is that of all others for a moment.
#[derive(Clone, Default)]
pub(super) struct LastOutage(Arc<Mutex<Option<(Instant, RpcError)>>>);

impl LastOutage {
    fn recent(&self) -> Option<RpcError> {
        let last = self.0.lock();
        let (when, error) = last.as_ref()?;
        (when.elapsed() < OUTAGE).then(|| error.clone())
    }

    fn note(&self, error: &RpcError) {
        *self.0.lock() = Some((Instant::now(), error.clone()));
    }
}

/// Upstream's answer to a call, asked for now.
pub(super) fn pass_on(upstream: &Upstream, method: &str, params: Value) -> BoxFuture<'static, MethodResult> {
    let catalogs = upstream.cache.fetcher().catalogs();
    let Some(server) = catalogs.server(upstream.observatory).cloned() else {
        let error = RpcError::no_contact(format_args!(
            "this site server works offline, and does not remember the answer to '{method}'"
        ));
        return Box::pin(ready(Err(error)));
    };
    if let Some(error) = upstream.last_outage.recent() {
        return Box::pin(ready(Err(error)));
    }
    upstream.replies.note_call(method);
    let (method, last_outage) = (method.to_owned(), upstream.last_outage.clone());
    Box::pin(async move {
        server.call(&method, params).await.map_err(|error| {
            let told = of_remote(&error);
            if error.is_of_network() {
                last_outage.note(&told);
            }
            told
        })
    })
}

/// The failure of a call to upstream; its own errors in its own words.
pub(super) fn of_remote(error: &RemoteError) -> RpcError {
    match error.kind {
        RemoteErrorKind::Rpc => RpcError::told(&error.message),
        _ => RpcError::no_contact(format_args!(
            "the upstream CRDS server cannot be asked, and this site server does not know the answer: {error}"
        )),
    }
}
