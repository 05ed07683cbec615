//! The failure of a command: any error of the layers below, with the exit status.

use std::error::Error;
use std::fmt;

/// Exit status of a command that failed.
pub(crate) const FAILED: u8 = 1;

/// Exit status of wrong usage.
pub(crate) const USAGE: u8 = 2;

/// Exit status of a command that was asked whether anything has changed, where something has.
pub(crate) const CHANGED: u8 = 3;

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
