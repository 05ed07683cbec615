//! JSON-RPC calls: counted, and answered from here or from upstream.

use std::sync::Arc;

use super::envelope::{Call, MethodResult, RpcError};
use super::methods;
use super::services::{Place, Services};
use crate::crds::Observatory;

/// Answers a call for a client that knows the server as `base`.
pub(super) async fn answer(
    services: &Arc<Services>,
    observatory: Observatory,
    base: String,
    call: Call,
) -> MethodResult {
    services.counters.called(methods::known_name(&call.method));
    let Some(service) = services.get(observatory) else {
        return Err(RpcError::other("the observatory is gone"));
    };
    if let Place::Cache(upstream) = &service.place
        && let Some(answered) = upstream.answer(&call).await
    {
        return answered;
    }
    let info = service.info().await.map_err(RpcError::no_contact)?;
    let _turn = services.turns.acquire().await;
    let services = Arc::clone(services);
    // Rules are read from disk and evaluated, and may have to be fetched: nothing for a thread that answers others.
    let answered = tokio::task::spawn_blocking(move || match services.get(observatory) {
        Some(service) => methods::answer(service, &info, &base, &call),
        None => Err(RpcError::other("the observatory is gone")),
    });
    answered
        .await
        .unwrap_or_else(|error| Err(RpcError::other(format_args!("the call failed: {error}"))))
}
