//! The mount or the cache directory that a command works on: named by the same flags, found in the same order and opened in
//! the same way by all of them.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

pub(super) mod find;
mod open;
mod session;

use std::fs;
use std::path::{Path, PathBuf};

use super::flags::{CacheFlags, MountFlags};
use super::settings::{Environment, Settings};
use super::suggestions::SERVERS;
use super::{Failure, directories};
use crate::crds::Observatory;
use crate::store::Sharing;
pub(super) use find::STATUS;
use find::{Candidate, Found};
pub(super) use open::Opened;
pub(super) use open::answers::DatasetAnswers;
pub(super) use open::upkeep::{Aside, CopyStatus};
pub(super) use session::Session;

/// The flags that name a target.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct TargetFlags {
    /// The mount to work on, by any path in it.
    #[arg(long, value_name = "M", value_hint = clap::ValueHint::DirPath, conflicts_with = "cache")]
    pub(super) mount: Option<PathBuf>,
    /// The cache directory to work on [default: $CRDS_FS_CACHE, else the mount that the working directory is in, else
    /// $CRDS_PATH, which may be a mount or a cache directory, else the only mount there is].
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) cache: Option<PathBuf>,
    /// The server to ask, where no mount is; may be given once per observatory.
    #[arg(long, value_name = "[OBS=]URL", value_hint = clap::ValueHint::Url, value_parser = SERVERS, hide_possible_values = true)]
    pub(super) server: Vec<String>,
    /// Fetch files from here first, where no mount is, as 'crds-fs mount --source' does. May be given several times.
    #[arg(long, value_name = "[OBS=]URL")]
    pub(super) source: Vec<String>,
    /// Look for files here before anywhere else, where no mount is, as 'crds-fs mount --tier' does, and write what came from
    /// elsewhere here.
    #[arg(long, value_name = "URL|DIR")]
    pub(super) tier: Option<String>,
    /// Ask no server: what is in the cache directory has to do.
    #[arg(long)]
    pub(super) offline: bool,
    /// The cache directory is used by mounts, or other commands, at the same time.
    #[arg(long)]
    pub(super) shared: bool,
}

/// The mount or the cache directory of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A mount, by its mount point.
    Mount(PathBuf),
    /// A cache directory that nothing is mounted over.
    Cache(PathBuf),
    /// The servers alone, with a cache for the time of the command.
    Servers,
}

/// The treatment of a target that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// A cache directory is made, if only its last part is missing.
    Make,
    /// That is an error.
    Refuse,
    /// The servers alone are asked, unless a flag names what is not there.
    AskServers,
}

/// The way that led to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A flag, `CRDS_FS_CACHE`, or the working directory.
    Named,
    /// `CRDS_PATH`, beside which other variables of the Python client may count.
    ClientVariable,
    /// That there is one mount only, or none.
    Default,
}

impl Target {
    /// The target that is named by the flags, else the first of the candidates ([`find::candidates`]).
    pub(super) fn choose(
        flags: &TargetFlags,
        environment: &Environment,
        missing: Missing,
    ) -> Result<Self, Failure> {
        Ok(Self::find(flags, environment, missing)?.0)
    }

    /// The same, with what led to it. Mounts that are not named are passed over with `--server` and `--source`, since they
    /// have their own.
    pub(super) fn find(
        flags: &TargetFlags,
        environment: &Environment,
        missing: Missing,
    ) -> Result<(Self, Origin), Failure> {
        if let Some(mount) = &flags.mount {
            let found = find::over(mount).map_err(|failure| {
                Failure::new(format!(
                    "{failure}; for a cache that is not mounted say --cache {}",
                    mount.display()
                ))
            });
            return flags.allow(Self::Mount(found?), Origin::Named);
        }
        if let Some(directory) = &flags.cache {
            let found = Self::at(directory, missing)?;
            let found = found.ok_or_else(|| nothing_at(directory))?;
            return flags.allow(found, Origin::Named);
        }
        let names_servers = flags.names_places();
        for candidate in find::candidates(environment)? {
            let origin = match &candidate {
                Candidate::Variable("CRDS_PATH", _) => Origin::ClientVariable,
                Candidate::Variable(..) | Candidate::WorkingDirectory(_) => Origin::Named,
                Candidate::OnlyMount(_) => Origin::Default,
            };
            let found = match candidate {
                Candidate::WorkingDirectory(_) | Candidate::OnlyMount(_) if names_servers => None,
                Candidate::WorkingDirectory(mount) | Candidate::OnlyMount(mount) => Some(Self::Mount(mount)),
                Candidate::Variable(variable, directory) => {
                    let named_by = |failure: Failure| find::named_by(variable, &directory, &failure);
                    match Self::at(&directory, missing).map_err(named_by)? {
                        None if missing == Missing::AskServers => None,
                        None => return Err(named_by(nothing_at(&directory))),
                        Some(Self::Mount(_)) if missing == Missing::AskServers && names_servers => None,
                        found => found,
                    }
                }
            };
            if let Some(found) = found {
                return flags.allow(found, origin);
            }
        }
        if missing == Missing::AskServers {
            Ok((Self::Servers, Origin::Default))
        } else {
            Err(which(flags)?)
        }
    }

