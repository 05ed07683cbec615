//! The HTTP client that the crate `object_store` uses: ours.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, IF_NONE_MATCH, IF_RANGE};
use reqwest::{Method, StatusCode};

use super::failure;
use crate::crds::Url;
use crate::remote::error::{RemoteError, RemoteErrorKind};
use crate::remote::http::HttpClient;
use crate::remote::origin::{ByteRange, Download};

/// The most bytes of a reply that does not give an object.
const MAX_REPLY: usize = 1 << 20;

/// The bytes of a request for each second that it may take in addition.
const SLOWEST: u64 = 100_000;

/// Gives our client to the crate.
#[derive(Clone)]
pub(super) struct Connector {
    client: HttpClient,
    /// The bucket that it writes objects to, if it does: then a refusal is a [`RemoteError`] that tells all that the store says.
    written: Option<Url>,
}

impl Connector {
    pub(super) fn new(client: HttpClient) -> Self {
        Self {
            client,
            written: None,
        }
    }

    /// Whether it is for requests that write objects.
    pub(super) fn writes(&self) -> bool {
        self.written.is_some()
    }

    /// For requests that write objects to this bucket.
    pub(super) fn for_writing(client: HttpClient, bucket: Url) -> Self {
        Self {
            client,
            written: Some(bucket),
        }
    }

    /// Whether the store can be asked to make no object of parts where there is one.
    fn has_conditions(&self) -> bool {
        let scheme = self.written.as_ref().and_then(Url::scheme);
        scheme.as_deref() == Some("s3")
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<object_store::client::HttpClient> {
        Ok(object_store::client::HttpClient::new(self.clone()))
    }
}

/// One request for an object, which takes its way through the crate, to be located and signed, and the reply to it.
pub(super) struct Exchange {
    url: Url,
    range: Option<ByteRange>,
    if_range: Option<String>,
    reply: Mutex<Option<Result<Download, RemoteError>>>,
}

impl Exchange {
    pub(super) fn new(url: &Url, range: Option<ByteRange>, if_range: Option<&str>) -> Self {
        Self {
            url: url.clone(),
            range,
            if_range: if_range.map(str::to_owned),
            reply: Mutex::default(),
        }
    }

    /// The reply, if the request was made.
    pub(super) fn reply(&self) -> Option<Result<Download, RemoteError>> {
        self.reply.lock().take()
    }

    /// Makes the request that the crate has signed.
    async fn send(&self, client: &HttpClient, request: &Signed) -> Result<Download, RemoteError> {
        let timeout = client.settings().stall_timeout;
        let condition = self.if_range.as_ref().filter(|_| self.range.is_some());
        let build = |client: &reqwest::Client, url: &str| {
            let request = request.build(client, url);
            match condition {
                Some(condition) => request.header(IF_RANGE, condition),
                None => request,
            }
        };
        let relabelled = |error: RemoteError| RemoteError {
            url: self.url.clone(),
            ..error
        };
        let sent = client.send(&request.url, build, timeout).await;
        let (response, from) = sent.map_err(relabelled)?;
        if !matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Err(failure::of_reply(client, &self.url, response, request.is_signed()).await);
        }
        client.download(&self.url, from, response, self.range)
    }
}

/// A request as the crate has made it.
struct Signed {
    url: Url,
    method: Method,
    headers: HeaderMap,
    body: HttpRequestBody,
}

impl Signed {
    fn new(request: HttpRequest) -> (Self, Option<Arc<Exchange>>) {
        let (parts, body) = request.into_parts();
        let exchange = parts.extensions.get::<Arc<Exchange>>().cloned();
        let signed = Self {
            url: Url::new(&parts.uri.to_string()),
            method: parts.method,
            headers: parts.headers,
            body,
        };
        (signed, exchange)
    }

    /// The request to `url`. The signature is for one host, and goes to no other.
    fn build(&self, client: &reqwest::Client, url: &str) -> reqwest::RequestBuilder {
        let body = match self.body.as_bytes() {
            Some(bytes) => reqwest::Body::from(bytes.clone()),
            None => reqwest::Body::wrap(self.body.clone()),
        };
        let request = client.request(self.method.clone(), url).body(body);
        if url == self.url.with_credentials() {
            request.headers(self.headers.clone())
        } else {
            request
        }
    }

    /// The end of an upload in parts.
    fn completes_upload(&self) -> bool {
        let query = self
            .url
            .with_credentials()
            .split_once('?')
            .map(|(_, query)| query);
        self.method == Method::POST && query.is_some_and(|query| query.starts_with("uploadId="))
    }

    fn is_signed(&self) -> bool {
        let query = self.url.with_credentials().split_once('?');
        self.headers.contains_key("authorization") || query.is_some()
    }
}

impl Connector {
    /// The reply to a request for an object is put where it is waited for; the crate sees an empty one.
    async fn exchange(&self, exchange: &Exchange, request: &Signed) -> HttpResponse {
        let reply = exchange.send(&self.client, request).await;
        *exchange.reply.lock() = Some(reply);
        HttpResponse::new(HttpResponseBody::from(Bytes::new()))
    }

    /// The whole reply to a request for credentials, or to one that writes.
    async fn whole(&self, request: &Signed) -> Result<HttpResponse, RemoteError> {
        let length = u64::try_from(request.body.content_length()).unwrap_or(u64::MAX);
        let timeout = self.client.settings().stall_timeout + Duration::from_secs(length / SLOWEST);
        let build = |client: &reqwest::Client, url: &str| {
            let built = request.build(client, url);
            if self.has_conditions() && request.completes_upload() {
                // The crate has no way to ask for it. Only headers of the store's own have to be signed.
                built.header(IF_NONE_MATCH, "*")
            } else {
                built
            }
        };
        let (response, from) = self.client.send(&request.url, build, timeout).await?;
        let status = response.status();
        // Statuses that the crate itself acts upon; all others are failures.
        let is_answer = match status {
            StatusCode::NOT_MODIFIED | StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => true,
            StatusCode::NOT_FOUND => request.method == Method::HEAD,
            _ => status.is_success(),
        };
        if let Some(bucket) = self.written.as_ref().filter(|_| !is_answer) {
            return Err(failure::of_reply(&self.client, bucket, response, request.is_signed()).await);
        }
        let headers = response.headers().clone();
        let mut body = self.client.body(from, response);
        let mut bytes = BytesMut::new();
        while let Some(part) = body.try_next().await? {
            bytes.extend_from_slice(&part);
            if bytes.len() > MAX_REPLY {
                let message = "the reply is too long";
                return Err(RemoteError::new(RemoteErrorKind::Protocol, &request.url, message));
            }
        }
        let mut response = HttpResponse::new(HttpResponseBody::from(bytes.freeze()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

impl HttpService for Connector {
    fn call<'life, 'this>(
        &'life self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'this>>
    where
        'life: 'this,
        Self: 'this,
    {
        Box::pin(async move {
            let (request, exchange) = Signed::new(request);
            if let Some(exchange) = exchange {
                return Ok(self.exchange(&exchange, &request).await);
            }
            let failed = |error: RemoteError| {
                let kind = match error.kind {
                    RemoteErrorKind::TimedOut => HttpErrorKind::Timeout,
                    RemoteErrorKind::Unreachable => HttpErrorKind::Connect,
                    _ => HttpErrorKind::Request,
                };
                HttpError::new(kind, error)
            };
            self.whole(&request).await.map_err(failed)
        })
    }
}
