//! JSON-RPC calls: counted, and answered from here or from upstream.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::description_text::SERVER_INFO;
use super::envelope::{Call, RpcError};
use super::file_info::{FILE_INFO_MAP, FileInfoMap};
use super::methods;
use super::services::{Place, Services};
use crate::crds::Observatory;

/// The result of a call.
pub(super) enum Answer {
    /// As a value.
    Whole(Value),
    /// As JSON.
    Text(Bytes),
    /// As parts of JSON, which are made when they are sent.
    InParts(Box<FileInfoMap>),
}

/// Answers a call for a client that knows the server as `base`.
pub(super) async fn answer(
    services: &Arc<Services>,
    observatory: Observatory,
    base: String,
    call: Call,
) -> Result<Answer, RpcError> {
    services.counters.called(methods::known_name(&call.method));
    let Some(service) = services.get(observatory) else {
        return Err(RpcError::other("the observatory is gone"));
    };
    if let Place::Cache(upstream) = &service.place
        && let Some(answered) = upstream.answer(&call).await
    {
        return answered.map(Answer::Whole);
    }
    let info = service.info().await.map_err(RpcError::no_contact)?;
    if call.method == FILE_INFO_MAP {
        return FileInfoMap::new(observatory, info, &call.params).map(|map| Answer::InParts(Box::new(map)));
    }
    let _turn = services.turns.acquire().await;
    let services = Arc::clone(services);
    // Rules are read from disk and evaluated, and may have to be fetched: nothing for a thread that answers others.
    let answered = tokio::task::spawn_blocking(move || match services.get(observatory) {
        Some(service) if call.method == SERVER_INFO => Ok(Answer::Text(service.description.of(&info, &base))),
        Some(service) => methods::answer(service, &info, &base, &call).map(Answer::Whole),
        None => Err(RpcError::other("the observatory is gone")),
    });
    answered
        .await
        .unwrap_or_else(|error| Err(RpcError::other(format_args!("the call failed: {error}"))))
}
