//! What `bestrefs` prints: JSON lines, or text for people.

use std::collections::BTreeSet;
use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::lookup::Subject;
use crate::rules::{Answer, BestRefs};

/// The answers under one context. `id` is JSON.
pub(super) fn answers(out: &mut Vec<u8>, json: bool, id: &str, context: &str, answers: &BestRefs<'_>) {
    if json {
        begin(out, id);
        field(out, "context", context);
        field(out, "result", answers);
        end(out);
        return;
    }
    text(out, format_args!("{}  {context}", plain(id)));
    let width = answers
        .iter()
        .map(|(reftype, _)| reftype.len())
        .max()
        .unwrap_or_default();
    for (reftype, answer) in answers.iter() {
        text(out, format_args!("    {reftype:width$}  {answer}"));
    }
}

/// Why there are no answers. `id` is JSON.
pub(super) fn error(out: &mut Vec<u8>, json: bool, id: &str, why: &str) {
    if json {
        begin(out, id);
        field(out, "error", why);
        end(out);
    } else {
        text(out, format_args!("{}  error: {why}", plain(id)));
    }
}

/// What changes from one context to another.
pub(super) fn difference(
    out: &mut Vec<u8>,
    json: bool,
    subject: &Subject<'_>,
    (old, before): (&str, &BestRefs<'_>),
    (new, after): (&str, &BestRefs<'_>),
) {
    let types: BTreeSet<&str> = before
        .iter()
        .chain(after.iter())
        .map(|(reftype, _)| reftype)
        .collect();
    let changes = types.into_iter().filter_map(|reftype| {
        let (was, is) = (before.get(reftype), after.get(reftype));
        (was.map(Answer::text) != is.map(Answer::text)).then_some((reftype, was, is))
    });
    if json {
        let changes: serde_json::Map<String, Value> = changes
            .map(|(reftype, was, is)| (reftype.to_owned(), change(was, is)))
            .collect();
        begin(out, &subject.id);
        field(out, "old", old);
        field(out, "new", new);
        field(out, "changes", &changes);
        end(out);
        return;
    }
    let instrument = subject.instrument();
    for (reftype, was, is) in changes {
        let shown = |answer: Option<&Answer<'_>>| match answer {
            Some(answer) => answer.text().into_owned(),
            None => "OMIT".to_owned(),
        };
        text(
            out,
            format_args!(
                "instrument='{instrument}' type='{}' data='{}' ::  New best reference: '{}' --> '{}'",
                reftype.to_uppercase(),
                plain(&subject.id),
                shown(was),
                shown(is)
            ),
        );
    }
}

fn change(was: Option<&Answer<'_>>, is: Option<&Answer<'_>>) -> Value {
    let value = |answer| serde_json::to_value(answer).unwrap_or_default();
    serde_json::json!({"old": value(was), "new": value(is)})
}

impl Subject<'_> {
    /// The instrument, in upper case, for messages.
    pub(super) fn instrument(&self) -> String {
        let names = [
            "INSTRUME",
            "META.INSTRUMENT.NAME",
            "INSTRUMENT",
            "ROMAN.META.INSTRUMENT.NAME",
        ];
        let is_instrument =
            |(name, _): &(&str, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.header
            .iter()
            .find(is_instrument)
            .map(|(_, value)| value.text().to_uppercase())
            .unwrap_or_default()
    }
}

fn begin(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.as_bytes());
}

fn field(out: &mut Vec<u8>, name: &str, value: &(impl Serialize + ?Sized)) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    // Writing texts and maps of texts into memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, value);
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}

fn text(out: &mut Vec<u8>, line: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    let _ = out.write_fmt(line);
    out.push(b'\n');
}

/// An id as people read it: a text without its quotation marks.
fn plain(id: &str) -> String {
    match serde_json::from_str(id) {
        Ok(Value::String(text)) => text,
        _ => id.to_owned(),
    }
}
