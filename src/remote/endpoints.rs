//! The endpoints of all requests: the server of each observatory, and the URL of each file.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use super::config::{DescribedServer, Description};
use super::error::RemoteError;
use super::http::HttpClient;
use super::object::CloudSettings;
use super::origin::Origin;
use super::rpc::{JsonRpcServer, is_serverless};
use super::service::CrdsServer;
use super::sources::{SourceError, SourcePlace, SourceSetting, check_directory};
use super::tier::TierSetting;
use crate::crds::{FileKey, FileName, Observatory, ServerInfo, Teller, Url};

/// The user's settings for servers and places, as plain text. `None`, `none`, `NONE` and the empty text count as not
/// said (spec/crds-service 8.2).
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// `--server`, any number of times.
    pub servers: Vec<ServerSetting>,
    /// `CRDS_SERVER_URL`.
    pub server_url: Option<Url>,
    /// `CRDS_MAPPING_URI`.
    pub mapping_uri: Option<Url>,
    /// `CRDS_REFERENCE_URI`.
    pub reference_uri: Option<Url>,
    /// `CRDS_CONFIG_URI`.
    pub config_uri: Option<Url>,
    /// `--source`, any number of times, in order.
    pub sources: Vec<SourceSetting>,
    /// `--tier`.
    pub tier: Option<TierSetting>,
    /// The variables about object stores.
    pub cloud: CloudSettings,
}

impl Settings {
    /// Whether files or descriptions come from places that the user names, so that no server is needed.
    pub(crate) fn names_places(&self) -> bool {
        let uris = [&self.mapping_uri, &self.reference_uri, &self.config_uri];
        let is_place = |source: &SourceSetting| source.place != SourcePlace::Server;
        self.tier.is_some()
            || self.sources.iter().any(is_place)
            || uris.into_iter().any(|uri| said(uri.as_ref()).is_some())
    }
}

/// The value of `--server`: `URL` or `OBS=URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerSetting {
    /// The observatory of the server, if it is named.
    pub observatory: Option<Observatory>,
    /// Its URL.
    pub url: Url,
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
        let url = Url::new(url);
        check_server(&url)?;
        Ok(Self { observatory, url })
    }
}

impl ServerSetting {
    /// The observatory of the server: the one that is said, else the one that its URL names.
    pub(crate) fn named(&self) -> Option<Observatory> {
        self.observatory.or_else(|| named_in(self.url.as_str()).next())
    }
}

/// An error in the settings of servers and places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    /// Not an http(s) URL.
    #[error("'{0}' is not the URL of a server: it must begin with https:// or http://")]
    Server(Url),
    /// An unknown observatory before `=`.
    #[error("'{0}' is not an observatory (hst, jwst, roman)")]
    Observatory(String),
    /// A server without an observatory, where there are several.
    #[error(
        "it is not clear whose server {0} is: write OBSERVATORY=URL, or name the observatory with --observatory"
    )]
    WhoseServer(Url),
    /// An override that says no directory.
    #[error("{variable}: {error}")]
    Uri {
        /// The environment variable.
        variable: &'static str,
        /// The error in its value.
        error: SourceError,
    },
}

/// The reason why a file has no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {observatory} server does not say where its {what} are downloaded from")]
pub(crate) struct NoUrl {
    observatory: Observatory,
    what: &'static str,
}

/// The endpoints of all requests.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    servers: BTreeMap<Observatory, Url>,
    /// The observatories whose server the user has named.
    named: BTreeSet<Observatory>,
    sources: Vec<SourceSetting>,
    tier: Option<TierSetting>,
    mapping_uri: Option<Url>,
    reference_uri: Option<Url>,
    config_uri: Option<Url>,
}

