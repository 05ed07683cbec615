//! The settings, each from its flag, else `CRDS_FS_<FLAG>`, else the CRDS variables (spec/crds-service 8.1), else the
//! default: a function of the arguments and the environment, and of the names of users and groups.

mod parse;
#[cfg(test)]
mod tests;

pub(super) use parse::{duration, is_serverless, size};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use log::LevelFilter;

use super::Failure;
use super::failure::USAGE;
use super::flags::MountFlags;
use crate::crds::{ContextSpec, Observatory, Url};
use crate::remote::{self, EndpointError, Endpoints};
use crate::resolve::{Mode, Prefetch};
use crate::serve::LogFormat;
use crate::store::Sharing;
use crate::tree::{BestrefsAs, UseOfFiles};

/// The `CRDS_SERVER_URL` that crds-fs gives to clients on a mount: any that contains `serverless` means to them that they
/// make no call of their own (spec/crds-service 1.1), where without one the command line tools among them ask the
/// institute's servers. Commands of crds-fs that inherit it go on as if it were not set.
pub(super) const NO_SERVER: &str = "https://serverless.crds-fs.invalid";

/// The environment, as far as it is text.
pub(super) type Environment = BTreeMap<String, String>;

/// This process's environment.
pub(super) fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Whether a CRDS variable is true; `None` when it is not set, or says nothing.
pub(super) fn truth(environment: &Environment, variable: &str) -> Result<Option<bool>, Failure> {
    let flags = MountFlags::default();
    SettingSources {
        flags: &flags,
        options: Vec::new(),
        environment,
    }
    .truth(variable)
}

/// The value of a variable of the environment; `None` when it is empty or `None` (spec/crds-service 8.2).
pub(super) fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    let value = environment.get(name)?.as_str();
    let nothing = value.is_empty() || matches!(value, "None" | "none" | "NONE");
    (!nothing).then_some(value)
}

/// The directory in which the state directories of caches are made, when none is given: below
/// `XDG_CACHE_HOME`, else `HOME`. `None` when neither is an absolute path.
pub(super) fn default_state(environment: &Environment) -> Option<PathBuf> {
    let absolute = |name| Some(PathBuf::from(variable(environment, name)?)).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("crds-fs/stores"))
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{by}: {why}")]
pub(super) struct WrongSetting {
    /// The flag, option or variable.
    pub(super) by: String,
    /// The reason, with the value.
    pub(super) why: String,
}

/// Everything that can be set.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting")]
pub(super) struct Settings {
    pub(super) mountpoint: PathBuf,
    /// The store's directory; the mount point itself when not set.
    pub(super) cache: Option<PathBuf>,
    /// Mount over a directory although that hides what is in it.
    pub(super) over: bool,
    /// The use of the store together with others.
    pub(super) sharing: Sharing,
    /// The directory in which the state directories of shared caches, and of such as cannot be written, are made.
    pub(super) state: Option<PathBuf>,
    pub(super) remote: remote::Settings,
    pub(super) observatories: Vec<Observatory>,
    /// The context that is the default instead of the server's.
    pub(super) context: Option<ContextSpec>,
    pub(super) offline: bool,
    pub(super) read_only: bool,
    /// Let no program be run from the mount.
    pub(super) no_exec: bool,
    /// The source of the mount, instead of the server.
    pub(super) fsname: Option<String>,
    pub(super) cache_size: Option<u64>,
    pub(super) keep_free: u64,
    pub(super) jobs: usize,
    /// Connections for one large file, at most.
    pub(super) streams: usize,
    pub(super) prefetch: Prefetch,
    pub(super) bestrefs_as: BestrefsAs,
    pub(super) catalog_ttl: Duration,
    pub(super) bestrefs_ttl: Duration,
    pub(super) xattr: bool,
    pub(super) stall_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) allow_other: bool,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) umask: Option<u16>,
    pub(super) log_file: Option<PathBuf>,
    pub(super) log_level: LevelFilter,
    pub(super) log_format: LogFormat,
    pub(super) checksums: bool,
    pub(super) lengths: bool,
    pub(super) allow_bad_references: bool,
    pub(super) allow_bad_rules: bool,
    pub(super) ignore_mapping_checksum: bool,
    pub(super) mode: Mode,
    /// The treatment of files that are opened.
    pub(super) use_of_files: UseOfFiles,
}