    /// Refuses a directory that holds something else than a CRDS cache, in which nothing is to be looked for or kept.
    pub(super) fn must_be_cache(&self) -> Result<(), Failure> {
        match self {
            Self::Cache(directory) => directories::must_not_be_another(directory),
            Self::Mount(_) | Self::Servers => Ok(()),
        }
    }

    /// The observatory of a mount or a directory that has the description of only one.
    pub(super) fn only_observatory(&self) -> Option<Observatory> {
        let (Self::Mount(root) | Self::Cache(root)) = self else {
            return None;
        };
        let names = fs::read_dir(root.join("config")).ok()?;
        let mut found = names.flatten().filter_map(|entry| {
            let name = entry.file_name();
            // The mode of the references is noted of observatories that were never used, too.
            let is_described = entry.path().join("server_config").is_file();
            name.to_str()?
                .parse::<Observatory>()
                .ok()
                .filter(|_| is_described)
        });
        let first = found.next();
        first.filter(|_| found.next().is_none())
    }

    /// A directory that is a mount, the store of one, or a cache that nothing is mounted over; `None` if there is none.
    fn at(directory: &Path, missing: Missing) -> Result<Option<Self>, Failure> {
        let found = match find::look(directory)? {
            None if missing == Missing::Make => find::make(directory)?,
            found => found,
        };
        Ok(found.map(|found| match found {
            Found::Mount(mount) => Self::Mount(mount),
            Found::Directory(directory) => Self::Cache(directory),
        }))
    }

    /// The settings to work on it with: those of `flags`, and of `more` that a command has of its own. A cache that is said to
    /// be shared is used so where it is, and is not made so ([`Settings::share`]).
    pub(super) fn settings(
        &self,
        flags: &TargetFlags,
        more: MountFlags,
        environment: &Environment,
    ) -> Result<Settings, Failure> {
        let mut flags = MountFlags {
            server: flags.server.clone(),
            common: CacheFlags {
                source: flags.source.clone(),
                tier: flags.tier.clone(),
                offline: flags.offline,
                shared: flags.shared,
                ..more.common
            },
            ..more
        };
        let directory = match self {
            Self::Mount(directory) | Self::Cache(directory) => directory.to_string_lossy(),
            Self::Servers => {
                // A cache that lasts as long as the command need not leave room for others.
                flags.common.keep_free = Some("0".to_owned());
                ".".into()
            }
        };
        let mut settings = Settings::new(Some(&directory), &flags, environment)?;
        if settings.sharing == Sharing::Shared {
            settings.sharing = Sharing::IfShared;
        }
        Ok(settings)
    }
}

impl TargetFlags {
    /// Whether servers or sources are named, as mounts have their own.
    fn names_places(&self) -> bool {
        !self.server.is_empty() || !self.source.is_empty()
    }

    /// Refuses flags that a mount does not heed.
    fn allow(&self, target: Target, origin: Origin) -> Result<(Target, Origin), Failure> {
        let given = [
            ("--server", !self.server.is_empty()),
            ("--source", !self.source.is_empty()),
            ("--tier", self.tier.is_some()),
            ("--offline", self.offline),
            ("--shared", self.shared),
        ];
        let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) else {
            return Ok((target, origin));
        };
        let Target::Mount(mount) = target else {
            return Ok((target, origin));
        };
        Err(Failure::usage(format!(
            "{flag} is an option of mounting, and '{}' is mounted: leave it out, or name a cache that is not mounted with \
             --cache DIR",
            mount.display()
        )))
    }
}

