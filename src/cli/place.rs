//! The place where a command finds rules and what servers say of themselves: a mount, a cache directory, or the servers
//! alone.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::bestrefs::backend::{Backend, BackendDir, is_mount};
use super::bestrefs::cache_dirs::CacheDirs;
use super::bestrefs::rules::CacheRules;
use super::flags::MountFlags;
use super::settings::{Environment, variable};
use super::{Failure, output};
use crate::cache::holdings::Holdings;
use crate::crds::{ContextSpec, ContextVersion, Observatory, ServerInfo, SymbolicContext};
use crate::rules::LookupOptions;

/// The flags by which a place is named.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PlaceFlags {
    /// The cache directory [default: $CRDS_PATH; without one, only the servers are asked].
    #[arg(long, value_name = "DIR", env = "CRDS_FS_CACHE", conflicts_with = "mount")]
    cache: Option<PathBuf>,
    /// A directory where crds-fs is mounted.
    #[arg(long, value_name = "M")]
    mount: Option<PathBuf>,
    /// The server to ask, where no mount is; may be given once per observatory.
    #[arg(long, value_name = "[OBS=]URL", conflicts_with = "mount")]
    server: Vec<String>,
    /// Ask no server: what is here has to do.
    #[arg(long)]
    offline: bool,
}

/// A place, open.
pub(super) struct Place {
    /// The mount or the cache directory; nothing where only the servers are asked.
    root: Option<PathBuf>,
    is_mount: bool,
    dirs: CacheDirs,
    access: Access,
    /// The cache of a place without a directory.
    _temporary: Option<TempDir>,
}

/// The way to the files of a place.
enum Access {
    Open(Backend),
    /// Only what lies in the directory, and why.
    Files(String),
}

impl Place {
    /// Finds and opens the place. `observatory` is the only one that matters, where that is known.
    pub(super) fn open(
        flags: &PlaceFlags,
        environment: &Environment,
        observatory: Option<Observatory>,
    ) -> Result<Self, Failure> {
        if let Some(mount) = &flags.mount
            && !is_mount(mount)?
        {
            return Err(Failure::new(format!(
                "nothing is mounted at {}: give the directory of 'crds-fs mount', or --cache DIR for an ordinary cache",
                mount.display()
            )));
        }
        let root = root(flags, environment)?;
        let temporary = root.is_none().then(TempDir::new).transpose()?;
        let directory = match (&root, &temporary) {
            (Some(root), _) => root.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => return Err(Failure::new("there is no place for temporary files")),
        };
        let mount_flags = MountFlags {
            server: flags.server.clone(),
            offline: flags.offline,
            observatory: observatory.map(|observatory| observatory.as_str().to_owned()),
            prefetch: Some("none".to_owned()),
            ..MountFlags::default()
        };
        // They would change the meaning of 'latest', which is asked for here.
        let mut environment = environment.clone();
        environment.retain(|name, _| !matches!(name.as_str(), "CRDS_CONTEXT" | "CRDS_FS_CONTEXT"));
        let found = BackendDir::find(directory.clone(), mount_flags, &environment)?;
        let is_mount = matches!(found, BackendDir::Mount(_));
        let access = match Backend::open(&found) {
            Ok(backend) => Access::Open(backend),
            // Another process may use it, which does not keep anybody from reading.
            Err(failure) if root.is_some() && failure.status() != super::failure::USAGE => {
                Access::Files(failure.to_string())
            }
            Err(failure) => return Err(failure),
        };
        Ok(Self {
            root,
            is_mount,
            dirs: CacheDirs::of_cache(&directory),
            access,
            _temporary: temporary,
        })
    }

    /// The description of an observatory's server. Says on standard error if the server could not be asked for it now.
    pub(super) fn description(&self, observatory: Observatory) -> Result<Arc<ServerInfo>, Failure> {
        let (info, why) = match &self.access {
            Access::Open(backend) => backend.description(observatory).map_err(Failure::new)?,
            Access::Files(why) => {
                let info = self.dirs.server_info(observatory).map_err(Failure::new)?;
                (Arc::new(info), Some(why.clone()))
            }
        };
        if let Some(why) = why {
            let when = info
                .synced()
                .map_or_else(String::new, |when| format!(" of {when}"));
            output::remark(&format!(
                "crds-fs: this is what the {observatory} server said{when}: {why}\n"
            ));
        }
        Ok(info)
    }

