//! Checks of the CRDS variables, as clients and crds-fs will read them (spec/crds-service 8).

mod context;
mod others;
mod paths;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) use paths::{CENTRAL_STORE, directories, is_misspelt};

use super::check::Check;
use super::mounts::MountFacts;
use super::servers::ServerFacts;
use crate::cli::client::Packages;
use crate::cli::settings::{self, Environment, NO_SERVER, WrongSetting};
use crate::crds::{Observatory, ServerInfo};
use crate::machine::shell_word;

/// The facts.
pub(super) struct Variables<'a> {
    pub(super) environment: &'a Environment,
    /// Variables that make no sense to crds-fs.
    pub(super) wrong: &'a [WrongSetting],
    /// The things at the paths of variables.
    pub(super) places: &'a BTreeMap<String, Place>,
    pub(super) servers: &'a [ServerFacts],
    pub(super) mounts: &'a [MountFacts],
    pub(super) packages: &'a Packages,
    /// Whether the central store of the institute is there.
    pub(super) has_central_store: bool,
    /// Whether `CRDS_CONTEXT` is a file of the user's own in the cache.
    pub(super) has_own_context: bool,
}

/// The thing at a path that a variable names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing; the directory above it is there, or not.
    Nothing { above: bool },
    /// Something that is no directory.
    NoDirectory,
    /// It does not answer.
    Silence,
    /// A mount of ours, at this path.
    Mount(PathBuf),
    /// A directory.
    Directory(CacheDirectory),
}

/// A directory as a cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CacheDirectory {
    /// The observatories of which it has a `server_config`.
    pub(super) described: Vec<Observatory>,
    /// The observatories with their tag on subdirectories (spec/crds-service 4.2).
    pub(super) tags: Vec<(Observatory, String)>,
}

impl<'a> Variables<'a> {
    /// The value of a variable; `None` when it says nothing.
    fn get(&self, name: &str) -> Option<&'a str> {
        settings::variable(self.environment, name)
    }

    /// The place that a variable names.
    fn place(&self, name: &str) -> Option<&'a Place> {
        self.places.get(name)
    }

    /// The mount that `CRDS_PATH` leads to.
    fn mount(&self) -> Option<&'a Path> {
        match self.place("CRDS_PATH")? {
            Place::Mount(path) => Some(path),
            _ => None,
        }
    }

    /// Whether clients will make no calls of their own.
    fn clients_ask_nobody(&self) -> bool {
        self.get("CRDS_SERVER_URL").is_none_or(is_serverless)
    }

    /// The observatory that `CRDS_OBSERVATORY` names, if it is one.
    fn observatory(&self) -> Option<Observatory> {
        self.get("CRDS_OBSERVATORY")?.trim().parse().ok()
    }

    /// The description that a server has given.
    fn info(&self, observatory: Observatory) -> Option<&'a ServerInfo> {
        let mut servers = self.servers.iter();
        servers.find(|server| server.observatory == observatory)?.info()
    }

    /// Whether a variable was found to make no sense.
    fn is_wrong(&self, name: &str) -> bool {
        self.wrong.iter().any(|wrong| wrong.by == name)
    }

    /// The command by which a shell uses the mount of `CRDS_PATH`, or the only one there is.
    fn use_of_mount(&self) -> Option<String> {
        let only = || match self.mounts {
            [only] => Some(only.mountpoint.as_path()),
            _ => None,
        };
        let mountpoint = self.mount().or_else(only)?;
        let word = shell_word(&mountpoint.display().to_string());
        Some(format!("eval \"$(crds-fs env {word})\""))
    }
}

fn is_serverless(url: &str) -> bool {
    url == NO_SERVER || settings::is_serverless(url)
}

pub(super) fn checks(variables: &Variables<'_>) -> Vec<Check> {
    let mut checks = vec![paths::crds_path(variables)];
    checks.extend(paths::others(variables));
    checks.extend(server::server_url(variables));
    checks.extend(server::observatory(variables));
    checks.extend(context::crds_context(variables));
    checks.extend(context::package(variables));
    checks.extend(others::checks(variables));
    checks
}
