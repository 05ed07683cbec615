//! Asks servers and other places of files whether they answer, and how fast. No data of files is asked for.

use std::time::{Duration, Instant};

use serde_json::json;

use super::error::{RemoteError, RemoteErrorKind};
use super::http::{HttpClient, from_status};
use super::measure::Measure;
use super::object::{self, CloudSettings, ObjectOrigin};
use super::origin::{ByteRange, Origin as _};
use super::rpc::JsonRpcServer;
use super::service::CrdsServer;
use crate::crds::{ServerInfo, Url};

/// A server's description of itself, and the measurements of the reply.
pub(crate) async fn server(server: &JsonRpcServer) -> Result<(ServerInfo, Measure), RemoteError> {
    let (described, measure) = server.measured("get_server_info", json!([])).await?;
    Ok((server.read_description(described).await?, measure))
}

/// The time that the place of files at `url` takes to answer. That it has no page of its own is an answer, too.
pub(crate) async fn place(
    url: &Url,
    client: &HttpClient,
    cloud: &CloudSettings,
) -> Result<Duration, RemoteError> {
    let begun = Instant::now();
    if url
        .scheme()
        .is_some_and(|scheme| object::SCHEMES.contains(&scheme.as_str()))
    {
        let bucket = ObjectOrigin::new(client.clone(), cloud.clone());
        let first = ByteRange {
            start: 0,
            end: Some(1),
        };
        return match bucket.get(&url.below("config"), Some(first), None).await {
            Err(error) if error.kind != RemoteErrorKind::NotFound || error.hint.is_some() => Err(error),
            _ => Ok(begun.elapsed()),
        };
    }
    if url.scheme().as_deref() == Some("file") {
        let path = url.parsed().and_then(|parsed| parsed.to_file_path().ok());
        let nowhere = |why: String| RemoteError::new(RemoteErrorKind::NotFound, url, why);
        let path = path.ok_or_else(|| nowhere("it names no directory".to_owned()))?;
        return match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_dir() => Ok(begun.elapsed()),
            Ok(_) => Err(nowhere("it is not a directory".to_owned())),
            Err(error) => Err(nowhere(error.to_string())),
        };
    }
    let timeout = client.settings().stall_timeout;
    let (response, _) = client.send(url, |client, url| client.head(url), timeout).await?;
    if response.status().is_server_error() || matches!(response.status().as_u16(), 401 | 407) {
        return Err(from_status(&response, url));
    }
    Ok(begun.elapsed())
}

/// Whether a host has an address; the reason why not otherwise.
pub(crate) async fn address(host: &str) -> Result<(), String> {
    match tokio::net::lookup_host((host, 0)).await {
        Ok(mut found) => found
            .next()
            .map(drop)
            .ok_or_else(|| "it has no address".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
