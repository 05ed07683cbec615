//! The environment variables by which CRDS clients use a mount.

mod in_force;
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use super::settings::NO_SERVER;
use crate::crds::{FileName, Observatory};
use crate::machine::shell_word;
pub(super) use in_force::{InForce, Job, build, dataset_files};
pub(super) use python::Packages;

/// Variables of clients that name directories beside `CRDS_PATH`.
pub(super) const DIRECTORIES: [&str; 10] = [
    "CRDS_PATH_SINGLE",
    "CRDS_MAPPATH",
    "CRDS_MAPPATH_SINGLE",
    "CRDS_REFPATH",
    "CRDS_REFPATH_SINGLE",
    "CRDS_CFGPATH",
    "CRDS_CFGPATH_SINGLE",
    "CRDS_PICKLEPATH",
    "CRDS_PICKLEPATH_SINGLE",
    "CRDS_DEFAULT_CACHE",
];

/// Variables of clients that name other places of files.
const PLACES: [&str; 6] = [
    "CRDS_CONFIG_URI",
    "CRDS_MAPPING_URI",
    "CRDS_REFERENCE_URI",
    "CRDS_PICKLE_URI",
    "CRDS_S3_ENABLED",
    "CRDS_S3_RETURN_URI",
];

/// Variables that would lead clients past the mount.
pub(super) fn misleading() -> impl Iterator<Item = &'static str> {
    DIRECTORIES.into_iter().chain(PLACES)
}

/// The variables by which clients use a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientVariables {
    /// The mount point.
    pub(super) path: PathBuf,
    /// The observatory, where it can be told.
    pub(super) observatory: Option<Observatory>,
    /// The literal context in force, where it can be told.
    pub(super) context: Option<FileName>,
}

impl ClientVariables {
    /// The variables for a mount and a choice of observatory and context.
    pub(super) fn of(mountpoint: &Path, found: &InForce) -> Self {
        Self {
            path: mountpoint.to_owned(),
            observatory: found.observatory,
            context: found.context.clone(),
        }
    }

    /// Names and values. An unknown observatory or context leaves its variable as it is.
    fn values(&self) -> Vec<(&'static str, String)> {
        let observatory = self
            .observatory
            .map(|observatory| observatory.as_str().to_owned());
        let context = self.context.as_ref().map(FileName::to_string);
        [
            ("CRDS_PATH", Some(self.path.display().to_string())),
            ("CRDS_SERVER_URL", Some(NO_SERVER.to_owned())),
            ("CRDS_OBSERVATORY", observatory),
            ("CRDS_CONTEXT", context),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Gives them to a command.
    pub(super) fn apply(&self, command: &mut Command) {
        for name in misleading() {
            command.env_remove(name);
        }
        command.envs(self.values());
        // As it is: it need not be text.
        command.env("CRDS_PATH", &self.path);
    }

    /// Lines for a shell. Misleading variables are unset if they are set.
    pub(super) fn exports(&self, is_set: impl Fn(&str) -> bool) -> String {
        let set = self.values().into_iter();
        let set = set.map(|(name, value)| format!("export {name}={}\n", shell_word(&value)));
        let unset = misleading().filter(|name| is_set(name));
        set.chain(unset.map(|name| format!("unset {name}\n"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_words_of_a_shell() {
        let variables = ClientVariables {
            path: "/home/a b/it's".into(),
            observatory: Some(Observatory::Jwst),
            context: Some("jwst_1322.pmap".parse().unwrap()),
        };
        assert_eq!(
            variables.exports(|name| name == "CRDS_MAPPATH"),
            "export CRDS_PATH='/home/a b/it'\\''s'\n\
             export CRDS_SERVER_URL=https://serverless.crds-fs.invalid\n\
             export CRDS_OBSERVATORY=jwst\n\
             export CRDS_CONTEXT=jwst_1322.pmap\n\
             unset CRDS_MAPPATH\n"
        );
    }
}