/// The failure that there is no directory where one was named.
fn nothing_at(directory: &Path) -> Failure {
    Failure::new(format!(
        "there is no directory '{}'; give that of a CRDS cache or of a mount",
        directory.display()
    ))
}

/// The failure that a command does not know what it is about.
fn which(flags: &TargetFlags) -> Result<Failure, Failure> {
    let mounts = find::seen()?;
    if mounts.is_empty() || flags.names_places() {
        return Ok(Failure::usage(
            "which cache is meant? Name a mount with --mount M, a directory with --cache DIR, or either in CRDS_PATH",
        ));
    }
    let places: Vec<String> = mounts
        .iter()
        .map(|entry| entry.mountpoint.display().to_string())
        .collect();
    Ok(Failure::usage(format!(
        "which of the mounts {} is meant? Name one with --mount",
        places.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &Path)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.display().to_string()))
            .collect()
    }

    fn by_cache(directory: &Path) -> TargetFlags {
        TargetFlags {
            cache: Some(directory.to_owned()),
            ..TargetFlags::default()
        }
    }

    fn find(
        flags: &TargetFlags,
        variables: &[(&str, &Path)],
        missing: Missing,
    ) -> Result<(Target, Origin), String> {
        let found = Target::find(flags, &environment(variables), missing);
        found.map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_flag_counts_more_than_a_variable_and_each_variable_more_than_the_next() {
        let above = tempfile::tempdir().unwrap();
        let above = above.path().canonicalize().unwrap();
        let (one, other) = (above.join("one"), above.join("other"));
        for directory in [&one, &other] {
            std::fs::create_dir(directory).unwrap();
        }
        let cache = |directory: &PathBuf| Target::Cache(directory.clone());
        for missing in [Missing::Make, Missing::Refuse, Missing::AskServers] {
            let by_client: [(&str, &Path); 1] = [("CRDS_PATH", &other)];
            assert_eq!(
                find(&by_cache(&one), &by_client, missing),
                Ok((cache(&one), Origin::Named))
            );
            let nothing = TargetFlags::default();
            assert_eq!(
                find(&nothing, &by_client, missing),
                Ok((cache(&other), Origin::ClientVariable))
            );
            let both: [(&str, &Path); 2] = [("CRDS_FS_CACHE", &one), ("CRDS_PATH", &other)];
            assert_eq!(find(&nothing, &both, missing), Ok((cache(&one), Origin::Named)));
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_made_refused_or_replaced_by_the_servers() {
        let above = tempfile::tempdir().unwrap();
        let new = above.path().canonicalize().unwrap().join("new");
        let variable: [(&str, &Path); 1] = [("CRDS_FS_CACHE", &new)];
        // A server that is named leaves out the mounts of this machine.
        let nothing = TargetFlags {
            server: vec!["https://hst-crds.example.org".to_owned()],
            ..TargetFlags::default()
        };
        assert_eq!(
            find(&nothing, &variable, Missing::AskServers),
            Ok((Target::Servers, Origin::Default))
        );
        for missing in [Missing::Refuse, Missing::AskServers] {
            let refused = find(&by_cache(&new), &[], missing).unwrap_err();
            assert!(refused.contains("there is no directory"), "{refused}");
        }
        let refused = find(&nothing, &variable, Missing::Refuse).unwrap_err();
        assert!(
            refused.starts_with(&format!("CRDS_FS_CACHE is {}: there is no", new.display())),
            "{refused}"
        );
        assert_eq!(
            find(&by_cache(&new), &[], Missing::Make),
            Ok((Target::Cache(new), Origin::Named))
        );
        let unmounted = TargetFlags {
            mount: Some(above.path().to_owned()),
            ..TargetFlags::default()
        };
        let refused = find(&unmounted, &[], Missing::AskServers).unwrap_err();
        assert!(refused.contains("--cache"), "{refused}");
        let nowhere = find(&nothing, &[], Missing::Refuse).unwrap_err();
        assert!(nowhere.contains("--cache DIR"), "{nowhere}");
    }
}
