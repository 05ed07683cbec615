//! Calls that are passed on to the upstream server.

use std::future::ready;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::Upstream;
use crate::remote::{RemoteError, RemoteErrorKind};
use crate::serve::envelope::{MethodResult, RpcError};

/// Upstream's answer to a call, asked for now.
pub(super) fn pass_on(upstream: &Upstream, method: &str, params: Value) -> BoxFuture<'static, MethodResult> {
    let catalogs = upstream.cache.fetcher().catalogs();
    let Some(server) = catalogs.server(upstream.observatory).cloned() else {
        let error = RpcError::no_contact(format_args!(
            "this site server works offline, and does not remember the answer to '{method}'"
        ));
        return Box::pin(ready(Err(error)));
    };
    if let Some(error) = server.outage() {
        return Box::pin(ready(Err(of_remote(&error))));
    }
    upstream.replies.note_call(method);
    let method = method.to_owned();
    Box::pin(async move {
        server
            .call(&method, params)
            .await
            .map_err(|error| of_remote(&error))
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
