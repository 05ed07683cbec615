//! The lock file: the contexts and files that a computation used, as JSON in a stable order (design, section 6).
//!
//! Equal content gives equal text, so that the digest of the text can be the key of a cache.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalog::CatalogEntry;
use super::digest::Sha1Sum;
use super::name::{FileKey, FileName, Observatory};

/// The version of the format that is written, and the only one that is read.
const VERSION: u64 = 1;

/// The contexts and files of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LockFile {
    /// The context in force, of each observatory that one is known of.
    pub contexts: BTreeMap<Observatory, FileName>,
    /// Size and digest of each file.
    pub files: BTreeMap<FileKey, CatalogEntry>,
}

/// The reason for which a text is no lock file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LockFileError {
    /// Not JSON, or not an object of such fields.
    #[error("it is no lock file: {0}")]
    Unreadable(String),
    /// Written by another version of crds-fs.
    #[error(
        "it has version {0} of the format, and this crds-fs reads version {VERSION}: use the crds-fs that wrote it, or \
         record it anew with 'crds-fs run --record'"
    )]
    Version(String),
    /// A name, size or digest in it is none.
    #[error("{0}")]
    Field(String),
    /// One file with two contents.
    #[error("it has {0} twice, with different contents")]
    Twice(FileKey),
}

/// A file as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    observatory: String,
    name: String,
    size: Option<u64>,
    sha1: Option<String>,
}

/// Everything behind the version.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    contexts: BTreeMap<String, String>,
    files: Vec<Line>,
}

impl LockFile {
    /// Reads a lock file.
    pub(crate) fn parse(text: &str) -> Result<Self, LockFileError> {
        let unreadable = |error: serde_json::Error| LockFileError::Unreadable(error.to_string());
        let value: Value = serde_json::from_str(text).map_err(unreadable)?;
        match value.get("version") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            Some(version) => return Err(LockFileError::Version(version.to_string())),
            None => return Err(LockFileError::Unreadable("it has no \"version\"".to_owned())),
        }
        let body: Body = serde_json::from_value(value).map_err(unreadable)?;
        let mut lock = Self::default();
        for (observatory, context) in &body.contexts {
            lock.contexts.insert(read(observatory)?, read(context)?);
        }
        for line in &body.files {
            let (key, entry) = line.read()?;
            match lock.files.insert(key.clone(), entry) {
                Some(other) if other != entry => return Err(LockFileError::Twice(key)),
                _ => {}
            }
        }
        Ok(lock)
    }

    /// The text: a line for each file, sorted by observatory and name.
    pub(crate) fn to_text(&self) -> String {
        let contexts: BTreeMap<&str, &str> = self
            .contexts
            .iter()
            .map(|(observatory, context)| (observatory.as_str(), context.as_str()))
            .collect();
        let contexts = serde_json::to_string(&contexts).unwrap_or_default();
        let mut text = format!("{{\n  \"version\": {VERSION},\n  \"contexts\": {contexts},\n  \"files\": [");
        for (number, (key, entry)) in self.files.iter().enumerate() {
            let line = Line {
                observatory: key.observatory.as_str().to_owned(),
                name: key.name.as_str().to_owned(),
                size: entry.size,
                sha1: entry.sha1.map(|sha1| sha1.to_string()),
            };
            let line = serde_json::to_string(&line).unwrap_or_default();
            let comma = if number == 0 { "" } else { "," };
            // A String takes everything.
            let _ = write!(text, "{comma}\n    {line}");
        }
        text.push_str(if self.files.is_empty() {
            "]\n}\n"
        } else {
            "\n  ]\n}\n"
        });
        text
    }
}

