//! The tier (`--tier`): a place of the user's that files are looked for in first, and written to. Its syntax.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::destination::{Destination, DirectoryDestination};
use super::http::HttpClient;
use super::object::{CloudSettings, ObjectDestination};
use super::sources::{SourceError, SourcePlace};
use crate::crds::Url;

/// The value of `--tier`: a directory, or the URL of one or of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TierSetting {
    /// The root of the files, as that of a source.
    pub place: SourcePlace,
}

/// The error in the value of `--tier`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TierError {
    /// A place that nothing can be written to.
    #[error(
        "'{0}' cannot be written to: a tier is a directory, or begins with s3://, gs:// or az://; what can only be read is \
         a source (--source)"
    )]
    ReadOnly(Url),
    /// A URL that is the same for all files, or has fields.
    #[error("'{0}' is no root: a tier has the layout of a cache, without fields in braces")]
    Template(Url),
    /// A path that means nothing here.
    #[error("'{0}' is not a directory that can be named: {1}")]
    Path(String, String),
    /// No URL.
    #[error(
        "'{0}' is not a tier: name a directory, or a URL that begins with s3://, gs://, az:// or file:///"
    )]
    NotUrl(Url),
    /// An error that a source would have as well.
    #[error(transparent)]
    Source(SourceError),
}

impl FromStr for TierSetting {
    type Err = TierError;

    fn from_str(text: &str) -> Result<Self, TierError> {
        let text = text.trim();
        if !text.contains("://") && !text.starts_with("file:") {
            return directory(text);
        }
        let url = Url::new(text);
        if matches!(url.scheme().as_deref(), Some("http" | "https")) {
            return Err(TierError::ReadOnly(url));
        }
        match text.parse() {
            Ok(place @ SourcePlace::Root(_)) => Ok(Self { place }),
            Ok(SourcePlace::Template(_) | SourcePlace::Server) | Err(SourceError::NoName(_)) => {
                Err(TierError::Template(url))
            }
            Err(SourceError::NotUrl(url)) => Err(TierError::NotUrl(url)),
            Err(error) => Err(TierError::Source(error)),
        }
    }
}

impl TierSetting {
    /// The place to write to.
    pub(crate) fn destination(&self, client: &HttpClient, cloud: &CloudSettings) -> Arc<dyn Destination> {
        match self.directory() {
            Some(root) => Arc::new(DirectoryDestination::new(root)),
            None => Arc::new(ObjectDestination::new(client.clone(), cloud.clone())),
        }
    }

    /// The directory of this machine that it is, if it is one.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        self.place.directory()
    }
}

/// The tier in a directory.
fn directory(text: &str) -> Result<TierSetting, TierError> {
    let wrong = |why: &str| TierError::Path(text.to_owned(), why.to_owned());
    let path = std::path::absolute(Path::new(text)).map_err(|error| wrong(&error.to_string()))?;
    let url = url::Url::from_file_path(&path).map_err(|()| wrong("its path cannot be written as a URL"))?;
    let root = Url::new(url.as_str()).without_slash();
    Ok(TierSetting {
        place: SourcePlace::Root(root),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_buckets() {
        for (text, shown) in [
            ("/grp/crds tier", "file:///grp/crds%20tier"),
            ("/grp/{obs}/", "file:///grp/%7Bobs%7D"),
            ("file:///grp/tier/", "file:///grp/tier"),
            ("s3://bucket/pre/fix/", "s3://bucket/pre/fix"),
            ("gs://bucket", "gs://bucket"),
            ("az://container/p", "az://container/p"),
        ] {
            let tier: TierSetting = text.parse().unwrap();
            assert_eq!(tier.place.to_string(), shown, "{text}");
        }
        let relative: TierSetting = "some/where".parse().unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(relative.directory(), Some(here.join("some/where")));
    }

    #[test]
    fn what_is_no_tier_is_refused_with_the_remedy() {
        for (text, told) in [
            ("https://mirror/crds", "--source"),
            ("s3://bucket/{name}", "without fields"),
            ("s3://bucket/{obs}", "without fields"),
            ("s3://key:secret@bucket/p", "keys do not belong there"),
            ("s3:///p", "name one"),
            ("ftp://x/y", "is not a tier"),
            ("file://host/x", "names no directory"),
            ("", "can be named"),
        ] {
            let error = text.parse::<TierSetting>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