    /// The mapping that a context means, which exists.
    pub(super) fn literal(&self, context: &str, observatory: Observatory) -> Result<String, Failure> {
        if let (Access::Open(backend), false) = (&self.access, self.is_mount) {
            self.description(observatory)?;
            return backend.literal(context).map_err(Failure::new);
        }
        if let (Access::Open(backend), true) = (&self.access, is_of_release(context)) {
            return backend.literal(context).map_err(|why| {
                Failure::new(format!(
                    "{why}: the server names no context for that release, or cannot be asked; 'crds-fs status' tells more"
                ))
            });
        }
        let rules = CacheRules::new(self.dirs.clone(), LookupOptions::default());
        let name = rules.literal(context).map_err(Failure::new)?;
        let info = self.description(observatory)?;
        let is_here = self.dirs.has_mapping(&name);
        if is_here || info.catalog().contains(&name) {
            return Ok(name);
        }
        let meant = if context == name {
            String::new()
        } else {
            format!("it means {name}, and ")
        };
        Err(Failure::new(format!(
            "there is no context '{context}': {meant}the {observatory} catalog does not list it"
        )))
    }

    /// The observatories that the place is about: those of a mount, else all that have a server.
    pub(super) fn observatories(&self) -> Vec<Observatory> {
        let all = [Observatory::Hst, Observatory::Jwst, Observatory::Roman];
        let is_shown = |observatory: &Observatory| {
            let config = self
                .root
                .as_ref()
                .map(|root| root.join("config").join(observatory.as_str()));
            !self.is_mount || config.is_some_and(|config| config.is_dir())
        };
        all.into_iter().filter(is_shown).collect()
    }

    /// The files that are here; none where only the servers are asked.
    pub(super) fn holdings(&self, observatory: Observatory) -> Result<Holdings, Failure> {
        match &self.root {
            Some(root) => Ok(Holdings::of(root, observatory, self.is_mount)?),
            None => Ok(Holdings::default()),
        }
    }

    /// The rules that are here, as texts. In a mount all of them are.
    pub(super) fn rules(&self) -> &CacheDirs {
        &self.dirs
    }

    /// Fetches rules; gives a message for each that cannot be had.
    pub(super) fn bring(&self, names: &[String]) -> Vec<String> {
        match &self.access {
            Access::Open(backend) => backend.bring(names),
            Access::Files(why) => vec![why.clone()],
        }
    }

    /// The end: writes down what is to be remembered.
    pub(super) fn close(self) {
        if let Access::Open(backend) = self.access {
            backend.close();
        }
    }
}

/// Whether it is the context of a release of calibration software, which only the server knows.
fn is_of_release(context: &str) -> bool {
    let release = |symbolic: &SymbolicContext| matches!(symbolic.version, ContextVersion::BuildOf(_));
    matches!(context.parse(), Ok(ContextSpec::Symbolic(symbolic)) if release(&symbolic))
}

/// The directory that is meant, if there is one.
fn root(flags: &PlaceFlags, environment: &Environment) -> Result<Option<PathBuf>, Failure> {
    if let Some(named) = flags.mount.as_ref().or(flags.cache.as_ref()) {
        if named.is_dir() {
            return Ok(Some(named.clone()));
        }
        return Err(Failure::new(format!(
            "{} is no directory: give --cache an existing CRDS cache, or leave it out to ask only the servers",
            named.display()
        )));
    }
    // A cache that is still to be made is none yet.
    let named = variable(environment, "CRDS_PATH").map(Path::new);
    Ok(named.filter(|path| path.is_dir()).map(Path::to_owned))
}

/// The observatory that a command is about where it names none: that of `CRDS_OBSERVATORY`.
pub(super) fn default_observatory(environment: &Environment) -> Option<Observatory> {
    variable(environment, "CRDS_OBSERVATORY").and_then(|name| name.trim().to_lowercase().parse().ok())
}