impl Endpoints {
    /// Reads the settings, for these observatories.
    pub(crate) fn new(settings: &Settings, observatories: &[Observatory]) -> Result<Self, EndpointError> {
        let mut servers: BTreeMap<Observatory, Url> = observatories
            .iter()
            .map(|&observatory| (observatory, default_server(observatory)))
            .collect();
        let mut named = BTreeSet::new();
        if let Some(url) = said(settings.server_url.as_ref()) {
            // Clients know no server by such a text either, whether or not it is a URL.
            if !is_serverless(url.as_str()) {
                check_server(url)?;
            }
            for observatory in whose(url, observatories)? {
                servers.insert(observatory, url.clone());
                named.insert(observatory);
            }
        }
        for ServerSetting { observatory, url } in &settings.servers {
            let all = match observatory {
                Some(observatory) => vec![*observatory],
                None => whose(url, observatories)?,
            };
            for observatory in all {
                servers.insert(observatory, url.clone());
                named.insert(observatory);
            }
        }
        Ok(Self {
            servers,
            named,
            sources: settings.sources.clone(),
            tier: settings.tier.clone(),
            mapping_uri: check_uri("CRDS_MAPPING_URI", settings.mapping_uri.as_ref())?,
            reference_uri: check_uri("CRDS_REFERENCE_URI", settings.reference_uri.as_ref())?,
            config_uri: check_uri("CRDS_CONFIG_URI", settings.config_uri.as_ref())?,
        })
    }

    /// The URL of the observatory's server.
    pub(crate) fn server_url(&self, observatory: Observatory) -> Url {
        self.servers
            .get(&observatory)
            .cloned()
            .unwrap_or_else(|| default_server(observatory))
    }

    /// Whether the settings name a serverless URL, which is never asked.
    pub(crate) fn is_offline(&self, observatory: Observatory) -> bool {
        is_serverless(self.server_url(observatory).as_str())
    }

    /// The server of the observatory; its description of itself may come from other places.
    pub(crate) fn server(
        &self,
        observatory: Observatory,
        client: &HttpClient,
        origin: &Arc<dyn Origin>,
    ) -> Arc<dyn CrdsServer> {
        let server = JsonRpcServer::new(observatory, &self.server_url(observatory), client.clone());
        let server: Arc<dyn CrdsServer> = Arc::new(server);
        match self.descriptions(observatory) {
            only if only == [Description::Server] => server,
            all => Arc::new(DescribedServer::new(server, Arc::clone(origin), all)),
        }
    }

    /// The places of the description of an observatory's server, in the order in which they are asked: `CRDS_CONFIG_URI`;
    /// else the sources, with the server itself where it is among them. If it is not it goes first where the user has
    /// named it, else last.
    fn descriptions(&self, observatory: Observatory) -> Vec<Description> {
        if let Some(base) = applies(self.config_uri.as_ref(), observatory) {
            return vec![Description::At(base.below("server_config"))];
        }
        let own = self.sources.iter().filter(|source| source.is_for(observatory));
        let mut all: Vec<Description> = own
            .filter_map(|source| match &source.place {
                SourcePlace::Server => Some(Description::Server),
                place => place.config_url(observatory).map(Description::At),
            })
            .collect();
        if !all.contains(&Description::Server) {
            let first = self.named.contains(&observatory);
            all.insert(if first { 0 } else { all.len() }, Description::Server);
        }
        if self.is_offline(observatory) {
            all.retain(|one| *one != Description::Server);
        }
        all
    }

    /// Whether there is anybody to ask for the description of an observatory's server.
    pub(crate) fn is_described(&self, observatory: Observatory) -> bool {
        !self.descriptions(observatory).is_empty()
    }

    /// The number of the tier among the sources, and its place, if there is one.
    pub(crate) fn tier(&self) -> Option<(usize, &SourcePlace)> {
        let tier = self.tier.as_ref()?;
        Some((self.sources.len() + 1, &tier.place))
    }

    /// The sources of an observatory's files in the order in which they are asked, each with its number: the tier first. The
    /// URLs that the server tells come last, unless they are named, or no server is asked.
    pub(crate) fn sources(&self, observatory: Observatory) -> Vec<(usize, &SourcePlace)> {
        let numbered = self.sources.iter().enumerate();
        let mut all: Vec<_> = numbered
            .filter(|(_, source)| source.is_for(observatory))
            .map(|(number, source)| (number, &source.place))
            .collect();
        let uris = [&self.mapping_uri, &self.reference_uri];
        let has_server = !self.is_offline(observatory) || uris.into_iter().any(Option::is_some);
        if has_server && !all.iter().any(|(_, place)| **place == SourcePlace::Server) {
            all.push((self.sources.len(), &SourcePlace::Server));
        }
        self.tier().into_iter().chain(all).collect()
    }

