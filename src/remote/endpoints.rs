//! Where everything is asked for: the server of each observatory, and the URL of each file.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use super::config::ConfigUriServer;
use super::error::RemoteError;
use super::http::HttpClient;
use super::origin::Origin;
use super::rpc::{JsonRpcServer, is_serverless};
use super::service::CrdsServer;
use crate::crds::{FileName, Observatory, ServerInfo};

/// What the user has said of servers and places, as plain text. `None`, `none`, `NONE` and the empty text count as not
/// said (spec/crds-service 8.2).
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `--server`, any number of times.
    pub servers: Vec<ServerSetting>,
    /// `CRDS_SERVER_URL`.
    pub server_url: Option<String>,
    /// `CRDS_MAPPING_URI`.
    pub mapping_uri: Option<String>,
    /// `CRDS_REFERENCE_URI`.
    pub reference_uri: Option<String>,
    /// `CRDS_CONFIG_URI`.
    pub config_uri: Option<String>,
}

/// The value of `--server`: `URL` or `OBS=URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSetting {
    /// Whose server it is, if said.
    pub observatory: Option<Observatory>,
    /// Its URL.
    pub url: String,
}

impl FromStr for ServerSetting {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (observatory, url) = match text.split_once('=') {
            Some((name, url)) if !name.contains([':', '/', '?']) => {
                let observatory = name
                    .parse()
                    .map_err(|_| EndpointError::Observatory(name.to_owned()))?;
                (Some(observatory), url)
            }
            _ => (None, text),
        };
        check_server(url)?;
        Ok(Self {
            observatory,
            url: url.to_owned(),
        })
    }
}

/// Why the settings make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not an http(s) URL.
    #[error("'{0}' is not the URL of a server: it must begin with https:// or http://")]
    Server(String),
    /// An unknown observatory before `=`.
    #[error("'{0}' is not an observatory (hst, jwst, roman)")]
    Observatory(String),
    /// The server could be anybody's.
    #[error(
        "it is not clear whose server {0} is: write OBSERVATORY=URL, or name the observatory with --observatory"
    )]
    WhoseServer(String),
    /// An override that is no URL.
    #[error("{variable} is '{value}', which is not a URL: it must begin with https://, http:// or file:///")]
    Uri {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// An override that leads to S3.
    #[error(
        "{variable} is '{value}': reading from S3 is not yet supported; unset {variable}, or give an https:// URL"
    )]
    S3 {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
}

/// Why a file has no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {observatory} server does not say where its {what} are downloaded from")]
pub struct NoUrl {
    observatory: Observatory,
    what: &'static str,
}

/// Where everything is asked for.
#[derive(Debug, Clone)]
pub struct Endpoints {
    servers: BTreeMap<Observatory, String>,
    mapping_uri: Option<String>,
    reference_uri: Option<String>,
    config_uri: Option<String>,
}

/// What is written with `%` in the path of a URL.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

impl Endpoints {
    /// Makes sense of the settings, for these observatories.
    pub fn new(settings: &Settings, observatories: &[Observatory]) -> Result<Self, EndpointError> {
        let mut servers: BTreeMap<Observatory, String> = observatories
            .iter()
            .map(|&observatory| (observatory, default_server(observatory)))
            .collect();
        if let Some(url) = said(settings.server_url.as_deref()) {
            check_server(url)?;
            for observatory in whose(url, observatories)? {
                servers.insert(observatory, url.to_owned());
            }
        }
        for ServerSetting { observatory, url } in &settings.servers {
            let named = match observatory {
                Some(observatory) => vec![*observatory],
                None => whose(url, observatories)?,
            };
            for observatory in named {
                servers.insert(observatory, url.clone());
            }
        }
        Ok(Self {
            servers,
            mapping_uri: check_uri("CRDS_MAPPING_URI", settings.mapping_uri.as_deref())?,
            reference_uri: check_uri("CRDS_REFERENCE_URI", settings.reference_uri.as_deref())?,
            config_uri: check_uri("CRDS_CONFIG_URI", settings.config_uri.as_deref())?,
        })
    }

    /// The URL of the observatory's server.
    pub fn server_url(&self, observatory: Observatory) -> String {
        self.servers
            .get(&observatory)
            .cloned()
            .unwrap_or_else(|| default_server(observatory))
    }

