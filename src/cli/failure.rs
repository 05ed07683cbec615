//! The failure of a command: any error of the layers below, with the exit status.

use std::error::Error;
use std::fmt;

use crate::cache::{self, ErrorKind};
use crate::fetch::FetchError;
use crate::mount;
use crate::remote::RemoteError;

/// Exit status of a command that failed.
pub(crate) const FAILED: u8 = 1;

/// Exit status of wrong usage.
pub(crate) const USAGE: u8 = 2;

/// Exit status of a command that was asked whether anything has changed, where something has.
pub(crate) const CHANGED: u8 = 3;

/// The line that follows a failure whose cause may be this machine.
pub(super) const DOCTOR: &str = "'crds-fs doctor' tells what is wrong on this machine, and how to mend it";

/// A command's failure. Any error becomes one with `?`; it is printed as a chain, outermost first.
///
/// It is no [`Error`] itself: it is the end of every chain.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    error: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// A failure whose text stands alone.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            status: FAILED,
            error: text.into().into(),
        }
    }

    /// A failure of the command line or the environment, which makes no sense; exit status [`USAGE`].
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            status: USAGE,
            error: text.into().into(),
        }
    }

    /// The same with another exit status.
    #[must_use]
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// A failure while doing something, and its cause.
    pub(crate) fn because(doing: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            status: FAILED,
            error: Box::new(While {
                doing: doing.into(),
                source: Box::new(source),
            }),
        }
    }

    /// The outermost error.
    pub(crate) fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    /// The failure in words, with a line on where to look where the cause may be this machine.
    pub(crate) fn told(&self) -> String {
        if self.is_of_machine() {
            format!("{self}\n         {DOCTOR}")
        } else {
            self.to_string()
        }
    }

    /// Whether the cause is that mounting does not work here, or that a server cannot be reached.
    fn is_of_machine(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*self.error);
        while let Some(error) = cause {
            let mount = error.downcast_ref::<mount::Error>();
            let fetch = error.downcast_ref::<FetchError>();
            let remote = error.downcast_ref::<RemoteError>();
            let cache = error.downcast_ref::<cache::Error>();
            if mount.is_some_and(mount::Error::is_of_machine)
                || fetch.is_some_and(FetchError::is_of_network)
                || remote.is_some_and(RemoteError::is_of_network)
                || cache.is_some_and(|error| error.kind() == ErrorKind::Unreachable)
            {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// The exit status it leads to.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            status: FAILED,
            error: Box::new(error),
        }
    }
}

/// The chain of causes on one line. A cause that its effect has already quoted is not said twice.
impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.error.to_string();
        out.write_str(&said)?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(out, ": {text}")?;
                said.push_str(&text);
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct While {
    doing: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for While {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.doing)
    }
}

impl Error for While {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::RemoteErrorKind;

    #[test]
    fn failures_of_the_machine_point_to_the_doctor() {
        let refused = RemoteError::new(RemoteErrorKind::Unreachable, "http://x/", "refused");
        let failure = Failure::because("asking", refused);
        assert_eq!(
            failure.told(),
            format!("asking: refused (http://x/)\n         {DOCTOR}")
        );
        let denied = RemoteError::new(RemoteErrorKind::Denied, "http://x/", "401");
        assert!(!Failure::from(denied).told().contains("doctor"));
        let namespace = mount::Error::Namespace {
            advice: crate::machine::Advice::cause("no"),
            source: std::io::Error::other("no"),
        };
        assert!(Failure::from(namespace).told().contains("doctor"));
    }

    #[test]
    fn a_chain_is_told_once_from_the_outside_in() {
        let inner = std::io::Error::other("no such device");
        let outer = Failure::because(
            "mounting /x",
            While {
                doing: "opening /dev/fuse".into(),
                source: inner.into(),
            },
        );
        assert_eq!(
            outer.to_string(),
            "mounting /x: opening /dev/fuse: no such device"
        );
        assert_eq!(outer.status(), FAILED);

        let quoted = Failure::because("it said: gone", std::io::Error::other("gone"));
        assert_eq!(quoted.to_string(), "it said: gone");
        assert_eq!(Failure::usage("no").status(), USAGE);
    }
}
