//! JSON-RPC as CRDS servers speak it (spec/crds-service 1.1).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::error::{Hint, RemoteError, RemoteErrorKind};
use super::http::{HttpClient, from_status, timed_out};
use super::measure::{self, Measure};
use super::service::{CrdsServer, UNREAD, in_background};
use crate::crds::{Observatory, Url, encoded, json};

mod escapes;

/// The most characters of a server's own words that are passed on.
const MAX_MESSAGE: usize = 4096;
/// No reply may be larger: more than ten times today's largest.
const MAX_REPLY: usize = 64 << 20;
/// Room made for a reply before anything of it has come, whatever length its server says.
const FIRST_ROOM: u64 = 1 << 20;

/// The server of one observatory, over HTTP(S).
pub(crate) struct JsonRpcServer {
    observatory: Observatory,
    url: Url,
    client: HttpClient,
    calls: Calls,
}

/// The ids of calls, by which both sides find one in their logs.
struct Calls {
    process: String,
    counter: AtomicU32,
}

impl Calls {
    fn new() -> Self {
        let bits = fastrand::u128(..);
        // A UUID of version 4: its version and variant bits are fixed.
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
        let uuid = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
        Self {
            process: format!("crds-fs-{}-{uuid}", env!("CARGO_PKG_VERSION")),
            counter: AtomicU32::new(0),
        }
    }

    fn next(&self) -> String {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:08x}", self.process)
    }
}

/// Whether a server URL means that no server is to be asked.
pub(super) fn is_serverless(url: &str) -> bool {
    url.contains("serverless") || url.contains("server-less")
}

impl JsonRpcServer {
    /// The server at `url`, without `/json/`. A URL that says `serverless` fails every call with
    /// [`RemoteErrorKind::Offline`].
    pub(crate) fn new(observatory: Observatory, url: &Url, client: HttpClient) -> Self {
        Self {
            observatory,
            url: url.without_slash(),
            client,
            calls: Calls::new(),
        }
    }

    /// A call from its beginning to the last byte of the reply, within the time that a call may take.
    pub(super) async fn measured(
        &self,
        method: &str,
        params: Value,
    ) -> Result<(Value, Measure), RemoteError> {
        if is_serverless(self.url.as_str()) {
            return Err(RemoteError::offline(&self.url));
        }
        let timeout = self.client.settings().call_timeout;
        match tokio::time::timeout(timeout, self.exchange(method, params)).await {
            Ok(result) => result.map_err(|error| self.of_server(error)),
            Err(_) => Err(timed_out(&self.url, "no complete reply", timeout)),
        }
    }

    /// An error of a call with the URL that people know the server by; one of another URL, as after a redirect, as it is.
    fn of_server(&self, error: RemoteError) -> RemoteError {
        let calls = self.url.below("json");
        if !error.url.as_str().starts_with(calls.as_str()) {
            return error;
        }
        RemoteError {
            url: self.url.clone(),
            ..error
        }
    }

    async fn exchange(&self, method: &str, params: Value) -> Result<(Value, Measure), RemoteError> {
        let begun = Instant::now();
        let id = self.calls.next();
        // The service is at /json/; the rest is for the server's access log, as in the Python client.
        let url = self.url.below(&format!("json/{method}/{id}/"));
        let request = json!({"jsonrpc": "1.0", "method": method, "params": params, "id": id}).to_string();
        let timeout = self.client.settings().call_timeout;
        let (response, _) = self
            .client
            .send(
                &url,
                |client, url| {
                    client
                        .post(url)
                        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                        .body(request.clone())
                },
                timeout,
            )
            .await?;
        let (date, head) = (measure::date(response.headers()), begun.elapsed());
        let refusal = (!response.status().is_success()).then(|| from_status(&response, &url));
        let text = match self.read(&url, response).await {
            Ok(text) => text,
            Err(error) => return Err(no_service(refusal.unwrap_or(error))),
        };
        let measure = Measure {
            date,
            head,
            whole: begun.elapsed(),
            bytes: text.len() as u64,
        };
        let value = in_background(move || result(&text, refusal, &url)).await;
        Ok((value.unwrap_or_else(|| Err(self.nonsense(&UNREAD)))?, measure))
    }

    async fn read(&self, url: &Url, response: reqwest::Response) -> Result<Bytes, RemoteError> {
        let protocol = |message: String| RemoteError::new(RemoteErrorKind::Protocol, url, message);
        let too_large = || protocol(format!("the server's reply is larger than {MAX_REPLY} bytes"));
        let said = response.content_length().unwrap_or_default();
        if said > MAX_REPLY as u64 {
            return Err(too_large());
        }
        let mut text = BytesMut::with_capacity(usize::try_from(said.min(FIRST_ROOM)).unwrap_or_default());
        let mut body = self.client.body(url.clone(), response);
        while let Some(part) = body.try_next().await? {
            if text.len() + part.len() > MAX_REPLY {
                return Err(too_large());
            }
            text.extend_from_slice(&part);
        }
        Ok(text.freeze())
    }
}

/// A reply; its result is read when it is known to be wanted.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
}

/// A failure of something that answers otherwise than a CRDS server does.
fn no_service(error: RemoteError) -> RemoteError {
    match error.kind {
        RemoteErrorKind::Protocol | RemoteErrorKind::NotFound => error.with_hint(Hint::NoService),
        _ => error,
    }
}

/// A field that is there, also as `null`.
fn present<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(reader).map(Some)
}

/// The result in a reply, decoded. An error object counts under any status; without one the status does.
fn result(text: &[u8], refusal: Option<RemoteError>, url: &Url) -> Result<Value, RemoteError> {
    let protocol = |message: String| RemoteError::new(RemoteErrorKind::Protocol, url, message);
    let tree = |raw: &RawValue| {
        json::parse(raw.get().as_bytes(), json::MAX_TREE)
            .map_err(|error| protocol(format!("the server's reply cannot be read: {error}")))
    };
    let is_object = text.trim_ascii_start().starts_with(b"{");
    let read = serde_json::from_slice(text).ok().filter(|_| is_object);
    let Some(reply): Option<Reply<'_>> = read else {
        let start = String::from_utf8_lossy(text.get(..80).unwrap_or(text)).into_owned();
        let message = format!("the server's reply is not a JSON object; it begins with {start:?}");
        return Err(no_service(refusal.unwrap_or_else(|| protocol(message))));
    };
    if let Some(error) = reply.error.filter(|error| error.get() != "null") {
        let error = tree(error)?;
        let message = error
            .get("message")
            .and_then(Value::as_str)
            .or_else(|| error.as_str())
            .map_or_else(|| error.to_string(), escapes::unescape);
        let message = message.chars().take(MAX_MESSAGE).collect::<String>();
        return Err(RemoteError::new(RemoteErrorKind::Rpc, url, message));
    }
    if let Some(refusal) = refusal {
        return Err(no_service(refusal));
    }
    let result = reply
        .result
        .ok_or_else(|| protocol("the server's reply has no result".to_owned()))?;
    encoded::decode(tree(result)?).map_err(|error| protocol(error.to_string()))
}

impl CrdsServer for JsonRpcServer {
    fn observatory(&self) -> Observatory {
        self.observatory
    }

    fn url(&self) -> &str {
        self.url.as_str()
    }

    fn call<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        Box::pin(async move { Ok(self.measured(method, params).await?.0) })
    }
}

#[cfg(test)]
mod tests;
