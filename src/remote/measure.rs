//! The measurements of a server's reply: its times, its length, and the time that the server has.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap};

/// The measurements of one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    /// The time that the server has.
    pub date: Option<SystemTime>,
    /// The time until the head of the reply was there.
    pub head: Duration,
    /// The time until all of it was there.
    pub whole: Duration,
    /// The length of its body, in bytes.
    pub bytes: u64,
}

/// The time that a server has, as the head of its reply tells.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().into())
}
