//! The descriptions of servers and the rules for `contexts`, `context` and `diff`: from an open target, or from a directory
//! that another process has open, as it lies there.

use std::sync::Arc;

use super::cache_dirs::CacheDirs;
use super::cache_rules::CacheRules;
use super::flags::{CacheFlags, MountFlags};
use super::settings::{self, Environment};
use super::target::{Missing, Session, Target, TargetFlags};
use super::{Failure, failure, fetch, output};
use crate::cache::holdings::Holdings;
use crate::crds::{ContextSpec, ContextVersion, Observatory, ServerInfo, SymbolicContext};
use crate::rules::LookupOptions;

/// The rules of a target, and what its servers say.
pub(super) struct RuleSource {
    target: Target,
    dirs: CacheDirs,
    access: Access,
}

/// The way to the files of a target.
enum Access {
    Open(Box<Session>),
    /// Only what lies in the directory, and why.
    Files(String),
}

impl RuleSource {
    /// Finds and opens the target. `observatory` is the only one that matters, where that is known.
    pub(super) fn open(
        flags: &TargetFlags,
        environment: &Environment,
        observatory: Option<Observatory>,
    ) -> Result<Self, Failure> {
        // They would change the meaning of 'latest', which is asked for here.
        let mut environment = environment.clone();
        environment.retain(|name, _| !matches!(name.as_str(), "CRDS_CONTEXT" | "CRDS_FS_CONTEXT"));
        let target = Target::choose(flags, &environment, Missing::AskServers)?;
        let own = MountFlags {
            common: CacheFlags {
                observatory: observatory.map(|observatory| observatory.as_str().to_owned()),
                prefetch: Some("none".to_owned()),
                ..CacheFlags::default()
            },
            ..MountFlags::default()
        };
        let settings = target.settings(flags, own, &environment)?;
        let (dirs, access) = match (Session::open(&target, settings), &target) {
            (Ok(session), _) => (
                CacheDirs::of_cache(session.directory()),
                Access::Open(Box::new(session)),
            ),
            // Another process may use it, which does not keep anybody from reading.
            (Err(failure), Target::Cache(directory)) if failure.status() != failure::USAGE => {
                (CacheDirs::of_cache(directory), Access::Files(failure.to_string()))
            }
            (Err(failure), _) => return Err(failure),
        };
        Ok(Self { target, dirs, access })
    }

    /// The description of an observatory's server. Says on standard error if the server could not be asked for it now.
    pub(super) fn description(&self, observatory: Observatory) -> Result<Arc<ServerInfo>, Failure> {
        let (info, why) = match &self.access {
            Access::Open(session) => session.wait(session.target().description(observatory))?,
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
    pub(super) fn literal(&self, context: &ContextSpec, observatory: Observatory) -> Result<String, Failure> {
        match &self.access {
            Access::Open(session) if !self.is_mount() => {
                self.description(observatory)?;
                let found = session.wait(session.target().context(context))?;
                return Ok(found.name.to_string());
            }
            Access::Open(session) if is_of_release(context) => {
                let found = session.wait(session.target().context(context))?;
                return Ok(found.name.to_string());
            }
            // Answered by the rules below: 'latest' of a mount may be the default that it was mounted with.
            Access::Open(_) | Access::Files(_) => {}
        }
        let rules = CacheRules::new(self.dirs.clone(), LookupOptions::default());
        let name = rules.literal(&context.to_string()).map_err(Failure::new)?;
        let info = self.description(observatory)?;
        if self.dirs.has_mapping(&name) || info.catalog().contains(&name) {
            return Ok(name);
        }
        let meant = if context.to_string() == name {
            String::new()
        } else {
            format!("it means {name}, and ")
        };
        Err(Failure::new(format!(
            "there is no context '{context}': {meant}the {observatory} catalog does not list it"
        )))
    }

    /// The observatories that it is about: those of a mount, else all that have a server.
    pub(super) fn observatories(&self) -> Vec<Observatory> {
        match &self.access {
            Access::Open(session) if self.is_mount() => session.target().observatories().to_owned(),
            _ => vec![Observatory::Hst, Observatory::Jwst, Observatory::Roman],
        }
    }

    /// The files that are here; none where only the servers are asked.
    pub(super) fn holdings(&self, observatory: Observatory) -> Result<Holdings, Failure> {
        match &self.target {
            Target::Mount(root) => Ok(Holdings::of(root, observatory, true)?),
            Target::Cache(root) => Ok(Holdings::of(root, observatory, false)?),
            Target::Servers => Ok(Holdings::default()),
        }
    }

    /// The rules that are here, as texts. In a mount all of them are.
    pub(super) fn rules(&self) -> &CacheDirs {
        &self.dirs
    }

    /// Fetches rules; gives a message for each that cannot be had.
    pub(super) fn bring(&self, names: &[String]) -> Vec<String> {
        match &self.access {
            Access::Open(session) => {
                session.wait(fetch::bring_rules(session.target(), session.settings(), names))
            }
            Access::Files(why) => vec![why.clone()],
        }
    }

    /// The end: writes down what is to be remembered.
    pub(super) fn close(self) {
        if let Access::Open(session) = self.access {
            session.close();
        }
    }

    fn is_mount(&self) -> bool {
        matches!(self.target, Target::Mount(_))
    }
}

/// Whether it is the context of a release of calibration software, which only the server knows.
fn is_of_release(context: &ContextSpec) -> bool {
    let release = |symbolic: &SymbolicContext| matches!(symbolic.version, ContextVersion::BuildOf(_));
    matches!(context, ContextSpec::Symbolic(symbolic) if release(symbolic))
}

/// The text of a context as one of this observatory, where it names none.
pub(super) fn with_observatory(context: &ContextSpec, observatory: Observatory) -> ContextSpec {
    match context {
        ContextSpec::Symbolic(symbolic) if symbolic.observatory.is_none() => {
            ContextSpec::Symbolic(SymbolicContext {
                observatory: Some(observatory),
                ..symbolic.clone()
            })
        }
        _ => context.clone(),
    }
}

/// The observatory that a command is about where it names none: that of the environment, else the only one of the target.
pub(super) fn default_observatory(
    flags: &TargetFlags,
    environment: &Environment,
) -> Result<Option<Observatory>, Failure> {
    if let Some(named) = settings::observatory(environment) {
        return Ok(Some(named));
    }
    Ok(Target::choose(flags, environment, Missing::AskServers)?.only_observatory())
}

/// The failure that a context does not tell its observatory, and nothing else does.
pub(super) fn nameless(context: &ContextSpec) -> Failure {
    match context {
        ContextSpec::Literal(_) => Failure::usage(format!(
            "'{context}' is not a context: its name must begin with an observatory, as in hst_0001.pmap"
        )),
        ContextSpec::Symbolic(_) => Failure::usage(format!(
            "'{context}' does not say of which observatory it is: write jwst-{context}, or set CRDS_OBSERVATORY"
        )),
    }
}
