//! The checks as people and programs read them.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use serde_json::json;

use super::check::{Check, Group, State};

/// The widest column of names, in characters.
const MAX_WIDTH: usize = 24;

/// The way to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// In colours.
    Coloured,
    Plain,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    pub(super) fn of_output() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !is_unwanted {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }

    fn mark(self, state: State) -> String {
        let code = match state {
            State::Ok => "32",
            State::Note => "33",
            State::Wrong => "1;31",
        };
        self.paint(code, &format!("{:<5}", state.as_str()))
    }
}

/// A line for each check, under the heading of its group, and the command that mends it below.
pub(super) fn text(checks: &[Check], style: Style) -> String {
    let mut text = String::new();
    let mut group = None;
    let mut width = 0;
    for check in checks {
        if group != Some(check.group) {
            group = Some(check.group);
            width = name_width(checks, check.group);
            // Writing to a String cannot fail.
            _ = writeln!(text, "{}", style.paint("1", check.group.as_str()));
        }
        let mark = style.mark(check.state);
        _ = writeln!(text, "  {mark}  {:<width$}  {}", check.name, check.message);
        if let Some(remedy) = &check.remedy {
            _ = writeln!(text, "           {}", style.paint("36", remedy));
        }
    }
    let wrong = count(checks, State::Wrong);
    let notes = match count(checks, State::Note) {
        0 => String::new(),
        1 => ", 1 note".to_owned(),
        several => format!(", {several} notes"),
    };
    let total = match wrong {
        0 => "nothing to mend".to_owned(),
        1 => "1 thing to mend".to_owned(),
        several => format!("{several} things to mend"),
    };
    _ = writeln!(text, "{total}{notes}");
    text
}

/// The width of the column of names in a group, in characters.
fn name_width(checks: &[Check], group: Group) -> usize {
    let names = checks.iter().filter(|check| check.group == group);
    let longest = names.map(|check| check.name.chars().count()).max();
    longest.unwrap_or_default().min(MAX_WIDTH)
}

/// `{"checks": [{"group", "name", "state", "message", "remedy"}...], "totals": {"ok", "note", "wrong"}}`.
pub(super) fn json(checks: &[Check]) -> String {
    let all = json!({
        "checks": checks,
        "totals": {
            "ok": count(checks, State::Ok),
            "note": count(checks, State::Note),
            "wrong": count(checks, State::Wrong),
        },
    });
    format!("{all:#}\n")
}

fn count(checks: &[Check], state: State) -> usize {
    checks.iter().filter(|check| check.state == state).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Check> {
        vec![
            Check::ok("kernel", "Linux 6.18").within(Group::Machine),
            Check::wrong("CRDS_PATH", "it is not there")
                .mended_by("crds-fs mount /x")
                .within(Group::Environment),
        ]
    }

    #[test]
    fn a_line_for_each_and_the_command_below() {
        assert_eq!(
            text(&some(), Style::Plain),
            "machine\n  ok     kernel  Linux 6.18\nenvironment\n  wrong  CRDS_PATH  it is not there\n           \
             crds-fs mount /x\n1 thing to mend\n"
        );
        assert!(text(&some(), Style::Coloured).contains("\x1b[1;31mwrong\x1b[0m"));
        assert_eq!(text(&[], Style::Plain), "nothing to mend\n");
    }

    #[test]
    fn programs_get_every_field() {
        let read: serde_json::Value = serde_json::from_str(&json(&some())).unwrap();
        assert_eq!(read["totals"], json!({"ok": 1, "note": 0, "wrong": 1}));
        assert_eq!(
            read["checks"][1],
            json!({"group": "environment", "name": "CRDS_PATH", "state": "wrong", "message": "it is not there",
                "remedy": "crds-fs mount /x"})
        );
        assert_eq!(read["checks"][0]["remedy"], serde_json::Value::Null);
    }
}
