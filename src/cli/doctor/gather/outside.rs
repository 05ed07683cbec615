//! Facts of the network and of what is behind it.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::within;
use crate::cli::client::{Packages, build};
use crate::cli::doctor::network::NetworkFacts;
use crate::cli::doctor::servers::{ServerFacts, SourceFacts};
use crate::cli::settings::{self, Environment, Settings, WrongSetting};
use crate::crds::{ContextSpec, ContextVersion, FileName, Observatory, Url};
use crate::remote::{
    Certificates, CloudSettings, CrdsServer as _, EndpointError, Endpoints, HttpClient, HttpSettings,
    JsonRpcServer, RemoteError, SourcePlace, SourceSetting, probe, proxies,
};

/// The time limits of requests.
const HTTP: HttpSettings = HttpSettings {
    connect_timeout: Duration::from_secs(4),
    stall_timeout: Duration::from_secs(4),
    call_timeout: Duration::from_secs(6),
};

/// The time for the address of a host.
const ADDRESS: Duration = Duration::from_secs(4);

/// The endpoints of the settings; variables that make no sense are left out and told.
pub(super) fn endpoints(settings: &Settings, wrong: &mut Vec<WrongSetting>) -> Endpoints {
    let mut remote = settings.remote.clone();
    loop {
        let error = match Endpoints::new(&remote, &settings.observatories) {
            Ok(endpoints) => return endpoints,
            Err(error) => error,
        };
        let by = match &error {
            EndpointError::Uri { variable, .. } => (*variable).to_owned(),
            _ if remote.server_url.is_some() => "CRDS_SERVER_URL".to_owned(),
            _ => "server".to_owned(),
        };
        match by.as_str() {
            "CRDS_MAPPING_URI" => remote.mapping_uri = None,
            "CRDS_REFERENCE_URI" => remote.reference_uri = None,
            "CRDS_CONFIG_URI" => remote.config_uri = None,
            "CRDS_SERVER_URL" => remote.server_url = None,
            _ => remote = crate::remote::Settings::default(),
        }
        wrong.push(WrongSetting {
            by,
            why: error.to_string(),
        });
    }
}

/// The facts, all at once.
pub(super) async fn gather(
    settings: &Settings,
    endpoints: &Endpoints,
    environment: &Environment,
    packages: &Packages,
) -> (NetworkFacts, Vec<ServerFacts>, Vec<SourceFacts>) {
    let client = HttpClient::new(HTTP);
    let observatories = settings.observatories.iter();
    let servers = join_all(
        observatories.map(|observatory| server(*observatory, endpoints, settings, &client, packages)),
    );
    let cloud = &settings.remote.cloud;
    let sources = join_all(sources(settings).map(|(by, url)| source(by, url, &client, cloud)));
    tokio::join!(network(environment), servers, sources)
}

async fn network(environment: &Environment) -> NetworkFacts {
    let found = proxies(|name| environment.get(name).cloned());
    let hosts = found.iter().filter_map(|proxy| proxy.url.host());
    let looked_up =
        join_all(hosts.map(|host| async move { address(&host).await.err().map(|why| (host, why)) }));
    let certificates = within(ADDRESS, Certificates::find);
    let (lost, certificates) = tokio::join!(looked_up, certificates);
    NetworkFacts {
        now: SystemTime::now(),
        proxies: found,
        lost_proxies: lost.into_iter().flatten().collect(),
        no_proxy: ["no_proxy", "NO_PROXY"]
            .iter()
            .find_map(|name| settings::variable(environment, name))
            .map(str::to_owned),
        certificates: certificates.unwrap_or_default(),
    }
}

async fn address(host: &str) -> Result<(), String> {
    let found = timeout(ADDRESS, probe::address(host)).await;
    found.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn server(
    observatory: Observatory,
    endpoints: &Endpoints,
    settings: &Settings,
    client: &HttpClient,
    packages: &Packages,
) -> ServerFacts {
    let url = endpoints.server_url(observatory);
    let is_needed = is_needed(settings, observatory);
    if settings.offline || endpoints.is_offline(observatory) {
        return ServerFacts {
            observatory,
            url,
            address: None,
            answer: None,
            build: None,
            is_needed,
        };
    }
    let server = JsonRpcServer::new(observatory, &url, client.clone());
    let looked_up = async {
        let host = url.host()?;
        let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        if is_address {
            None
        } else {
            Some(address(&host).await)
        }
    };
    let answer = probe::server(&server);
    let (address, answer, build) = tokio::join!(looked_up, answer, build_context(&server, packages));
    ServerFacts {
        observatory,
        url,
        address,
        answer: Some(answer),
        build,
        is_needed,
    }
}

/// The context of the calibration package that is installed, where the server knows it by its release.
async fn build_context(server: &JsonRpcServer, packages: &Packages) -> Option<Result<FileName, String>> {
    let observatory = server.observatory();
    let release = match observatory {
        Observatory::Jwst => packages.jwst.as_ref()?,
        Observatory::Roman => packages.romancal.as_ref()?,
        _ => return None,
    };
    let spec: ContextSpec = build(observatory, release).parse().ok()?;
    let ContextSpec::Symbolic(symbolic) = spec else {
        return None;
    };
    let ContextVersion::BuildOf(version) = symbolic.version else {
        return None;
    };
    let told = server.build_context(&version.to_string()).await;
    Some(told.map_err(|error| error.to_string()))
}

/// The places of files beside the servers, and the settings that name them.
fn sources(settings: &Settings) -> impl Iterator<Item = (String, Url)> {
    let remote = &settings.remote;
    let uris = [
        ("CRDS_CONFIG_URI", &remote.config_uri),
        ("CRDS_MAPPING_URI", &remote.mapping_uri),
        ("CRDS_REFERENCE_URI", &remote.reference_uri),
    ];
    let named = uris
        .into_iter()
        .filter_map(|(by, url)| Some((by.to_owned(), url.clone()?)));
    let sources = remote.sources.iter().filter_map(|source| {
        let url = match &source.place {
            SourcePlace::Server => return None,
            SourcePlace::Root(url) => url.clone(),
            SourcePlace::Template(url) => fixed_part(url),
        };
        Some(("--source".to_owned(), url))
    });
    let all: Vec<_> = named.chain(sources).collect();
    all.into_iter()
}

/// The directory of a template before its first field.
fn fixed_part(template: &Url) -> Url {
    let text = template.with_credentials();
    let before = text.split('{').next().unwrap_or_default();
    let end = before.rfind('/').map_or(before.len(), |slash| slash + 1);
    Url::new(before.get(..end).unwrap_or_default())
}

/// Whether nobody but the server describes an observatory.
fn is_needed(settings: &Settings, observatory: Observatory) -> bool {
    let mut sources = settings.remote.sources.iter();
    let describes =
        |source: &SourceSetting| source.is_for(observatory) && source.place.config_url(observatory).is_some();
    settings.remote.config_uri.is_none() && !sources.any(describes)
}

async fn source(by: String, url: Url, client: &HttpClient, cloud: &CloudSettings) -> SourceFacts {
    let answer: Result<Duration, RemoteError> = probe::place(&url, client, cloud).await;
    SourceFacts { by, url, answer }
}
