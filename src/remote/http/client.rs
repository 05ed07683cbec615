//! Builds the HTTP clients.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};

use super::reach::{Reach, Resolver};

/// Connections to one host that are kept for later: those of all streams of large files and of a burst of small ones.
const IDLE: usize = 128;

/// A client.
pub(super) struct Built {
    pub(super) client: Client,
    /// Whether there is any certificate to check servers with.
    pub(super) has_roots: bool,
}

/// Builds a client that trusts the servers vouched for by `roots`, and goes to no address that is nearer than allowed.
/// It follows no redirects: the caller decides where they may lead.
pub(super) fn build(
    connect_timeout: Duration,
    roots: RootCertStore,
    allowed: Reach,
) -> Result<Built, String> {
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
        .pool_max_idle_per_host(IDLE)
        .referer(false)
        .redirect(Policy::none())
        .dns_resolver(Arc::new(Resolver::new(allowed)))
        .build()
        .map_err(|error| format!("the HTTP client cannot be set up: {error}"))?;
    Ok(Built { client, has_roots })
}