impl Line {
    fn read(&self) -> Result<(FileKey, CatalogEntry), LockFileError> {
        let key = FileKey {
            observatory: read(&self.observatory)?,
            name: read(&self.name)?,
        };
        let sha1: Option<Sha1Sum> = self.sha1.as_deref().map(read).transpose()?;
        let size = self.size;
        Ok((key, CatalogEntry { size, sha1 }))
    }
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, LockFileError> {
    text.parse()
        .map_err(|error: T::Err| LockFileError::Field(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(observatory: Observatory, name: &str) -> FileKey {
        FileKey {
            observatory,
            name: name.parse().unwrap(),
        }
    }

    #[test]
    fn the_text_is_as_tools_read_it() {
        let lock = LockFile {
            contexts: [(Observatory::Jwst, "jwst_1322.pmap".parse().unwrap())].into(),
            files: [
                (
                    key(Observatory::Jwst, "jwst_miri_dark_0001.fits"),
                    CatalogEntry {
                        size: Some(7),
                        sha1: Some(Sha1Sum::from_bytes([0xab; 20])),
                    },
                ),
                (
                    key(Observatory::Jwst, "jwst_1322.pmap"),
                    CatalogEntry {
                        size: None,
                        sha1: None,
                    },
                ),
            ]
            .into(),
        };
        let text = lock.to_text();
        assert_eq!(
            text,
            format!(
                "{{\n  \"version\": 1,\n  \"contexts\": {{\"jwst\":\"jwst_1322.pmap\"}},\n  \"files\": [\n    \
                 {{\"observatory\":\"jwst\",\"name\":\"jwst_1322.pmap\",\"size\":null,\"sha1\":null}},\n    \
                 {{\"observatory\":\"jwst\",\"name\":\"jwst_miri_dark_0001.fits\",\"size\":7,\"sha1\":\"{}\"}}\n  ]\n}}\n",
                "ab".repeat(20)
            )
        );
        assert_eq!(LockFile::parse(&text), Ok(lock));
        let empty = LockFile::default();
        assert_eq!(LockFile::parse(&empty.to_text()), Ok(empty));
    }

    #[test]
    fn what_is_no_lock_file_is_refused_in_words() {
        for (text, reason) in [
            ("", "no lock file"),
            ("[1]", "no \"version\""),
            (r#"{"files": []}"#, "no \"version\""),
            (r#"{"version": 2, "files": 7}"#, "version 2"),
            (r#"{"version": "1", "files": []}"#, "version \"1\""),
            (r#"{"version": 1}"#, "files"),
            (
                r#"{"version": 1, "contexts": {"kepler": "x.pmap"}, "files": []}"#,
                "'kepler' is not an observatory",
            ),
            (
                r#"{"version": 1, "files": [{"observatory": "hst", "name": "../x", "size": 1, "sha1": null}]}"#,
                "'../x' is not a file name",
            ),
            (
                r#"{"version": 1, "files": [{"observatory": "hst", "name": "x", "size": 1, "sha1": "f"}]}"#,
                "'f' is not a SHA-1",
            ),
            (
                r#"{"version": 1, "files": [{"observatory": "hst", "name": "x", "size": 1, "sha1": null},
                    {"observatory": "hst", "name": "x", "size": 2, "sha1": null}]}"#,
                "hst/x twice",
            ),
        ] {
            let refused = LockFile::parse(text).unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    fn files() -> impl Strategy<Value = Vec<(FileKey, CatalogEntry)>> {
        let entry = (
            proptest::option::of(any::<u64>()),
            proptest::option::of(any::<[u8; 20]>()),
        );
        let file = (
            0..Observatory::ALL.len(),
            "[a-z0-9_]{1,12}(\\.[a-z]{1,4})?",
            entry,
        );
        proptest::collection::vec(file, 0..20).prop_map(|files| {
            let file = |(observatory, name, (size, sha1)): (usize, String, (_, Option<[u8; 20]>))| {
                let sha1 = sha1.map(Sha1Sum::from_bytes);
                (
                    key(Observatory::ALL[observatory], &name),
                    CatalogEntry { size, sha1 },
                )
            };
            files.into_iter().map(file).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_the_order_does_not_matter(mut files in files()) {
            let lock = LockFile { contexts: BTreeMap::new(), files: files.iter().cloned().collect() };
            let text = lock.to_text();
            prop_assert_eq!(LockFile::parse(&text), Ok(lock.clone()));
            // Of a name given twice the last one counts: only the order of different names is free.
            files.retain(|(key, entry)| lock.files.get(key) == Some(entry));
            files.reverse();
            let reversed = LockFile { contexts: BTreeMap::new(), files: files.into_iter().collect() };
            prop_assert_eq!(reversed.to_text(), text);
        }

        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = LockFile::parse(&text);
        }
    }
}
