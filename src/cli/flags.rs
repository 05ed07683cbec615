//! The flags of commands that mount, as texts: [`settings`](super::settings) reads them together with the environment.

use clap::ValueHint::{DirPath, FilePath, Url as UrlHint, Username};

use super::Failure;
use super::suggestions::{BESTREFS_AS, CONTEXTS, LOG_FORMATS, OBSERVATORIES, PREFETCH, SERVERS};
use crate::crds::Url;

/// The flags of everything that mounts. Each may also be given as `CRDS_FS_<FLAG>` in the environment, or as an option of
/// `-o`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct MountFlags {
    /// Keep what is fetched in DIR, not in the mount point itself.
    #[arg(long, value_name = "DIR", value_hint = DirPath)]
    pub(super) cache: Option<String>,
    /// Mount over a directory although that hides what is in it.
    #[arg(long)]
    pub(super) over: bool,
    /// The server to ask; may be given once per observatory.
    #[arg(long, value_name = "[OBS=]URL", value_hint = UrlHint, value_parser = SERVERS, hide_possible_values = true)]
    pub(super) server: Vec<String>,
    #[command(flatten)]
    pub(super) common: CacheFlags,
    /// Write the log as lines of text, or as a JSON object a line [default: text].
    #[arg(long, value_name = "text|json", value_parser = LOG_FORMATS, hide_possible_values = true)]
    pub(super) log_format: Option<String>,
    /// Refuse all writes.
    #[arg(long)]
    pub(super) read_only: bool,
    /// Show best references as symbolic links or as files [default: link].
    #[arg(long, value_name = "link|file", value_parser = BESTREFS_AS, hide_possible_values = true)]
    pub(super) bestrefs_as: Option<String>,
    /// Extended attributes: user.crds.* of all files, and those of your own files. 'ls -l' of large directories is slower.
    #[arg(long)]
    pub(super) xattr: bool,
    /// No extended attributes, which is the default.
    #[arg(long, hide = true)]
    pub(super) no_xattr: bool,
    /// Let other users in, too.
    #[arg(long)]
    pub(super) allow_other: bool,
    /// The owner of all files but those that users make, by name or number [default: the user who mounts].
    #[arg(long, value_name = "USER", value_hint = Username)]
    pub(super) uid: Option<String>,
    /// The group of all files but those that users make, by name or number [default: that of the user who mounts].
    #[arg(long, value_name = "GROUP")]
    pub(super) gid: Option<String>,
    /// Permission bits that no file has, but those that users make, in octal [default: that of the process].
    #[arg(long, value_name = "OCTAL")]
    pub(super) umask: Option<String>,
    /// The source of the mount, as `findmnt` shows it.
    #[arg(long, hide = true)]
    pub(super) fsname: Option<String>,
    /// Passes over options of -o that are not known.
    #[arg(skip)]
    pub(super) sloppy: bool,
    /// Options as in fstab: any flag above as name or name=value, ro, rw, noexec; those for others are passed over. Several
    /// observatories are separated by colons, observatory=hst:jwst.
    #[arg(short = 'o', value_name = "OPT,...")]
    pub(super) options: Vec<String>,
}

/// The flags of everything that keeps a cache and fetches into it, mounted or served. Each may also be given as
/// `CRDS_FS_<FLAG>` in the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(super) struct CacheFlags {
    /// Fetch files from here first: the root of a cache (https://, http://, file:///, s3://, gs://, az://), or a URL with
    /// {obs}, {kind} and {name}. May be given several times, which are asked in order; 'crds', the server's own URLs, come last unless named.
    #[arg(long, value_name = "[OBS=]URL")]
    pub(super) source: Vec<String>,
    /// Look for files here before anywhere else, and write what came from elsewhere here: a directory, or the URL of one or of
    /// a bucket (s3://, gs://, az://).
    #[arg(long, value_name = "URL|DIR")]
    pub(super) tier: Option<String>,
    /// Show only these observatories [default: hst, jwst, roman].
    #[arg(long, value_name = "OBS,...", value_parser = OBSERVATORIES, hide_possible_values = true)]
    pub(super) observatory: Option<String>,
    /// The default context, instead of the server's: what 'latest' means, and what clients on the mount use.
    #[arg(long, value_name = "NAME", value_parser = CONTEXTS, hide_possible_values = true)]
    pub(super) context: Option<String>,
    /// Never use the network: only what is in the cache can be opened.
    #[arg(long)]
    pub(super) offline: bool,
    /// Use the cache together with other mounts, on this node or on others. Nothing is evicted from it by itself.
    #[arg(long)]
    pub(super) shared: bool,
    /// Keep what is learnt of a shared cache and what is half fetched, or what is learnt of a cache that cannot be written,
    /// below DIR, on a disk of this node [default: ~/.cache/crds-fs/stores].
    #[arg(long, value_name = "DIR", value_hint = DirPath)]
    pub(super) state: Option<String>,
    /// Keep the cache below this size, such as 100G [default: unlimited].
    #[arg(long, value_name = "SIZE")]
    pub(super) cache_size: Option<String>,
    /// Keep this much of the disk free [default: 1G].
    #[arg(long, value_name = "SIZE")]
    pub(super) keep_free: Option<String>,
    /// Fetch at most so many large files at a time [default: 8].
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<String>,
    /// Fetch each large file over at most so many connections, as many as help [default: 8].
    #[arg(long, value_name = "N")]
    pub(super) streams: Option<String>,
    /// Fetch the rules below a context together when it is used, or none before they are opened [default: rules].
    #[arg(long, value_name = "rules|none", value_parser = PREFETCH, hide_possible_values = true)]
    pub(super) prefetch: Option<String>,
    /// Ask for a new catalog when the present one is older [default: 10min].
    #[arg(long, value_name = "DUR")]
    pub(super) catalog_ttl: Option<String>,
    /// Believe an answer on best references for so long [default: 1h].
    #[arg(long, value_name = "DUR")]
    pub(super) bestrefs_ttl: Option<String>,
    /// Retry a transfer that makes no progress for so long [default: 30s].
    #[arg(long, value_name = "DUR")]
    pub(super) stall_timeout: Option<String>,
    /// Give up opening a file when no byte came for so long [default: 5min].
    #[arg(long, value_name = "DUR")]
    pub(super) timeout: Option<String>,
    /// Log to this file [default: standard error; in the background a file below ~/.local/state/crds-fs].
    #[arg(long, value_name = "PATH", value_hint = FilePath)]
    pub(super) log_file: Option<String>,
    /// Log more; twice, everything.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Log only problems; twice, only errors.
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "verbose")]
    pub(super) quiet: u8,
}

