//! The directories of a CRDS cache that hold rules and configuration (spec/crds-rules 2).

use std::io;
use std::path::{Path, PathBuf};

use super::settings::Environment;
use crate::crds::{Observatory, ServerInfo};
use crate::dataset::{open_regular, read_text};
use crate::rules::{LoadError, LoadErrorKind, MAX_TEXT_BYTES, Texts};

/// No server description is larger, in bytes.
const MAX_SERVER_CONFIG: u64 = 64 << 20;

/// The directories of the rules and of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheDirs {
    mappings: AreaDir,
    config: AreaDir,
}

/// The directory of one area of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AreaDir {
    /// It holds the files of all observatories.
    Flat(PathBuf),
    /// It holds a directory for each observatory.
    ByObservatory(PathBuf),
}

impl CacheDirs {
    /// Those below a cache directory.
    pub(super) fn of_cache(root: &Path) -> Self {
        Self {
            mappings: AreaDir::ByObservatory(root.join("mappings")),
            config: AreaDir::ByObservatory(root.join("config")),
        }
    }

    /// Whether any variable of the Python client but `CRDS_PATH` names them.
    pub(super) fn are_named(environment: &Environment) -> bool {
        let single = ["CRDS_MAPPATH_SINGLE", "CRDS_CFGPATH_SINGLE", "CRDS_PATH_SINGLE"];
        let mut names = single.iter().chain(&["CRDS_MAPPATH", "CRDS_CFGPATH"]);
        names.any(|name| path(environment, name).is_some())
    }

    /// Those that the Python client would use.
    pub(super) fn of_environment(environment: &Environment) -> Self {
        let area = |variable: &str, part: &str| {
            let path = |name: &str| path(environment, name);
            path(&format!("{variable}_SINGLE"))
                .map(AreaDir::Flat)
                .or_else(|| path(variable).map(AreaDir::ByObservatory))
                .or_else(|| path("CRDS_PATH_SINGLE").map(|root| AreaDir::Flat(root.join(part))))
                .or_else(|| path("CRDS_PATH").map(|root| AreaDir::ByObservatory(root.join(part))))
                .unwrap_or_else(|| {
                    let root = path("CRDS_DEFAULT_CACHE").unwrap_or_else(|| PathBuf::from("/grp/crds/cache"));
                    AreaDir::ByObservatory(root.join(part))
                })
        };
        Self {
            mappings: area("CRDS_MAPPATH", "mappings"),
            config: area("CRDS_CFGPATH", "config"),
        }
    }

    /// Refuses directories in which there are no rules.
    pub(super) fn check(&self) -> Result<(), String> {
        let directory = self.mappings.path();
        if directory.is_dir() {
            return Ok(());
        }
        Err(format!(
            "there are no rules: {} is no directory; name a CRDS cache with --cache DIR, a mount with --mount M, or either \
             in CRDS_PATH",
            directory.display()
        ))
    }

    /// Whether a mapping is there.
    pub(super) fn has_mapping(&self, name: &str) -> bool {
        self.mappings.file(observatory_of(name), name).is_file()
    }

    /// The description of an observatory's server.
    pub(super) fn server_info(&self, observatory: Observatory) -> Result<ServerInfo, String> {
        let path = self.config.file(observatory.as_str(), "server_config");
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = open_regular(&path).and_then(|file| read_text(&file, MAX_SERVER_CONFIG));
        let text = text.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "{} is not there, and so neither is the default context of {observatory}: name a context, as in {observatory}_0001.pmap",
                path.display()
            ),
            _ => failed(&error),
        })?;
        ServerInfo::from_literal(&text).map_err(|error| failed(&error))
    }
}

/// The directory that a variable names; `None` where it is unset, or says that there is none.
fn path(environment: &Environment, name: &str) -> Option<PathBuf> {
    let value = environment.get(name)?.trim_end_matches('/');
    let is_unset = value.is_empty() || value.eq_ignore_ascii_case("none");
    (!is_unset).then(|| PathBuf::from(value))
}

impl AreaDir {
    fn path(&self) -> &Path {
        match self {
            Self::Flat(directory) | Self::ByObservatory(directory) => directory,
        }
    }

    fn file(&self, observatory: &str, name: &str) -> PathBuf {
        match self {
            Self::Flat(directory) => directory.join(name),
            Self::ByObservatory(root) => root.join(observatory).join(name),
        }
    }
}

/// Mappings by their names, or by their paths.
impl Texts for CacheDirs {
    type Version = ();

    fn text(&self, name: &str) -> Result<String, LoadError> {
        let path = if name.contains('/') {
            PathBuf::from(name)
        } else {
            self.mappings.file(observatory_of(name), name)
        };
        let text = open_regular(&path).and_then(|file| read_text(&file, MAX_TEXT_BYTES));
        text.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => LoadErrorKind::Absent,
                _ => LoadErrorKind::Mapping,
            };
            let path = path.display();
            let why = if is_of_transfer(&error) {
                format!("; 'crds-fs status {path}' tells why")
            } else {
                String::new()
            };
            LoadError::new(kind, format!("Can't load file {name} : {path}: {error}{why}"))
        })
    }
}

/// Whether an open of a file in a mount failed since the file could not be fetched.
fn is_of_transfer(error: &io::Error) -> bool {
    let numbers = [
        libc::ENETDOWN,
        libc::EHOSTUNREACH,
        libc::ETIMEDOUT,
        libc::EREMOTEIO,
        libc::ENODATA,
        libc::EBADMSG,
    ];
    error
        .raw_os_error()
        .is_some_and(|number| numbers.contains(&number))
}

/// The observatory in the name of a mapping: its base name up to the first `_`, then up to the first `.`.
pub(super) fn observatory_of(name: &str) -> &str {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.split(['_', '.']).next().unwrap_or(base)
}
