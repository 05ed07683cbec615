//! The sources of files that the user names (`--source`): their syntax, and the URLs of a file at each. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::crds::{FileKey, Observatory, ReferenceLayout, Url};

#[cfg(test)]
mod tests;

/// The word for the URLs that the CRDS server tells.
const SERVER: &str = "crds";

/// The fields of a template.
const FIELDS: [&str; 3] = ["obs", "kind", "name"];

/// The value of `--source`: `SOURCE` or `OBS=SOURCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceSetting {
    /// The only observatory whose files it has, if one is named.
    pub observatory: Option<Observatory>,
    /// The place of the files.
    pub place: SourcePlace,
}

/// The place of a source's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourcePlace {
    /// The URLs that the CRDS server tells (`crds`).
    Server,
    /// Below the root of a CRDS cache, flat or by instrument.
    Root(Url),
    /// A URL with fields: `{name}`, and maybe `{obs}` and `{kind}`.
    Template(Url),
}

/// The error in the value of `--source`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    /// An unknown observatory before `=`.
    #[error("'{0}' is not an observatory (hst, jwst, roman)")]
    Observatory(String),
    /// A path.
    #[error("'{0}' is a path, not a URL: write file://{0}")]
    Path(String),
    /// No URL of a kind that can be read.
    #[error(
        "'{0}' is not the URL of a source: it must begin with https://, http://, file:///, s3://, gs:// or az://, or be \
         'crds', which means the URLs that the CRDS server tells"
    )]
    NotUrl(Url),
    /// A file URL with a host or without a path.
    #[error(
        "'{0}' names no directory of this machine: write file:///, with three slashes, and an absolute path"
    )]
    NoPath(Url),
    /// An unknown field.
    #[error("'{url}' has {{{field}}} in it, but only {{obs}}, {{kind}} and {{name}} are filled in")]
    Field {
        /// The template.
        url: Url,
        /// The text in braces.
        field: String,
    },
    /// Something in the URL of a bucket that does not belong there, or nothing.
    #[error("'{url}' is not the URL of a bucket: {remedy}")]
    Bucket {
        /// The URL.
        url: Url,
        /// The remedy.
        remedy: &'static str,
    },
    /// A template that is the same for all files.
    #[error(
        "'{0}' would be the same URL for all files: put {{name}} in it, or leave the braces out to name a cache's root"
    )]
    NoName(Url),
}

impl FromStr for SourceSetting {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        let (observatory, place) = match text.split_once('=') {
            Some((name, place)) if !name.contains([':', '/', '?', '{']) => {
                let observatory = name
                    .parse()
                    .map_err(|_| SourceError::Observatory(name.to_owned()))?;
                (Some(observatory), place)
            }
            _ => (None, text),
        };
        let place = place.parse()?;
        Ok(Self { observatory, place })
    }
}

impl FromStr for SourcePlace {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        if text == SERVER {
            return Ok(Self::Server);
        }
        if text.starts_with('/') {
            return Err(SourceError::Path(text.to_owned()));
        }
        let url = Url::new(text);
        let fields = fields(text);
        if let Some(field) = fields.iter().find(|field| !FIELDS.contains(field)) {
            let field = (*field).to_owned();
            return Err(SourceError::Field { url, field });
        }
        check(&url, &filled(&url, Observatory::Jwst, "references", "name"))?;
        if fields.is_empty() {
            Ok(Self::Root(url.without_slash()))
        } else if fields.contains(&"name") {
            Ok(Self::Template(url))
        } else {
            Err(SourceError::NoName(url))
        }
    }
}

impl SourceSetting {
    /// Whether it is asked for files of this observatory.
    pub(crate) fn is_for(&self, observatory: Observatory) -> bool {
        self.observatory.is_none_or(|named| named == observatory)
    }
}

