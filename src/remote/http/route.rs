//! Decides which URL and which redirects a request may follow.

use reqwest::header::LOCATION;
use reqwest::{Method, Response, StatusCode};
use url::Url as Parsed;

use super::reach::{self, Reach, TooNear};
use crate::crds::Url;
use crate::remote::error::{Hint, RemoteError, RemoteErrorKind};

/// More redirects than this are a circle.
const MAX_REDIRECTS: usize = 5;

/// The route of one request: its target now, and the limits of its targets.
pub(super) struct Route {
    start: Url,
    target: Url,
    redirects: usize,
    /// Whether it was on a connection that is encrypted.
    encrypted: bool,
}

impl Route {
    pub(super) fn new(start: &Url) -> Self {
        Self {
            start: start.clone(),
            target: start.clone(),
            redirects: 0,
            encrypted: false,
        }
    }

    /// The URL of the request now.
    pub(super) fn target(&self) -> &Url {
        &self.target
    }

    /// The nearest reach that the target may have; fails if it is refused. A URL of the user's may lead anywhere; one
    /// that a server told, and a redirect, only where that server may lead.
    pub(super) async fn allowed(&mut self) -> Result<Reach, RemoteError> {
        let unreadable = || self.refusal("it is not a URL");
        let target = self.target.parsed().ok_or_else(unreadable)?;
        if !matches!(target.scheme(), "http" | "https") || !target.has_host() {
            return Err(self.refusal(
                "servers may only lead to http and https; files of this machine are for your own settings \
                 (CRDS_REFERENCE_URI and the like)",
            ));
        }
        let teller = self.start.teller();
        let guide = teller.map_or(&self.start, |teller| &teller.server);
        let guide = guide.parsed().ok_or_else(unreadable)?;
        self.encrypted |= (teller.is_some() || self.redirects > 0) && guide.scheme() == "https";
        if self.encrypted && target.scheme() != "https" {
            return Err(self.refusal("it leads from https to a connection that is not encrypted"));
        }
        self.encrypted |= target.scheme() == "https";
        let at_home = target.host() == guide.host();
        if !at_home && teller.is_some_and(|teller| teller.own_host_only) {
            let host = guide.host_str().unwrap_or_default();
            return Err(self.refusal(&format!(
                "the catalog gives no SHA-1 for this file, which is then only taken from the server's own host, {host}"
            )));
        }
        if at_home {
            return Ok(Reach::Loopback);
        }
        let allowed = reach::of_host(&guide).await;
        self.check_literal(&target, allowed)?;
        Ok(allowed)
    }

    fn check_literal(&self, target: &Parsed, allowed: Reach) -> Result<(), RemoteError> {
        let Some(address) = reach::literal(target) else {
            return Ok(());
        };
        let host = target.host_str().unwrap_or_default();
        TooNear::check(host, address, allowed).map_err(|error| self.refusal(&error.to_string()))
    }

    /// Follows the redirect of a reply; false when it is none.
    pub(super) fn redirect(&mut self, method: &Method, response: &Response) -> Result<bool, RemoteError> {
        let status = response.status();
        let moved = matches!(
            status,
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let location = response.headers().get(LOCATION);
        let (true, Some(location)) = (moved, location) else {
            return Ok(false);
        };
        let location = String::from_utf8_lossy(location.as_bytes());
        let next = self.target.parsed().and_then(|base| base.join(&location).ok());
        let next = next.map_or_else(|| Url::new(&location), |next| Url::new(next.as_str()));
        let keeps_method = matches!(
            status,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        if method != Method::GET && !keeps_method {
            let message =
                format!("the server redirects to {next}: it wants to be named by another URL (--server)");
            let error = RemoteError::new(RemoteErrorKind::Protocol, &self.start, message);
            return Err(error.with_hint(Hint::Redirect(next)));
        }
        self.redirects += 1;
        self.target = next.credited_by(&self.target);
        if self.redirects > MAX_REDIRECTS {
            return Err(self.refusal(&format!("more than {MAX_REDIRECTS} redirects")));
        }
        Ok(true)
    }

    /// The reason why the target is refused.
    pub(super) fn refusal(&self, why: &str) -> RemoteError {
        let message = if self.redirects == 0 {
            format!("the URL is not used: {why}")
        } else {
            let target = &self.target;
            target.censor(format!("the redirect to {target} is not followed: {why}"))
        };
        RemoteError::new(RemoteErrorKind::Protocol, &self.start, message)
    }
}