impl Settings {
    /// Reads all settings from their sources. `mountpoint` is the command's own argument; without it `CRDS_PATH` is.
    /// The failure names the setting that makes no sense, and its source.
    pub(super) fn new(
        mountpoint: Option<&str>,
        flags: &MountFlags,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let sources = SettingSources {
            flags,
            options: flags.options()?,
            environment,
        };
        let mountpoint = mountpoint
            .or_else(|| sources.variable("CRDS_PATH"))
            .ok_or_else(|| Failure::usage("where to mount? Name a directory, or set CRDS_PATH to one"))?;
        let remote = sources.remote()?;
        let observatories = sources.observatories()?;
        let server_url = remote.server_url.as_ref();
        let serverless = server_url.is_some_and(|url| parse::is_serverless(url.as_str()));
        // Without a server there may be other places.
        let is_alone = serverless && !remote.names_places();
        let shared = sources.is_on("shared", &[])?;
        Ok(Self {
            mountpoint: mountpoint.into(),
            cache: sources.get("cache", &[], parse::text)?.map(PathBuf::from),
            over: sources.is_on("over", &[])?,
            sharing: if shared { Sharing::Shared } else { Sharing::Alone },
            state: sources
                .get("state", &[], parse::text)?
                .map(PathBuf::from)
                .or_else(|| default_state(environment)),
            context: sources.context(&observatories)?,
            observatories,
            offline: sources.switch("offline", &[])?.unwrap_or(is_alone),
            read_only: sources.is_on("read-only", &["CRDS_READONLY_CACHE"])?,
            no_exec: sources.is_on("noexec", &[])?,
            fsname: sources.get("fsname", &[], parse::text)?,
            cache_size: sources.cache_size(shared)?,
            keep_free: sources.get("keep-free", &[], parse::size)?.unwrap_or(1 << 30),
            jobs: sources.get("jobs", &[], parse::jobs)?.unwrap_or(8),
            streams: sources.get("streams", &[], parse::streams)?.unwrap_or(8),
            prefetch: sources.prefetch()?,
            bestrefs_as: sources
                .get("bestrefs-as", &[], parse::bestrefs_as)?
                .unwrap_or(BestrefsAs::Link),
            catalog_ttl: sources.duration("catalog-ttl", 10 * 60)?,
            bestrefs_ttl: sources.duration("bestrefs-ttl", 60 * 60)?,
            xattr: sources.is_on("xattr", &[])? && !sources.is_on("no-xattr", &[])?,
            stall_timeout: sources.time_limit("stall-timeout", 30)?,
            timeout: sources.time_limit("timeout", 5 * 60)?,
            allow_other: sources.is_on("allow-other", &[])?,
            uid: sources.get("uid", &[], parse::user)?,
            gid: sources.get("gid", &[], parse::group)?,
            umask: sources.get("umask", &[], parse::umask)?,
            log_file: sources.get("log-file", &[], parse::text)?.map(PathBuf::from),
            log_level: sources.log_level()?,
            log_format: sources
                .get("log-format", &[], parse::log_format)?
                .unwrap_or_default(),
            checksums: sources.truth("CRDS_DOWNLOAD_CHECKSUMS")?.unwrap_or(true),
            lengths: sources.truth("CRDS_DOWNLOAD_LENGTHS")?.unwrap_or(true),
            allow_bad_references: sources.truth("CRDS_ALLOW_BAD_REFERENCES")?.unwrap_or(false),
            allow_bad_rules: sources.truth("CRDS_ALLOW_BAD_RULES")?.unwrap_or(false),
            ignore_mapping_checksum: sources.truth("CRDS_IGNORE_MAPPING_CHECKSUM")?.unwrap_or(false),
            mode: sources
                .get_variable("CRDS_MODE", parse::from_str)?
                .unwrap_or_default(),
            use_of_files: UseOfFiles::Free,
            remote,
        })
    }
}

impl Settings {
    /// For a command that brings files in: a cache that is said to be shared is so from then on.
    pub(super) fn share(&mut self) {
        if self.sharing == Sharing::IfShared {
            self.sharing = Sharing::Shared;
        }
    }

    /// Refuses URLs that make no sense together, or as places of files, before a process of its own is made of them.
    pub(super) fn check_places(&self) -> Result<(), Failure> {
        Endpoints::new(&self.remote, &self.observatories)
            .map(|_| ())
            .map_err(|error| match (&error, &self.remote.server_url) {
                (EndpointError::Uri { .. }, _) | (_, None) => Failure::usage(error.to_string()),
                (_, Some(_)) => Failure::usage(format!("CRDS_SERVER_URL: {error}")),
            })
    }

    /// Reads all settings as [`Settings::new`] does, but goes on without the variables that make no sense, and gives those.
    pub(super) fn tolerant(
        mountpoint: &str,
        flags: &MountFlags,
        environment: &Environment,
    ) -> Result<(Self, Vec<WrongSetting>), Failure> {
        let mut rest = environment.clone();
        let mut wrong = Vec::new();
        loop {
            let failure = match Self::new(Some(mountpoint), flags, &rest) {
                Ok(settings) => return Ok((settings, wrong)),
                Err(failure) => failure,
            };
            match failure.error().downcast_ref::<WrongSetting>() {
                Some(setting) if rest.remove(&setting.by).is_some() => wrong.push(setting.clone()),
                _ => return Err(failure),
            }
        }
    }
}

