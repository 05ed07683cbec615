//! A server whose description of itself is read from other places: `CRDS_CONFIG_URI` (spec/crds-service 2.3), or the
//! `server_config` of a source.

use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::error::{Hint, RemoteError, RemoteErrorKind};
use super::origin::Origin;
use super::service::{CrdsServer, UNREAD, in_background};
use crate::crds::{Observatory, ServerInfo, Url};

/// The largest `server_config` that is read, in bytes.
const MAX_CONFIG: usize = 64 << 20;

/// A place of a server's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Description {
    /// The server itself.
    Server,
    /// The file at this URL.
    At(Url),
}

/// A server; but its description comes from the first of several places that has one.
pub(super) struct DescribedServer {
    server: Arc<dyn CrdsServer>,
    origin: Arc<dyn Origin>,
    descriptions: Vec<Description>,
}

impl DescribedServer {
    /// `server`, described in these places, which `origin` reads.
    pub(super) fn new(
        server: Arc<dyn CrdsServer>,
        origin: Arc<dyn Origin>,
        descriptions: Vec<Description>,
    ) -> Self {
        Self {
            server,
            origin,
            descriptions,
        }
    }

    /// The description of the first place that gives one. If none does, the failure that says most: not that a source has
    /// no description, if there is any other.
    async fn find(&self) -> Result<ServerInfo, RemoteError> {
        let mut failure = None;
        for description in &self.descriptions {
            let found = match description {
                Description::Server => self.server.server_info().await,
                Description::At(url) => self.read(url).await,
            };
            let error = match found {
                Ok(info) => return Ok(info),
                Err(error) => error,
            };
            if self.descriptions.len() > 1 {
                log::info!("no description of the {} server: {error}", self.observatory());
            }
            let is_better = |earlier: &RemoteError| earlier.kind == RemoteErrorKind::NotFound;
            if failure.as_ref().is_none_or(is_better) {
                failure = Some(error);
            }
        }
        Err(failure.unwrap_or_else(|| RemoteError::offline(self.url())))
    }

    async fn read(&self, url: &Url) -> Result<ServerInfo, RemoteError> {
        let wrong = |message: String| RemoteError::new(RemoteErrorKind::Protocol, url, message);
        let mut body = self.origin.get(url, None, None).await?.body;
        let mut bytes = Vec::new();
        while let Some(part) = body.try_next().await? {
            if bytes.len() + part.len() > MAX_CONFIG {
                return Err(wrong(format!("server_config is larger than {MAX_CONFIG} bytes")));
            }
            bytes.extend_from_slice(&part);
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("server_config is not UTF-8".to_owned()))?;
        let info = in_background(move || ServerInfo::from_literal(&text))
            .await
            .ok_or_else(|| wrong(UNREAD.to_owned()))?
            .map_err(|error| wrong(error.to_string()))?;
        let (asked, found) = (self.observatory(), info.observatory());
        if asked != found {
            let error = wrong(format!(
                "server_config describes the server of {found}, not of {asked}"
            ));
            return Err(error.with_hint(Hint::OtherObservatory(found)));
        }
        Ok(info.received_from(url))
    }
}

impl CrdsServer for DescribedServer {
    fn observatory(&self) -> Observatory {
        self.server.observatory()
    }

    fn url(&self) -> &str {
        self.server.url()
    }

    fn is_described_at(&self, url: &str) -> bool {
        self.descriptions.iter().any(|description| match description {
            Description::Server => self.server.is_described_at(url),
            Description::At(place) => place.as_str() == url,
        })
    }

    fn call<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        self.server.call(method, params)
    }

    fn server_info(&self) -> BoxFuture<'_, Result<ServerInfo, RemoteError>> {
        Box::pin(self.find())
    }
}
