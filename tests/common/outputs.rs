//! The output of a command.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by several test binaries, each of which uses a part; a helper that cannot go on fails its test"
)]

use std::process::Output;

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output.
pub(crate) fn out(output: &Output) -> String {
    text(&output.stdout)
}

/// Standard error.
pub(crate) fn said(output: &Output) -> String {
    text(&output.stderr)
}

/// Standard output of a command that has done what it was to do.
#[track_caller]
pub(crate) fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    out(output)
}

/// Checks that a command failed with this exit status, and said this.
#[track_caller]
pub(crate) fn failed(output: &Output, status: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    for word in words {
        assert!(said.contains(word), "no '{word}' in: {said}");
    }
}