/// The sources of settings, the strongest first.
struct SettingSources<'a> {
    flags: &'a MountFlags,
    options: Vec<(String, String)>,
    environment: &'a Environment,
}

impl SettingSources<'_> {
    fn variable(&self, name: &str) -> Option<&str> {
        variable(self.environment, name)
    }

    /// The value of a setting, with the name of its source: the flag, else the last `-o`, else the environment.
    fn find(&self, name: &str, variables: &[&str]) -> Option<(String, &str)> {
        if let Some(value) = self.flags.value(name) {
            return Some((format!("--{name}"), value));
        }
        if let Some((_, value)) = self.options.iter().rev().find(|(option, _)| option == name) {
            return Some((format!("-o {name}"), value));
        }
        let own = own_variable(name);
        std::iter::once(own.as_str())
            .chain(variables.iter().copied())
            .find_map(|variable| Some((variable.to_owned(), self.variable(variable)?)))
    }

    fn get<T>(
        &self,
        name: &str,
        variables: &[&str],
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        self.find(name, variables)
            .map(|(by, value)| parse_setting(&by, value, parse))
            .transpose()
    }

    fn get_variable<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        self.variable(name)
            .map(|value| parse_setting(name, value, parse))
            .transpose()
    }

    fn truth(&self, variable: &str) -> Result<Option<bool>, Failure> {
        self.get_variable(variable, parse::truth)
    }

    fn switch(&self, name: &str, variables: &[&str]) -> Result<Option<bool>, Failure> {
        if self.flags.is_on(name) {
            return Ok(Some(true));
        }
        self.get(name, variables, parse::truth)
    }

    /// Whether something that is off by default is on.
    fn is_on(&self, name: &str, variables: &[&str]) -> Result<bool, Failure> {
        Ok(self.switch(name, variables)?.unwrap_or(false))
    }

    fn duration(&self, name: &str, default: u64) -> Result<Duration, Failure> {
        Ok(self
            .get(name, &[], parse::duration)?
            .unwrap_or(Duration::from_secs(default)))
    }

    fn time_limit(&self, name: &str, default: u64) -> Result<Duration, Failure> {
        let limit = self.get(name, &[], parse::time_limit)?;
        Ok(limit.unwrap_or(Duration::from_secs(default)))
    }

    /// The files that are fetched beforehand. Unlike in other variables, "none" is a value here.
    fn prefetch(&self) -> Result<Prefetch, Failure> {
        if let Some(prefetch) = self.get("prefetch", &[], parse::from_str)? {
            return Ok(prefetch);
        }
        let own = self.environment.get(&own_variable("prefetch"));
        Ok(match own.map(String::as_str) {
            Some("none") => Prefetch::Nothing,
            _ => Prefetch::Rules,
        })
    }

    fn observatories(&self) -> Result<Vec<Observatory>, Failure> {
        let listed = self.get("observatory", &["CRDS_OBSERVATORY"], parse::observatories)?;
        Ok(listed.unwrap_or_else(|| vec![Observatory::Hst, Observatory::Jwst, Observatory::Roman]))
    }

    /// The default context, which must be one of an observatory that is shown.
    fn context(&self, observatories: &[Observatory]) -> Result<Option<ContextSpec>, Failure> {
        self.get("context", &["CRDS_CONTEXT"], |text| {
            let spec = parse::context(text)?;
            let shown: Vec<&str> = observatories.iter().map(|shown| shown.as_str()).collect();
            let shown = shown.join(",");
            match spec.observatory() {
                Some(whose) if !observatories.contains(&whose) => Err(format!(
                    "'{spec}' is a context of {whose}, but only {shown} is shown: add {whose} to --observatory, name a \
                     context of {shown}, or none"
                )),
                None if matches!(spec, ContextSpec::Literal(_)) => Err(format!(
                    "'{spec}' begins with no observatory, so it is no context: name one such as jwst_1322.pmap or \
                     jwst-latest"
                )),
                _ => Ok(spec),
            }
        })
    }

    /// The values of a setting that may be given several times, each with the name of its source: those of the flags, else
    /// of `-o`, else of the environment, where commas or blanks are between them.
    fn list<'a>(&'a self, name: &str, flags: &'a [String]) -> Vec<(String, &'a str)> {
        if !flags.is_empty() {
            return flags
                .iter()
                .map(|value| (format!("--{name}"), value.as_str()))
                .collect();
        }
        let options = self.options.iter().filter(|(option, _)| option == name);
        let given: Vec<_> = options
            .map(|(_, value)| (format!("-o {name}"), value.as_str()))
            .collect();
        if !given.is_empty() {
            return given;
        }
        let own = own_variable(name);
        let values = self.variable(&own).into_iter();
        values
            .flat_map(|list| list.split(|letter: char| letter == ',' || letter.is_whitespace()))
            .filter(|value| !value.is_empty())
            .map(|value| (own.clone(), value))
            .collect()
    }

    fn remote(&self) -> Result<remote::Settings, Failure> {
        let servers: Vec<remote::ServerSetting> = self
            .list("server", &self.flags.server)
            .into_iter()
            .map(|(by, url)| parse_setting(&by, url, parse::server))
            .collect::<Result<_, _>>()?;
        let sources = self
            .list("source", &self.flags.common.source)
            .into_iter()
            .map(|(by, url)| parse_setting(&by, url, parse::source))
            .collect::<Result<_, _>>()?;
        let text = |name| {
            let said = self.variable(name).filter(|said| *said != NO_SERVER);
            said.map(Url::new)
        };
        Ok(remote::Settings {
            // A server of crds-fs's own settings takes precedence over the clients', which may be "serverless".
            server_url: if servers.is_empty() {
                text("CRDS_SERVER_URL")
            } else {
                None
            },
            servers,
            sources,
            tier: self.get("tier", &[], parse::tier)?,
            cloud: self.environment.clone().into_iter().collect(),
            mapping_uri: text("CRDS_MAPPING_URI"),
            reference_uri: text("CRDS_REFERENCE_URI"),
            config_uri: text("CRDS_CONFIG_URI"),
        })
    }

    /// The size of the cache; a shared one has none.
    fn cache_size(&self, shared: bool) -> Result<Option<u64>, Failure> {
        self.get("cache-size", &[], |text| {
            let size = parse::cache_size(text)?;
            if shared {
                let why = "nothing is evicted from a shared cache by itself, since other nodes may have any file open: leave it \
                           out with --shared, and let whoever looks after the cache run 'crds-fs evict' (--to SIZE)";
                return Err(why.to_owned());
            }
            Ok(size)
        })
    }

    /// The number of times that a switch which may be given twice is given outside of the command line.
    fn times(&self, name: &str) -> Result<u8, Failure> {
        Ok(self.get(name, &[], parse::times)?.unwrap_or(0))
    }

    fn log_level(&self) -> Result<LevelFilter, Failure> {
        let talkative = self
            .get_variable("CRDS_VERBOSITY", parse::from_str::<i64>)?
            .is_some_and(|level| level >= 50);
        let given = (self.flags.common.quiet, self.flags.common.verbose);
        let given = match given {
            (0, 0) => (self.times("quiet")?, self.times("verbose")?),
            given => given,
        };
        Ok(match given {
            (0, 0) if talkative => LevelFilter::Debug,
            (0, 0) => LevelFilter::Info,
            (0, 1) => LevelFilter::Debug,
            (0, _) => LevelFilter::Trace,
            (1, _) => LevelFilter::Warn,
            _ => LevelFilter::Error,
        })
    }
}

