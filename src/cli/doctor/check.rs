//! One check: its name, its result, and the command that mends what it found.

use serde::Serialize;

use crate::machine::Advice;

/// The group of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Machine,
    Mounts,
    Cache,
    Network,
    Servers,
    Environment,
}

impl Group {
    /// Its heading.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Mounts => "mounts",
            Self::Cache => "cache",
            Self::Network => "network",
            Self::Servers => "servers",
            Self::Environment => "environment",
        }
    }
}

/// The state of what was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// Worth knowing; everything that was asked for works.
    Note,
    /// To be mended.
    Wrong,
}

impl State {
    /// Its mark.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Wrong => "wrong",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) group: Group,
    pub(super) name: String,
    pub(super) state: State,
    pub(super) message: String,
    /// The command that mends it, ready for a shell.
    pub(super) remedy: Option<String>,
}

impl Check {
    /// Nothing to mend.
    pub(super) fn ok(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            group: Group::Machine,
            name: name.into(),
            state: State::Ok,
            message: message.into(),
            remedy: None,
        }
    }

    /// Worth knowing.
    pub(super) fn note(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            state: State::Note,
            ..Self::ok(name, message)
        }
    }

    /// To be mended.
    pub(super) fn wrong(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            state: State::Wrong,
            ..Self::ok(name, message)
        }
    }

    /// The same with the command that mends it.
    #[must_use]
    pub(super) fn mended_by(self, command: impl Into<String>) -> Self {
        Self {
            remedy: Some(command.into()),
            ..self
        }
    }

    /// The same with the cause and the command of an advice.
    #[must_use]
    pub(super) fn advised(self, advice: Advice) -> Self {
        let message = if self.message.is_empty() {
            advice.cause
        } else {
            format!("{}: {}", self.message, advice.cause)
        };
        Self {
            message,
            remedy: advice.command,
            ..self
        }
    }

    /// The same in its group.
    #[must_use]
    pub(super) fn within(self, group: Group) -> Self {
        Self { group, ..self }
    }
}

/// Asserts that the check of this name has this state, and a remedy with these words.
#[cfg(test)]
#[track_caller]
pub(super) fn assert_found(checks: &[Check], name: &str, state: State, remedy: &str) {
    let found = checks.iter().find(|check| check.name == name).unwrap();
    assert_eq!(found.state, state, "{found:?}");
    let given = found.remedy.as_deref().unwrap_or_default();
    assert!(given.contains(remedy), "{found:?}");
}
