//! Routes of requests, and what all replies have in common.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::Markup;
use url::form_urlencoded;

use super::lookup::{Lookups, Question, Refusal};
use super::views::{self, Form, Outcome};
use super::watch::Watch;

/// Nothing comes from elsewhere, runs from within the page, or frames it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The page, which all requests share.
pub(super) struct Page {
    watch: Watch,
    lookups: Arc<Lookups>,
}

type Shared = State<Arc<Page>>;

impl Page {
    /// The page about the mount at this place, looked at once.
    pub(super) async fn new(mountpoint: &Path) -> Self {
        Self {
            watch: Watch::start(mountpoint).await,
            lookups: Arc::default(),
        }
    }
}

/// All that the page answers.
pub(super) fn router(page: Arc<Page>) -> Router {
    let asset = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text).into_response() })
    };
    Router::new()
        .route("/", get(overview))
        .route("/bestrefs", get(bestrefs))
        .route(
            "/page.css",
            asset("text/css; charset=utf-8", include_str!("page.css")),
        )
        .route(
            "/page.js",
            asset("text/javascript; charset=utf-8", include_str!("page.js")),
        )
        .route("/icon.svg", asset("image/svg+xml", include_str!("icon.svg")))
        .fallback(nothing_here)
        .with_state(page)
        .layer(middleware::from_fn(guard))
}

/// The answer to processes of other users.
pub(super) fn refusal() -> Router {
    let text = "This page is for processes of the user who serves it, and of root.\n";
    Router::new()
        .fallback(move || async move { (StatusCode::FORBIDDEN, text) })
        .layer(middleware::from_fn(guard))
}

/// Refuses requests that were sent to another name, as of a site whose name leads here, and adds the headers.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = if is_for_loopback(&request) {
        next.run(request).await
    } else {
        let text = "This page is there under localhost and loopback addresses only.\n";
        (StatusCode::FORBIDDEN, text).into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether every name that a request gives to this server is one of the loopback. The port may be that of a tunnel.
fn is_for_loopback(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    host.is_some_and(|host| is_loopback(&host)) && request.uri().authority().is_none_or(is_loopback)
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

async fn overview(State(page): Shared, request: Request) -> Response {
    let still = request.uri().query() == Some("still");
    html(StatusCode::OK, views::overview(&*page.watch.now().await, still))
}

async fn bestrefs(State(page): Shared, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let snapshot = page.watch.now().await;
    let field = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(key, value)| (key == name).then(|| value.trim().to_owned()))
    };
    let mut form = Form {
        context: field("context").unwrap_or_else(|| views::default_context(&snapshot.status)),
        dataset: field("dataset").unwrap_or_default(),
        outcome: Outcome::NotAsked,
    };
    if field("dataset").is_none() || is_from_elsewhere(request.headers()) {
        return html(StatusCode::OK, views::bestrefs(&snapshot, &form));
    }
    let status;
    (status, form.outcome) = match (Question::read(&form.context, &form.dataset), &snapshot.trouble) {
        (Err(mistakes), _) => (StatusCode::BAD_REQUEST, Outcome::Wrong(mistakes)),
        (Ok(_), Some(trouble)) => {
            let refusal = Refusal::Failed(trouble.message.clone());
            (StatusCode::SERVICE_UNAVAILABLE, Outcome::Refused(refusal))
        }
        (Ok(question), None) => match page.lookups.ask(page.watch.mountpoint(), question).await {
            Ok(answer) => (StatusCode::OK, Outcome::Found(answer)),
            Err(refusal) => {
                let status = match refusal {
                    Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
                    Refusal::Unknown(_) => StatusCode::NOT_FOUND,
                    Refusal::Failed(_) => StatusCode::BAD_GATEWAY,
                };
                (status, Outcome::Refused(refusal))
            }
        },
    };
    html(status, views::bestrefs(&snapshot, &form))
}

/// Whether another site made the browser send this: a lookup may use the network, so it is only prepared then.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| site != b"same-origin" && site != b"none")
}

async fn nothing_here(State(page): Shared) -> Response {
    html(
        StatusCode::NOT_FOUND,
        views::nothing_here(&*page.watch.now().await),
    )
}

fn html(status: StatusCode, markup: Markup) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, kind, markup.into_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_answered() {
        let with = |uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            is_for_loopback(&request.body(Body::empty()).unwrap())
        };
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:7480",
            "127.9.9.9",
            "[::1]:7480",
            "[::1]",
        ] {
            assert!(with("/", &[host]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[::2]",
            "0.0.0.0",
            "evil.example@127.0.0.2.evil",
        ] {
            assert!(!with("/", &[host]), "{host}");
        }
        assert!(!with("/", &[]), "no name");
        assert!(!with("/", &["localhost", "localhost"]), "two names");
        assert!(!with("http://evil.example/", &["localhost"]));
        assert!(with("http://127.0.0.1/", &["localhost"]));
    }

    #[test]
    fn lookups_are_not_begun_by_other_sites() {
        let from = |site: &'static str| {
            is_from_elsewhere(&HeaderMap::from_iter([(
                HeaderName::from_static("sec-fetch-site"),
                HeaderValue::from_static(site),
            )]))
        };
        assert!(from("cross-site") && from("same-site"));
        assert!(!from("same-origin") && !from("none") && !is_from_elsewhere(&HeaderMap::new()));
    }
}
