//! Settings of the resolver: the evaluator, the policy on bad files, times and limits.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::answer::ComputedBy;
use super::prefetch::Prefetch;

/// The evaluator of the rules (`CRDS_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The server once per dataset, this program for every further context and whenever the server cannot be reached.
    #[default]
    Auto,
    /// This program; the server only tells the parameters of a dataset.
    Local,
    /// The server, always.
    Remote,
}

impl Mode {
    /// Whether an answer of this origin is one that this mode gives.
    pub(super) const fn believes(self, by: ComputedBy) -> bool {
        match self {
            Self::Auto => true,
            Self::Local => matches!(by, ComputedBy::Here),
            Self::Remote => matches!(by, ComputedBy::Server),
        }
    }
}

/// The text is none of the values of `CRDS_MODE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is none of auto, local, remote and s3")]
pub struct UnknownMode(String);

impl FromStr for Mode {
    type Err = UnknownMode;

    /// Case matters, as in the Python client. `s3` tells that client where to read rules; they are evaluated as with
    /// `auto`.
    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "auto" | "s3" => Ok(Self::Auto),
            "local" => Ok(Self::Local),
            "remote" => Ok(Self::Remote),
            _ => Err(UnknownMode(text.chars().take(80).collect())),
        }
    }
}

/// The policy on files that the server lists as scientifically invalid (spec/crds-service 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BadFilePolicy {
    /// `CRDS_ALLOW_BAD_REFERENCES`: serve bad references, with a warning.
    pub allow_references: bool,
    /// `CRDS_ALLOW_BAD_RULES`: use bad rules, with a warning.
    pub allow_rules: bool,
}

/// The decision of the policy about a file of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Permit {
    /// Nothing is known against it.
    Fine,
    /// It is on the list of bad files and allowed all the same: the text says so.
    Warn(String),
    /// It is on the list of bad files: the text says so, and how to allow it.
    Refuse(String),
}

/// The source of the time.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock that tells what `now` says.
    pub(crate) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub(crate) fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    /// The system's clock.
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Clock")
    }
}

/// The settings of a [`Resolver`](super::Resolver).
#[derive(Debug, Clone)]
pub(crate) struct ResolveOptions {
    /// The evaluator of the rules.
    pub mode: Mode,
    /// The time for which an answer of the server holds (`--bestrefs-ttl`).
    pub ttl: Duration,
    /// The time for which a failure holds.
    pub failure_ttl: Duration,
    /// The policy on bad files.
    pub bad_files: BadFilePolicy,
    /// `CRDS_IGNORE_MAPPING_CHECKSUM`: use rules whose own checksum is wrong.
    pub ignore_mapping_checksum: bool,
    /// The longest time that a server may take for one request (`--timeout`).
    pub timeout: Duration,
    /// The number of answers that are remembered.
    pub capacity: NonZeroUsize,
    /// The time for which a request waits for more datasets; each that comes starts the wait anew, at most ten times.
    pub window: Duration,
    /// The most dataset ids in one request; the server's own limit holds too.
    pub batch: NonZeroUsize,
    /// The files that are fetched before they are opened.
    pub prefetch: Prefetch,
    /// The source of the time.
    pub clock: Clock,
}

impl Default for ResolveOptions {
    fn default() -> Self {
        const fn count(number: usize) -> NonZeroUsize {
            match NonZeroUsize::new(number) {
                Some(number) => number,
                None => NonZeroUsize::MIN,
            }
        }
        Self {
            mode: Mode::Auto,
            ttl: Duration::from_secs(60 * 60),
            failure_ttl: Duration::from_secs(30),
            bad_files: BadFilePolicy::default(),
            ignore_mapping_checksum: false,
            timeout: Duration::from_secs(5 * 60),
            capacity: count(4096),
            window: Duration::from_millis(5),
            batch: count(50),
            prefetch: Prefetch::Nothing,
            clock: Clock::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_the_client() {
        assert_eq!("auto".parse(), Ok(Mode::Auto));
        assert_eq!("s3".parse(), Ok(Mode::Auto));
        assert_eq!("local".parse(), Ok(Mode::Local));
        assert_eq!("remote".parse(), Ok(Mode::Remote));
        assert!(
            "Remote"
                .parse::<Mode>()
                .unwrap_err()
                .to_string()
                .contains("'Remote'")
        );
    }
}