impl SourcePlace {
    /// The URLs that a file may have there, the likelier first: those of both layouts, unless `layout` is known to be that
    /// of the references there. None for [`SourcePlace::Server`].
    pub(crate) fn file_urls(
        &self,
        key: &FileKey,
        layout: Option<ReferenceLayout>,
    ) -> Vec<(ReferenceLayout, Url)> {
        let (name, observatory) = (key.name.as_str(), key.observatory.as_str());
        let kind = key.name.kind().area();
        let root = match self {
            Self::Server => return Vec::new(),
            Self::Template(url) => {
                return vec![(ReferenceLayout::Flat, filled(url, key.observatory, kind, name))];
            }
            Self::Root(root) => root,
        };
        let directory = root.below(kind).below(observatory);
        let flat = (ReferenceLayout::Flat, directory.below(name));
        let instrument = ReferenceLayout::Instrument.instrument(key);
        let Some(instrument) = instrument.filter(|_| layout != Some(ReferenceLayout::Flat)) else {
            return vec![flat];
        };
        let by_instrument = (
            ReferenceLayout::Instrument,
            directory.below(instrument).below(name),
        );
        if layout.is_some() {
            vec![by_instrument]
        } else {
            vec![flat, by_instrument]
        }
    }

    /// The directory of this machine that it is, if it is one.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Root(url) => url.parsed()?.to_file_path().ok(),
            Self::Server | Self::Template(_) => None,
        }
    }

    /// The URL of the server's description there. None for [`SourcePlace::Server`], and for a template that does not tell
    /// kinds of files apart.
    pub(crate) fn config_url(&self, observatory: Observatory) -> Option<Url> {
        match self {
            Self::Root(root) => Some(
                root.below("config")
                    .below(observatory.as_str())
                    .below("server_config"),
            ),
            Self::Template(url) if url.with_credentials().contains("{kind}") => {
                Some(filled(url, observatory, "config", "server_config"))
            }
            Self::Server | Self::Template(_) => None,
        }
    }
}

/// As the user names it, without credentials.
impl fmt::Display for SourcePlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => out.write_str(SERVER),
            Self::Root(url) => url.fmt(out),
            // Where a URL has secrets it is written anew for showing it, and braces are escaped.
            Self::Template(url) => out.write_str(&url.as_str().replace("%7B", "{").replace("%7D", "}")),
        }
    }
}

/// The URL of a template for one file.
fn filled(template: &Url, observatory: Observatory, kind: &str, name: &str) -> Url {
    template.filled(&[("obs", observatory.as_str()), ("kind", kind), ("name", name)])
}

/// The texts in braces.
fn fields(text: &str) -> Vec<&str> {
    let opened = text.split('{').skip(1);
    opened
        .map(|rest| rest.split_once('}').map_or("", |(field, _)| field))
        .collect()
}

/// Checks a URL by what it is for one file.
fn check(url: &Url, example: &Url) -> Result<(), SourceError> {
    let not_url = || SourceError::NotUrl(url.clone());
    let parsed = example.parsed().ok_or_else(not_url)?;
    match parsed.scheme() {
        "http" | "https" if parsed.has_host() => Ok(()),
        "file" if parsed.to_file_path().is_ok() => Ok(()),
        "file" => Err(SourceError::NoPath(url.clone())),
        "s3" | "gs" | "az" => {
            let url = || url.clone();
            let has_user = !parsed.username().is_empty() || parsed.password().is_some();
            let remedy = match parsed.host_str().unwrap_or_default() {
                "" => "name one, as in s3://bucket/prefix",
                _ if has_user => {
                    "keys do not belong there; export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the like"
                }
                _ if parsed.port().is_some() || parsed.query().is_some() || parsed.fragment().is_some() => {
                    "only a bucket and a prefix belong there; export AWS_ENDPOINT_URL and AWS_REGION, or the like"
                }
                _ => return Ok(()),
            };
            Err(SourceError::Bucket { url: url(), remedy })
        }
        _ => Err(not_url()),
    }
}

/// Checks the value of a variable of the client (`CRDS_REFERENCE_URI` and the like), which says where a directory is.
pub(super) fn check_directory(url: &Url) -> Result<(), SourceError> {
    check(url, url)
}
