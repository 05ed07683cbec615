//! Advice on catalogs that cannot be had.

use crate::crds::Observatory;
use crate::remote::{Hint, RemoteError, RemoteErrorKind};

/// The advice on a failure to get a catalog from the server at `url`.
pub(super) fn remedy(observatory: Observatory, url: &str, error: &RemoteError) -> String {
    let flag = |url: &str| format!("--server {observatory}={url}");
    let secure = url.strip_prefix("https://");
    match (&error.hint, error.kind) {
        (Some(Hint::UnknownHost), _) => format!(
            "nobody knows that host: check the network and the URL ({}); to do without, mount with --offline",
            flag("URL")
        ),
        (Some(Hint::NobodyListens), _) => format!(
            "nobody listens there: check host and port of the URL ({}), and the proxy if there is one; to do without, \
             mount with --offline",
            flag("URL")
        ),
        (Some(Hint::NotHttps), _) => match secure {
            Some(rest) => format!("no https is spoken there: try {}", flag(&format!("http://{rest}"))),
            None => format!("no https is spoken there: check the URL ({})", flag("http://...")),
        },
        (Some(Hint::NotHttp), _) => match url.strip_prefix("http://") {
            Some(rest) => format!("no plain http is spoken there: try {}", flag(&format!("https://{rest}"))),
            None => format!("no CRDS server answers there: check the URL ({})", flag("URL")),
        },
        (Some(Hint::Certificate), _) => {
            "its certificate is not trusted here: check the host name and the clock, or name its authority in SSL_CERT_FILE"
                .to_owned()
        }
        (Some(Hint::Redirect(next)), _) => {
            let text = next.as_str();
            let base = text.split_once("/json/").map_or(text, |(base, _)| base);
            format!("name the server by the URL that it redirects to: {}", flag(base))
        }
        (Some(Hint::OtherObservatory(found)), _) => format!(
            "say whose server it is (--server {found}={url}), and name the one of {observatory} ({})",
            flag("URL")
        ),
        (Some(Hint::NoService), _) => format!(
            "no CRDS server answers at this URL: check host and path ({}); http in place of https, or a login page on the \
             way, look like this too",
            flag("URL")
        ),
        (None, RemoteErrorKind::Denied) => format!(
            "give user name and password in the URL: export CRDS_FS_SERVER={observatory}=https://USER:PASSWORD@HOST/..."
        ),
        (None, RemoteErrorKind::Unreachable | RemoteErrorKind::TimedOut) => format!(
            "check the network, the URL ({}), and whether a proxy is needed (https_proxy); to do without, mount with \
             --offline",
            flag("URL")
        ),
        (None, RemoteErrorKind::Offline) => offline(observatory),
        (None, _) => "the server has trouble, and is asked again at the next access".to_owned(),
    }
}

/// The advice where no server may be asked and no catalog is stored.
pub(super) fn offline(observatory: Observatory) -> String {
    format!(
        "no catalog of {observatory} is in the cache yet: mount it once with the network, without --offline"
    )
}
