//! This machine, as far as advice depends on it: the package manager, the rights of whoever asks, and shells.

use std::fmt;
use std::path::Path;

use rustix::process::geteuid;

/// The cause of a failure that lies in this machine or its settings, and the command that mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    /// The cause, for people.
    pub cause: String,
    /// The command, as typed into a shell; `None` where no command helps.
    pub command: Option<String>,
}

impl Advice {
    /// A cause and the command that mends it.
    pub(crate) fn new(cause: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            command: Some(command.into()),
        }
    }

    /// A cause that no command mends.
    pub(crate) fn cause(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            command: None,
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.cause)?;
        match &self.command {
            Some(command) => write!(out, ": run '{command}'"),
            None => Ok(()),
        }
    }
}

/// The command that starts a container in which mounts are possible.
pub(crate) const CONTAINER_WITH_FUSE: &str =
    "docker run --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined IMAGE";

/// The command for an administrator: with `sudo`, except for root.
pub(crate) fn as_root(command: &str) -> String {
    if geteuid().is_root() {
        command.to_owned()
    } else {
        format!("sudo {command}")
    }
}

/// The advice to install a package that is missing, with the command of this distribution if that is known.
pub(crate) fn install(cause: &str, package: &str) -> Advice {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    Advice {
        cause: format!("{cause}: the package {package} is missing"),
        command: installer(&release).map(|installer| as_root(&format!("{installer} {package}"))),
    }
}

/// The command that installs a package, by os-release(5).
fn installer(release: &str) -> Option<&'static str> {
    let values = release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
    let mut names = values.flat_map(|value| value.trim_matches(['"', '\'']).split(' '));
    names.find_map(|name| match name {
        "debian" | "ubuntu" => Some("apt-get install"),
        "fedora" | "rhel" | "centos" => Some("dnf install"),
        "suse" | "opensuse" => Some("zypper install"),
        "arch" => Some("pacman -S"),
        "alpine" => Some("apk add"),
        _ => None,
    })
}

/// Whether this is a container of Docker, Podman or Kubernetes.
pub(crate) fn is_container() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        || ["/.dockerenv", "/run/.containerenv"]
            .iter()
            .any(|mark| Path::new(mark).exists())
}

/// A text as one word of a POSIX shell.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:-+,@%=".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_installed_as_the_distribution_does() {
        for (release, command) in [
            ("NAME=x\nID=debian\n", Some("apt-get install")),
            ("ID=pop\nID_LIKE=\"ubuntu debian\"\n", Some("apt-get install")),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Some("dnf install"),
            ),
            ("ID=gentoo\n", None),
            ("", None),
        ] {
            assert_eq!(installer(release), command, "{release}");
        }
        let advice = Advice::new("it is missing", "make it");
        assert_eq!(advice.to_string(), "it is missing: run 'make it'");
        assert_eq!(Advice::cause("it is so").to_string(), "it is so");
    }

    #[test]
    fn words_for_a_shell() {
        for (text, word) in [
            ("/data/crds_cache", "/data/crds_cache"),
            ("/my data", "'/my data'"),
            ("/it's", r"'/it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("roman=http://x/", "roman=http://x/"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
