//! The user's files in place of catalogued ones, sources with wrong files, and the last failures with what helps.

use crate::cli::status::look::{Look, Tone};
use crate::tree::report::{FailureReport, StatusReport};

use super::shown;

/// The most names, and failures, that are shown on a terminal.
const NAMES: usize = 10;
const FAILURES: usize = 5;
const INDENT: usize = 4;

pub(super) fn overrides(names: &[String], look: &Look) -> String {
    if names.is_empty() {
        return String::new();
    }
    let title = "local files in place of catalogued ones";
    let mut text = look.line(title, Tone::Faint);
    let most = if look.is_terminal() { NAMES } else { usize::MAX };
    for name in names.iter().take(most) {
        text += &look.line(name, Tone::Doubtful);
    }
    text + &rest(names.len(), most, look)
}

pub(super) fn write(status: &StatusReport, look: &Look) -> String {
    let mut text = String::new();
    for source in &status.wrong_sources {
        let words = format!(
            "wrong file from {}, {}: other sources are asked before this one for a while",
            source.url,
            look.ago(&source.when)
        );
        text += &look.wrap(&words, 2, Tone::Doubtful);
    }
    let failures = &status.failures;
    if failures.is_empty() {
        return text;
    }
    text += &look.line("last failures, newest first", Tone::Faint);
    let most = if look.is_terminal() { FAILURES } else { usize::MAX };
    for failure in failures.iter().rev().take(most) {
        text += &one(failure, look);
    }
    text + &rest(failures.len(), most, look)
}

fn one(failure: &FailureReport, look: &Look) -> String {
    let name = look.paint(shown(&failure.file), Tone::Title);
    let url = failure.url.as_ref();
    let url = url.map_or_else(String::new, |url| format!(" ({url})"));
    let remedy = failure.remedy.as_deref();
    let kind = look.paint(shown(&failure.kind), Tone::Bad);
    format!("  {name}  {kind}, {}\n", look.ago(&failure.when))
        + &look.wrap(&format!("{}{url}", failure.message), INDENT, Tone::Plain)
        + &remedy.map_or_else(String::new, |remedy| look.wrap(remedy, INDENT, Tone::Doubtful))
}

fn rest(all: usize, most: usize, look: &Look) -> String {
    if all <= most {
        return String::new();
    }
    look.wrap(
        &format!("and {} more (--json has them)", all - most),
        INDENT,
        Tone::Faint,
    )
}
