//! HTTP(S): one client with pooled connections for everything, and files over it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::error::{RemoteError, RemoteErrorKind};
use super::origin::{ByteRange, Download, Origin};
use crate::crds::Url;

mod certificates;
mod client;
mod failure;
mod proxies;
mod reach;
mod route;

pub(crate) use certificates::Certificates;
use failure::{from_reqwest, too_near};
pub(super) use failure::{from_status, timed_out};
pub(crate) use proxies::{Proxy, proxies};
use reach::Reach;
use route::Route;

/// Time limits of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "a timeout is what each of them is")]
pub(crate) struct HttpSettings {
    /// For a connection.
    pub connect_timeout: Duration,
    /// For the head of a file's reply, and for the next bytes of any body.
    pub stall_timeout: Duration,
    /// For the whole reply to a call: the server may have to ask the archive first.
    pub call_timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(300),
        }
    }
}

/// An HTTP client. Clones share its connections. It is built at its first use, since reading the machine's
/// certificates takes longer than mounting.
#[derive(Clone)]
pub(crate) struct HttpClient {
    shared: Arc<Shared>,
}

struct Shared {
    settings: HttpSettings,
    /// One for each reach.
    clients: [OnceLock<Result<client::Built, String>>; Reach::COUNT],
}

impl HttpClient {
    /// A client with these settings. Proxies are taken from the environment (`https_proxy`, `no_proxy`, ...).
    pub(crate) fn new(settings: HttpSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                clients: Default::default(),
            }),
        }
    }

    /// The time limits of this client.
    pub(crate) fn settings(&self) -> &HttpSettings {
        &self.shared.settings
    }

    fn built(&self, url: &Url, allowed: Reach) -> Result<&client::Built, RemoteError> {
        let connect_timeout = self.shared.settings.connect_timeout;
        let [public, private, link_local, loopback] = &self.shared.clients;
        let client = match allowed {
            Reach::Public => public,
            Reach::Private => private,
            Reach::LinkLocal => link_local,
            Reach::Loopback => loopback,
        };
        client
            .get_or_init(|| client::build(connect_timeout, certificates::roots(), allowed))
            .as_ref()
            .map_err(|message| RemoteError::new(RemoteErrorKind::Unreachable, url, message.as_str()))
    }

    /// Sends a request and waits for the head of the reply, whatever its status; redirects are followed where they may
    /// lead. Tells where the reply comes from.
    pub(super) async fn send(
        &self,
        url: &Url,
        request: impl Fn(&Client, &str) -> RequestBuilder,
        timeout: Duration,
    ) -> Result<(Response, Url), RemoteError> {
        match tokio::time::timeout(timeout, self.follow(url, request)).await {
            Ok(reply) => reply,
            Err(_) => Err(timed_out(url, "no reply", timeout)),
        }
    }

    async fn follow(
        &self,
        url: &Url,
        request: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<(Response, Url), RemoteError> {
        let mut route = Route::new(url);
        loop {
            let built = self.built(url, route.allowed().await?)?;
            let failed = |error| from_reqwest(error, url, built.has_roots);
            let request = request(&built.client, route.target().with_credentials())
                .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
                .build()
                .map_err(failed)?;
            let method = request.method().clone();
            let response = match built.client.execute(request).await {
                Ok(response) => response,
                Err(error) => {
                    return Err(match too_near(&error) {
                        Some(why) => route.refusal(&why),
                        None => failed(error),
                    });
                }
            };
            if !route.redirect(&method, &response)? {
                return Ok((response, route.target().clone()));
            }
        }
    }

    /// The file that a 200 or 206 from `from` gives, the reply to a request for `range`. Errors in its head tell `url`.
    pub(super) fn download(
        &self,
        url: &Url,
        from: Url,
        response: Response,
        range: Option<ByteRange>,
    ) -> Result<Download, RemoteError> {
        let head = Head::read(&response, range)
            .map_err(|message| RemoteError::new(RemoteErrorKind::Protocol, url, message))?;
        let body = self.body(from.clone(), response);
        Ok(Download {
            url: from.clone(),
            body: match head.length {
                Some(length) => exactly(length, from, body),
                None => body,
            },
            offset: head.offset,
            total: head.total,
            length: head.length,
            validator: head.validator,
        })
    }

    /// The body of a reply, every part of which must arrive within the stall timeout.
    pub(super) fn body(
        &self,
        url: Url,
        response: Response,
    ) -> BoxStream<'static, Result<Bytes, RemoteError>> {
        let timeout = self.shared.settings.stall_timeout;
        let parts = response.bytes_stream().boxed();
        stream::unfold(Some(parts), move |parts| {
            let url = url.clone();
            async move {
                let mut parts = parts?;
                match tokio::time::timeout(timeout, parts.next()).await {
                    Ok(None) => None,
                    Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(parts))),
                    Ok(Some(Err(error))) => Some((Err(from_reqwest(error, &url, true)), None)),
                    Err(_) => Some((Err(timed_out(&url, "no more bytes", timeout)), None)),
                }
            }
        })
        .boxed()
    }
}

