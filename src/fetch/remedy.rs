//! Advice on catalogs and files that cannot be had.

use super::error::{FetchError, FetchErrorKind};
use crate::crds::Observatory;
use crate::remote::{Hint, RemoteError, RemoteErrorKind};
use crate::store::StoreError;

const CERTIFICATE: &str = "its certificate is not trusted here: check the host name and the clock, or name its authority in SSL_CERT_FILE";

const BEHIND: &str =
    "the server gives what it has itself; its way to the next one is for whoever keeps it to mend";

/// The advice on a failure to get a catalog from the server at `url`.
pub(crate) fn remedy(observatory: Observatory, url: &str, error: &RemoteError) -> String {
    let flag = |url: &str| format!("--server {observatory}={url}");
    let secure = url.strip_prefix("https://");
    let mended = server_setting(observatory, url, error)
        .map_or_else(String::new, |setting| format!(" --server {setting}"));
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
            Some(_) => format!("no https is spoken there: try{mended}"),
            None => format!("no https is spoken there: check the URL ({})", flag("http://...")),
        },
        (Some(Hint::NotHttp), _) => match url.strip_prefix("http://") {
            Some(_) => format!("no plain http is spoken there: try{mended}"),
            None => format!("no CRDS server answers there: check the URL ({})", flag("URL")),
        },
        (Some(Hint::Certificate), _) => CERTIFICATE.to_owned(),
        (Some(Hint::Redirect(_)), _) => format!("name the server by the URL that it redirects to:{mended}"),
        (Some(Hint::OtherObservatory(_)), _) => format!(
            "say whose server it is ({}), and name the one of {observatory} ({})",
            mended.trim_start(),
            flag("URL")
        ),
        (Some(Hint::NoBucket | Hint::Credentials), _) => {
            "check the URL of the source (--source), and the variables by which its store is told who asks (AWS_* and the like)"
                .to_owned()
        }
        (Some(Hint::Behind), _) => BEHIND.to_owned(),
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

/// The value of `--server` that mends a failure, where it can be told.
pub(crate) fn server_setting(observatory: Observatory, url: &str, error: &RemoteError) -> Option<String> {
    let mended = match error.hint.as_ref()? {
        Hint::NotHttps => format!("http://{}", url.strip_prefix("https://")?),
        Hint::NotHttp => format!("https://{}", url.strip_prefix("http://")?),
        Hint::Redirect(next) => {
            let text = next.as_str();
            text.split_once("/json/")
                .map_or(text, |(base, _)| base)
                .to_owned()
        }
        Hint::OtherObservatory(found) => return Some(format!("{found}={url}")),
        Hint::UnknownHost
        | Hint::NobodyListens
        | Hint::Certificate
        | Hint::NoService
        | Hint::Behind
        | Hint::NoBucket
        | Hint::Credentials => return None,
    };
    Some(format!("{observatory}={mended}"))
}

/// The advice where no server may be asked and no catalog is stored.
pub(super) fn offline(observatory: Observatory) -> String {
    format!(
        "no catalog of {observatory} is in the cache yet: mount it once with the network, without --offline"
    )
}

impl FetchError {
    /// The remedy: its own, else what helps against failures of this kind.
    pub(crate) fn advice(&self) -> Option<String> {
        let general = || of_file(self.kind, self.hint.as_ref(), self.source.as_deref());
        self.remedy.clone().or_else(|| general().map(str::to_owned))
    }
}

/// The advice on a failure to get a file; `None` where nothing helps, or the reason says it all.
fn of_file(kind: FetchErrorKind, hint: Option<&Hint>, store: Option<&StoreError>) -> Option<&'static str> {
    Some(match (kind, hint) {
        (_, Some(Hint::Certificate)) => CERTIFICATE,
        (_, Some(Hint::Behind)) => BEHIND,
        (FetchErrorKind::Unreachable, Some(Hint::UnknownHost)) => {
            "nobody knows that host: check the network and the URL; it is asked again at the next open"
        }
        (FetchErrorKind::Unreachable, Some(Hint::NobodyListens)) => {
            "nobody listens there: check host and port of the URL, and the proxy if there is one"
        }
        (FetchErrorKind::Unreachable | FetchErrorKind::TimedOut, _) => {
            "check the network, and whether a proxy is needed (https_proxy); it is asked again at the next open"
        }
        (FetchErrorKind::Offline, _) => {
            "fetch it while there is a network ('crds-fs fetch NAME'), or mount without --offline"
        }
        (FetchErrorKind::Denied, _) => {
            "give user name and password in the URL: export CRDS_FS_SERVER=OBS=https://USER:PASSWORD@HOST/..."
        }
        (FetchErrorKind::Gone, _) => {
            "the catalog names the file, but its server does not have it: tell those who run the server"
        }
        (FetchErrorKind::ServerTrouble, _) => "the server has trouble, and is asked again at the next open",
        (FetchErrorKind::Corrupt, _) if store.is_some() => {
            "the cache cannot be written: whoever keeps it can mend the copy with 'crds-fs verify --repair'"
        }
        (FetchErrorKind::Corrupt, _) => {
            "if that lasts, look for a proxy that changes files on their way, else tell those who run the server"
        }
        (FetchErrorKind::NoSpace, _) => {
            "make room with 'crds-fs evict', release what is held, or mount with a larger --cache-size or a smaller \
             --keep-free"
        }
        (FetchErrorKind::Store, _) => {
            "check the disk that the cache is on, and the rights to the cache's directory"
        }
        (FetchErrorKind::NotInCatalog | FetchErrorKind::ShuttingDown, _) => return None,
    })
}

/// The advice on a request to a server that has failed, other than for a catalog.
pub(crate) fn of_request(error: &RemoteError) -> Option<&'static str> {
    of_file(error.kind.into(), error.hint.as_ref(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_that_somebody_can_mend_has_advice() {
        for kind in FetchErrorKind::ALL {
            let nothing_helps = matches!(kind, FetchErrorKind::NotInCatalog | FetchErrorKind::ShuttingDown);
            assert_eq!(of_file(kind, None, None).is_none(), nothing_helps, "{kind:?}");
        }
        let certificate = of_file(FetchErrorKind::Unreachable, Some(&Hint::Certificate), None);
        assert!(certificate.is_some_and(|advice| advice.contains("SSL_CERT_FILE")));
    }
}