    /// The URL of a file where the server tells, or the user in its stead (`CRDS_REFERENCE_URI`); `None` where no server is
    /// asked.
    pub(crate) fn server_file_url(&self, info: &ServerInfo, name: &FileName) -> Option<Result<Url, NoUrl>> {
        let observatory = info.observatory();
        let key = FileKey {
            observatory,
            name: name.clone(),
        };
        let is_own = self.own_url(&key).is_some();
        (is_own || !self.is_offline(observatory)).then(|| self.file_url(info, name))
    }

    /// The URL of a file: below the override if one was given, else where the server says (spec/crds-service 3.1).
    pub(crate) fn file_url(&self, info: &ServerInfo, name: &FileName) -> Result<Url, NoUrl> {
        let observatory = info.observatory();
        let key = FileKey {
            observatory,
            name: name.clone(),
        };
        if let Some(url) = self.own_url(&key) {
            return Ok(url);
        }
        let (base, what) = if name.kind().is_mapping() {
            (&info.urls().mappings, "mappings")
        } else {
            (&info.urls().references, "references")
        };
        let base = base.as_ref().ok_or(NoUrl { observatory, what })?;
        let server = self.server_url(observatory);
        let entry = info.catalog().get(name.as_str());
        let url = base.credited_by(&server).below(name.as_str());
        // A file has no host that could lead to others.
        let describer = info.server().map(Url::new).filter(is_http);
        Ok(url.told_by(Teller {
            own_host_only: entry.is_none_or(|entry| entry.sha1.is_none()),
            server: describer.unwrap_or(server),
        }))
    }

    /// The URL of a file below the override, if one was given: whatever the server says.
    pub(crate) fn own_url(&self, key: &FileKey) -> Option<Url> {
        let uri = if key.name.kind().is_mapping() {
            &self.mapping_uri
        } else {
            &self.reference_uri
        };
        Some(applies(uri.as_ref(), key.observatory)?.below(key.name.as_str()))
    }
}

/// The override, unless it names other observatories only.
fn applies(uri: Option<&Url>, observatory: Observatory) -> Option<&Url> {
    let uri = uri?;
    let named: Vec<Observatory> = named_in(uri.as_str()).collect();
    (named.is_empty() || named.contains(&observatory)).then_some(uri)
}

fn default_server(observatory: Observatory) -> Url {
    match observatory {
        Observatory::Tobs => Url::new("https://crds-serverless-mode.stsci.edu"),
        real => Url::new(&format!("https://{real}-crds.stsci.edu")),
    }
}

/// The observatories whose names are in the text: how clients decide whose server a URL is (spec/crds-service 2.3).
fn named_in(text: &str) -> impl Iterator<Item = Observatory> {
    Observatory::ALL
        .into_iter()
        .filter(move |observatory| text.contains(observatory.as_str()))
}

/// The observatory of a server: the first observatory that the URL names, else the only one there is. A serverless URL that
/// names none is for all observatories.
fn whose(url: &Url, observatories: &[Observatory]) -> Result<Vec<Observatory>, EndpointError> {
    match (named_in(url.as_str()).next(), observatories) {
        (Some(named), _) => Ok(vec![named]),
        (None, [only]) => Ok(vec![*only]),
        (None, all) if is_serverless(url.as_str()) => Ok(all.to_vec()),
        (None, _) => Err(EndpointError::WhoseServer(url.clone())),
    }
}

/// A value that was said: neither empty nor Python's `None`.
fn said(value: Option<&Url>) -> Option<&Url> {
    value.filter(|value| !matches!(value.as_str(), "" | "None" | "none" | "NONE"))
}

fn is_http(url: &Url) -> bool {
    url.parsed()
        .is_some_and(|parsed| matches!(parsed.scheme(), "http" | "https") && parsed.has_host())
}

fn check_server(url: &Url) -> Result<(), EndpointError> {
    if is_http(url) {
        Ok(())
    } else {
        Err(EndpointError::Server(url.clone()))
    }
}

fn check_uri(variable: &'static str, value: Option<&Url>) -> Result<Option<Url>, EndpointError> {
    let Some(value) = said(value) else {
        return Ok(None);
    };
    match check_directory(value) {
        Ok(()) => Ok(Some(value.clone())),
        Err(error) => Err(EndpointError::Uri { variable, error }),
    }
}

impl From<NoUrl> for RemoteError {
    fn from(error: NoUrl) -> Self {
        Self::new(super::error::RemoteErrorKind::Protocol, "", error.to_string())
    }
}

#[cfg(test)]
mod tests;