/// Files over HTTP(S).
#[derive(Clone)]
pub(crate) struct HttpOrigin {
    client: HttpClient,
}

impl HttpOrigin {
    /// Files over this client.
    pub(crate) fn new(client: HttpClient) -> Self {
        Self { client }
    }

    async fn begin(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        if_range: Option<&str>,
    ) -> Result<Download, RemoteError> {
        let request = |client: &Client, url: &str| {
            let mut request = client.get(url);
            if let Some(range) = range {
                request = request.header(RANGE, range_text(range));
                if let Some(validator) = if_range {
                    request = request.header(IF_RANGE, validator);
                }
            }
            request
        };
        let timeout = self.client.settings().stall_timeout;
        let (response, final_url) = self.client.send(url, request, timeout).await?;
        if !matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Err(from_status(&response, url));
        }
        self.client.download(url, final_url, response, range)
    }
}

impl Origin for HttpOrigin {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>> {
        Box::pin(self.begin(url, range, if_range))
    }
}

fn range_text(range: ByteRange) -> String {
    match range.end {
        Some(end) => format!("bytes={}-{}", range.start, end.saturating_sub(1)),
        None => format!("bytes={}-", range.start),
    }
}

/// The properties of a body that the head of its reply tells.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    offset: u64,
    length: Option<u64>,
    total: Option<u64>,
    validator: Option<String>,
}

impl Head {
    /// Reads the head of a 200 or 206, the answer to a request for `range`. The error names the fault.
    fn read(response: &Response, range: Option<ByteRange>) -> Result<Self, String> {
        let headers = response.headers();
        refuse_other_content(headers)?;
        let validator = validator(headers);
        let length = response.content_length();
        if response.status() == StatusCode::OK {
            return Ok(Self {
                offset: 0,
                length,
                total: length,
                validator,
            });
        }
        let range = range.ok_or("the server sent a part of the file that was not asked for")?;
        let given = header(headers, &CONTENT_RANGE).unwrap_or_default();
        let (first, last, total) = content_range(given)
            .ok_or_else(|| format!("the server sent a part with an unreadable Content-Range '{given}'"))?;
        let expected = first == range.start && range.end.is_none_or(|end| last < end);
        if !expected || length.is_some_and(|length| length != last - first + 1) {
            let asked = range_text(range);
            return Err(format!(
                "the server sent another part of the file: asked for {asked}, got {given}"
            ));
        }
        Ok(Self {
            offset: first,
            length: Some(last - first + 1),
            total,
            validator,
        })
    }
}

/// A web page, or compressed bytes, cannot be the file that was asked for.
fn refuse_other_content(headers: &HeaderMap) -> Result<(), String> {
    let content_type = header(headers, &CONTENT_TYPE).unwrap_or_default();
    if content_type
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("text/html")
    {
        return Err("the server sent a web page instead of the file (an error or login page?)".to_owned());
    }
    if content_type
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("multipart/")
    {
        return Err("the server sent several parts where one was asked for".to_owned());
    }
    match header(headers, &CONTENT_ENCODING).map(str::trim) {
        None | Some("" | "identity") => Ok(()),
        Some(encoding) => Err(format!(
            "the server sent the file compressed ('{encoding}') although it was asked not to"
        )),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A strong `ETag`, else `Last-Modified`: what `If-Range` can be asked with.
fn validator(headers: &HeaderMap) -> Option<String> {
    header(headers, &ETAG)
        .filter(|tag| tag.starts_with('"'))
        .or_else(|| header(headers, &LAST_MODIFIED))
        .map(str::to_owned)
}

/// Reads `bytes FIRST-LAST/TOTAL`, where `TOTAL` may be `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total: Option<u64> = match total.trim() {
        "*" => None,
        digits => Some(digits.parse().ok()?),
    };
    (first <= last && last < u64::MAX && total.is_none_or(|total| last < total))
        .then_some((first, last, total))
}

/// The body, of the length that its head tells or with an error at its end.
pub(super) fn exactly(
    length: u64,
    url: Url,
    body: BoxStream<'static, Result<Bytes, RemoteError>>,
) -> BoxStream<'static, Result<Bytes, RemoteError>> {
    stream::unfold(Some((body, length)), move |state| {
        let url = url.clone();
        async move {
            let (mut body, left) = state?;
            let failed = |kind, message: String| Some((Err(RemoteError::new(kind, &url, message)), None));
            match body.next().await {
                Some(Ok(bytes)) => {
                    let Some(left) = left.checked_sub(bytes.len() as u64) else {
                        let message = "the server sent more bytes than it had said".to_owned();
                        return failed(RemoteErrorKind::Protocol, message);
                    };
                    Some((Ok(bytes), Some((body, left))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None if left > 0 => failed(
                    RemoteErrorKind::Interrupted,
                    format!("the connection ended {left} bytes before the end of the file"),
                ),
                None => None,
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests;