/// The names of all flags that take a value.
const VALUED: [&str; 22] = [
    "fsname",
    "cache",
    "state",
    "server",
    "source",
    "tier",
    "observatory",
    "context",
    "cache-size",
    "keep-free",
    "jobs",
    "streams",
    "prefetch",
    "bestrefs-as",
    "catalog-ttl",
    "bestrefs-ttl",
    "stall-timeout",
    "timeout",
    "log-format",
    "uid",
    "gid",
    "umask",
];

/// The names of all flags that are on or off.
const SWITCHES: [&str; 9] = [
    "over",
    "offline",
    "read-only",
    "shared",
    "xattr",
    "no-xattr",
    "allow-other",
    "verbose",
    "quiet",
];

/// Options that mount(8) and systemd put in fstab for themselves, and those that are the case anyway.
const OTHERS: [&str; 43] = [
    "_netdev",
    "nofail",
    "noauto",
    "auto",
    "user",
    "users",
    "nouser",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "defaults",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "async",
    "sync",
    "dirsync",
    "noatime",
    "atime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "diratime",
    "nodiratime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "nosymfollow",
    "symfollow",
    "default_permissions",
    "comment",
    "uhelper",
    "helper",
    "subtype",
    "_rnetdev",
];

impl MountFlags {
    /// The value of a flag that was given on the command line.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let value = match name {
            "fsname" => &self.fsname,
            "cache" => &self.cache,
            "state" => &self.common.state,
            "tier" => &self.common.tier,
            "observatory" => &self.common.observatory,
            "context" => &self.common.context,
            "cache-size" => &self.common.cache_size,
            "keep-free" => &self.common.keep_free,
            "jobs" => &self.common.jobs,
            "streams" => &self.common.streams,
            "prefetch" => &self.common.prefetch,
            "bestrefs-as" => &self.bestrefs_as,
            "catalog-ttl" => &self.common.catalog_ttl,
            "bestrefs-ttl" => &self.common.bestrefs_ttl,
            "stall-timeout" => &self.common.stall_timeout,
            "timeout" => &self.common.timeout,
            "uid" => &self.uid,
            "gid" => &self.gid,
            "umask" => &self.umask,
            "log-file" => &self.common.log_file,
            "log-format" => &self.log_format,
            _ => &None,
        };
        value.as_deref()
    }

    /// Whether a switch was given on the command line.
    pub(super) fn is_on(&self, name: &str) -> bool {
        match name {
            "over" => self.over,
            "offline" => self.common.offline,
            "read-only" => self.read_only,
            "shared" => self.common.shared,
            "xattr" => self.xattr,
            "no-xattr" => self.no_xattr,
            "allow-other" => self.allow_other,
            _ => false,
        }
    }

    /// The options of all `-o`, as flag names with their values (`true` for a switch without one), in order.
    pub(super) fn options(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut known = Vec::new();
        for option in self
            .options
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::trim)
        {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            let flag = name.replace('_', "-");
            match (flag.as_str(), value) {
                ("ro", None) => known.push(("read-only".into(), "true".into())),
                ("rw", None) => known.push(("read-only".into(), "false".into())),
                ("noexec", None) => known.push((flag, "true".into())),
                ("exec", None) => known.push(("noexec".into(), "false".into())),
                ("observatory", Some(value)) => add(&mut known, flag, value),
                ("log-file", Some(value)) => known.push((flag, value.into())),
                (switch, value) if SWITCHES.contains(&switch) => {
                    known.push((flag, value.unwrap_or("true").into()));
                }
                (valued, Some(value)) if VALUED.contains(&valued) => known.push((flag, value.into())),
                (valued, None) if VALUED.contains(&valued) => {
                    return Err(Failure::usage(format!(
                        "-o {name}: it needs a value, as in {name}=..."
                    )));
                }
                _ if self.sloppy
                    || option.is_empty()
                    || OTHERS.contains(&name)
                    || name.starts_with("x-")
                    || name.starts_with("X-") => {}
                _ => {
                    // It may be meant as one with a password in it.
                    let option = Url::new(option);
                    return Err(Failure::usage(format!("-o {option}: there is no such option")));
                }
            }
        }
        Ok(known)
    }
}

/// Adds to what an option said before: a list cannot be written in one, whose end is the comma.
fn add(known: &mut Vec<(String, String)>, flag: String, value: &str) {
    if let Some((_, list)) = known.iter_mut().find(|(name, _)| *name == flag) {
        list.push(':');
        list.push_str(value);
    } else {
        known.push((flag, value.into()));
    }
}
