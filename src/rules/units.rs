//! Single functions of the rules, for whoever checks them one by one.

use crate::rules::compile::alternatives;
use crate::rules::values::condition;
use crate::rules::values::date;
use crate::rules::values::header::HeaderValue;
use crate::rules::values::pattern::{Pattern, Verdict};
use crate::rules::values::version::parse_version;

/// The normal form of a header value (spec/crds-rules 7).
pub fn condition(value: &HeaderValue) -> String {
    value.conditioned().into_owned()
}

/// A date as `YYYY-MM-DD HH:MM:SS[.ffffff]`, or the text of the failure (spec/crds-rules 9).
pub fn date(text: &str) -> Result<String, String> {
    date::parse(text).map(|moment| moment.to_string())
}

/// The normal form of an element of a match key that is one text or number (spec/crds-rules 10).
pub fn match_element(value: &HeaderValue) -> String {
    match value {
        HeaderValue::Text(text) => condition::condition_element(text).into_owned(),
        other => condition(other),
    }
}

/// The normal form of an element of a match key that is a tuple.
pub fn match_element_tuple(values: &[HeaderValue]) -> String {
    alternatives(values.iter().map(HeaderValue::text))
}

/// What a conditioned match element says about a value: 1 match, 0 don't care, -1 no match (spec/crds-rules 11).
pub fn match_pattern(pattern: &str, value: &str) -> Result<i8, String> {
    Ok(match Pattern::new(pattern)?.judge(value) {
        Verdict::Match => 1,
        Verdict::Indifferent => 0,
        Verdict::Mismatch => -1,
    })
}

/// The three numbers of a version (spec/crds-rules 13).
pub fn version(text: &str) -> Result<[u32; 3], String> {
    parse_version(text)
}
