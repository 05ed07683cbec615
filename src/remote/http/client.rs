//! How the client is built.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};

/// More redirects than this are a circle.
const MAX_REDIRECTS: usize = 5;

/// A client.
pub(super) struct Built {
    pub(super) client: Client,
    /// Whether there is any certificate to check servers with.
    pub(super) has_roots: bool,
}

/// The certificates that this machine trusts. There may be none: plain HTTP works without.
pub(super) fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::debug!("certificates of this machine: {error}");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Builds a client that trusts the servers vouched for by `roots`.
pub(super) fn build(connect_timeout: Duration, roots: RootCertStore) -> Result<Built, String> {
    let has_roots = !roots.is_empty();
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .user_agent(concat!("crds-fs/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(16)
        .referer(false)
        .redirect(Policy::custom(follow))
        .build()
        .map_err(|error| format!("the HTTP client cannot be set up: {error}"))?;
    Ok(Built { client, has_roots })
}

/// A few redirects, and none from an encrypted connection to a plain one.
fn follow(attempt: Attempt<'_>) -> redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
    }
    let was_encrypted = attempt.previous().iter().any(|url| url.scheme() == "https");
    if was_encrypted && attempt.url().scheme() != "https" {
        return attempt.error("a redirect from https to a connection that is not encrypted");
    }
    attempt.follow()
}