/// Whether `CRDS_FS_FOREGROUND` asks for the foreground.
pub(super) fn foreground(environment: &Environment) -> Result<bool, Failure> {
    Ok(truth(environment, &own_variable("foreground"))?.unwrap_or(false))
}

/// The observatory that a command is about where nothing else tells it: the only one of `CRDS_FS_OBSERVATORY`, else that
/// of `CRDS_OBSERVATORY`.
pub(super) fn observatory(environment: &Environment) -> Option<Observatory> {
    let own = own_variable("observatory");
    let named = variable(environment, &own).or_else(|| variable(environment, "CRDS_OBSERVATORY"))?;
    match *parse::observatories(&named.to_lowercase()).ok()? {
        [only] => Some(only),
        _ => None,
    }
}

/// Says after an error of usage that the value comes from a variable, if it does.
pub(super) fn tell_variable(error: &clap::Error) {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    let flag = argument.split([' ', '=']).next().unwrap_or_default();
    let Some(name) = flag.strip_prefix("--") else {
        return;
    };
    let variable = own_variable(name);
    let is_given = std::env::args().any(|argument| argument.split('=').next() == Some(flag));
    if !is_given && std::env::var_os(&variable).is_some() {
        super::output::remark(&format!("\nthe value is that of {variable}\n"));
    }
}

fn own_variable(flag: &str) -> String {
    format!("CRDS_FS_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

fn parse_setting<T>(
    by: &str,
    value: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    parse(value).map_err(|why| {
        let by = by.to_owned();
        Failure::from(WrongSetting { by, why }).with_status(USAGE)
    })
}