    /// Whether there is, on purpose, no server to ask for this observatory.
    pub fn is_offline(&self, observatory: Observatory) -> bool {
        is_serverless(&self.server_url(observatory))
    }

    /// The server of the observatory. With `CRDS_CONFIG_URI` its description of itself comes from there.
    pub fn server(
        &self,
        observatory: Observatory,
        client: &HttpClient,
        origin: &Arc<dyn Origin>,
    ) -> Arc<dyn CrdsServer> {
        let server = JsonRpcServer::new(observatory, &self.server_url(observatory), client.clone());
        match applies(self.config_uri.as_ref(), observatory) {
            Some(base) => Arc::new(ConfigUriServer::new(
                Arc::new(server),
                Arc::clone(origin),
                join(base, "server_config"),
            )),
            None => Arc::new(server),
        }
    }

    /// The URL of a file: below the override if one was given, else where the server says (spec/crds-service 3.1).
    pub fn file_url(&self, info: &ServerInfo, name: &FileName) -> Result<String, NoUrl> {
        let observatory = info.observatory();
        let (uri, base, what) = if name.kind().is_mapping() {
            (&self.mapping_uri, &info.urls().mappings, "mappings")
        } else {
            (&self.reference_uri, &info.urls().references, "references")
        };
        let base = applies(uri.as_ref(), observatory)
            .or(base.as_deref())
            .ok_or(NoUrl { observatory, what })?;
        Ok(join(base, name.as_str()))
    }
}

/// The override, unless it names other observatories only.
fn applies(uri: Option<&String>, observatory: Observatory) -> Option<&str> {
    let uri = uri?;
    let named: Vec<Observatory> = named_in(uri).collect();
    (named.is_empty() || named.contains(&observatory)).then_some(uri)
}

fn join(base: &str, name: &str) -> String {
    let slash = if base.ends_with('/') { "" } else { "/" };
    format!("{base}{slash}{}", utf8_percent_encode(name, ESCAPED))
}

fn default_server(observatory: Observatory) -> String {
    match observatory {
        Observatory::Tobs => "https://crds-serverless-mode.stsci.edu".to_owned(),
        real => format!("https://{real}-crds.stsci.edu"),
    }
}

/// The observatories whose names are in the text: how clients decide whose server a URL is (spec/crds-service 2.3).
fn named_in(text: &str) -> impl Iterator<Item = Observatory> {
    Observatory::ALL
        .into_iter()
        .filter(move |observatory| text.contains(observatory.as_str()))
}

/// Whose server this is: the first observatory that the URL names, else the only one there is. A serverless URL that
/// names none is everybody's.
fn whose(url: &str, observatories: &[Observatory]) -> Result<Vec<Observatory>, EndpointError> {
    match (named_in(url).next(), observatories) {
        (Some(named), _) => Ok(vec![named]),
        (None, [only]) => Ok(vec![*only]),
        (None, all) if is_serverless(url) => Ok(all.to_vec()),
        (None, _) => Err(EndpointError::WhoseServer(url.to_owned())),
    }
}

/// A value that was said: neither empty nor Python's `None`.
fn said(value: Option<&str>) -> Option<&str> {
    value
        .map(str::trim)
        .filter(|value| !matches!(*value, "" | "None" | "none" | "NONE"))
}

fn check_server(url: &str) -> Result<(), EndpointError> {
    match Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(()),
        _ => Err(EndpointError::Server(url.to_owned())),
    }
}

fn check_uri(variable: &'static str, value: Option<&str>) -> Result<Option<String>, EndpointError> {
    let Some(value) = said(value) else {
        return Ok(None);
    };
    let owned = value.to_owned();
    match Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(owned)),
        Ok(url) if url.scheme() == "file" && url.to_file_path().is_ok() => Ok(Some(owned)),
        Ok(url) if url.scheme() == "s3" => Err(EndpointError::S3 {
            variable,
            value: owned,
        }),
        _ => Err(EndpointError::Uri {
            variable,
            value: owned,
        }),
    }
}

impl From<NoUrl> for RemoteError {
    fn from(error: NoUrl) -> Self {
        Self::new(super::error::RemoteErrorKind::Protocol, "", error.to_string())
    }
}

#[cfg(test)]
mod tests;
