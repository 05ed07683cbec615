//! A server whose description of itself is read from a place (`CRDS_CONFIG_URI`, spec/crds-service 2.3).

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::error::{Hint, RemoteError, RemoteErrorKind};
use super::origin::Origin;
use super::service::{CrdsServer, UNREAD, in_background};
use crate::crds::{Observatory, ServerInfo, Url};

/// The largest `server_config` that is read, in bytes.
const MAX_CONFIG: usize = 64 << 20;

/// A server; but its description is the `server_config` at a URL.
pub(crate) struct ConfigUriServer {
    server: Arc<dyn CrdsServer>,
    origin: Arc<dyn Origin>,
    config_url: Url,
}

impl ConfigUriServer {
    /// `server`, described by the file at `config_url` of `origin`.
    pub(crate) fn new(server: Arc<dyn CrdsServer>, origin: Arc<dyn Origin>, config_url: Url) -> Self {
        Self {
            server,
            origin,
            config_url,
        }
    }

    async fn read(&self) -> Result<ServerInfo, RemoteError> {
        let wrong = |message: String| RemoteError::new(RemoteErrorKind::Protocol, &self.config_url, message);
        let mut body = self.origin.get(&self.config_url, None, None).await?.body;
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
        Ok(info.received_from(&self.config_url))
    }
}

impl CrdsServer for ConfigUriServer {
    fn observatory(&self) -> Observatory {
        self.server.observatory()
    }

    fn url(&self) -> &str {
        self.server.url()
    }

    fn description_url(&self) -> &str {
        self.config_url.as_str()
    }

    fn call<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        self.server.call(method, params)
    }

    fn server_info(&self) -> BoxFuture<'_, Result<ServerInfo, RemoteError>> {
        Box::pin(self.read())
    }
}
