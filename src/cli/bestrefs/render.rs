//! The output of `bestrefs`: JSON lines, or text for people.

use std::collections::BTreeSet;
use std::io::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cli::cache_dirs::observatory_of;
use crate::cli::output;
use crate::dataset::{Verdict, verdict};
use crate::rules::annotate;
use crate::rules::python::repr;

/// The answers under one context as a line of JSON, an object by reference type. `id` is JSON.
pub(super) fn answers(out: &mut Vec<u8>, id: &str, context: &str, answers: &impl Serialize) {
    begin(out, id);
    field(out, "context", context);
    field(out, "result", answers);
    end(out);
}

/// The answers under one context as a table. True if there are types without an answer, and they are not shown.
pub(super) fn table(
    out: &mut Vec<u8>,
    id: &str,
    context: &str,
    answers: &impl Serialize,
    shows_all: bool,
) -> bool {
    text(out, format_args!("{}  {context}", plain(id)));
    let mut answers = by_type(answers);
    let all = answers.len();
    if !shows_all {
        answers.retain(|_, answer| has_files(answer));
    }
    let width = answers.keys().map(String::len).max().unwrap_or_default();
    for (reftype, answer) in &answers {
        text(out, format_args!("    {reftype:width$}  {}", shown(answer)));
    }
    answers.len() < all
}

/// Whether an answer names files.
fn has_files(answer: &Value) -> bool {
    match answer {
        Value::String(text) => matches!(verdict(text), Verdict::File(_)),
        Value::Array(files) => !files.is_empty(),
        Value::Object(files) => !files.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A line of JSON: the id, itself JSON, and these fields.
pub(super) fn object(out: &mut Vec<u8>, id: &str, fields: &Value) {
    begin(out, id);
    for (name, value) in fields.as_object().into_iter().flatten() {
        field(out, name, value);
    }
    end(out);
}

/// An error instead of answers: a line of JSON, else a message on standard error. `id` is JSON.
pub(super) fn error(out: &mut Vec<u8>, json: bool, id: &str, why: &str) {
    if json {
        begin(out, id);
        field(out, "error", why);
        end(out);
    } else {
        complain(&format!("{}: {why}", plain(id)));
    }
}

/// Prints an error as the client does; false, for the caller to remember.
pub(super) fn complain(text: &str) -> bool {
    say("ERROR", text);
    false
}

/// Prints a warning as the client does; true, as nothing failed.
pub(super) fn warn(text: &str) -> bool {
    say("WARNING", text);
    true
}

/// Prints a line on standard error, in the form of the client's log.
pub(super) fn say(level: &str, text: &str) {
    output::remark(&format!("CRDS - {level} -  {text}\n"));
}

/// The changes from one context to another; `id` is JSON. As text these are the lines of the client's comparison, in
/// which not applicable, not found and omitted are all `n/a`. True if there is any change.
pub(super) fn difference(
    out: &mut Vec<u8>,
    json: bool,
    (id, instrument): (&str, Option<&str>),
    (old, before): (&str, &impl Serialize),
    (new, after): (&str, &impl Serialize),
) -> bool {
    let (before, after) = (by_type(before), by_type(after));
    let types: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changes = types.into_iter().filter_map(|reftype| {
        let (was, is) = (before.get(reftype), after.get(reftype));
        (was != is).then_some((reftype, was, is))
    });
    if json {
        let changes: Map<String, Value> = changes
            .map(|(reftype, was, is)| (reftype.clone(), json!({"old": was, "new": is})))
            .collect();
        begin(out, id);
        field(out, "old", old);
        field(out, "new", new);
        field(out, "changes", &changes);
        end(out);
        return !changes.is_empty();
    }
    let whose = instrument.map_or_else(String::new, |name| format!("instrument={} ", repr(name)));
    let id = repr(&plain(id));
    let mut differs = false;
    for (reftype, was, is) in changes {
        let [was, is] =
            [was, is].map(|answer| answer.map_or(Verdict::NotApplicable, |it| verdict(&shown(it))));
        let change = match (compared(&was), is) {
            (_, Verdict::Failed(text)) => format!("New: Bestref FAILED: {text}"),
            (was, is) if was == compared(&is) => continue,
            (was, is) => format!("New best reference: {} --> {}", repr(&was), repr(&compared(&is))),
        };
        let line = format!(
            "{whose}type={} data={id} ::  {change}",
            repr(&reftype.to_uppercase())
        );
        differs = true;
        let jwst = observatory_of(new) == "jwst";
        text(out, format_args!("{}", if jwst { annotate(&line) } else { line }));
    }
    differs
}

/// An answer as it is compared, in lower case.
fn compared(answer: &Verdict) -> String {
    match answer {
        Verdict::File(name) => name.to_lowercase(),
        Verdict::NotApplicable | Verdict::NoMatch(_) => "n/a".to_owned(),
        Verdict::Failed(text) => format!("not found{}", text.to_lowercase()),
    }
}

fn by_type(answers: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(answers) {
        Ok(Value::Object(answers)) => answers,
        _ => Map::new(),
    }
}

/// An answer as people read it.
fn shown(answer: &Value) -> String {
    answer.as_str().map_or_else(|| answer.to_string(), str::to_owned)
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

/// A line of text.
pub(super) fn text(out: &mut Vec<u8>, line: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    let _ = out.write_fmt(line);
    out.push(b'\n');
}

/// An id as people read it: a text without its quotation marks.
pub(super) fn plain(id: &str) -> String {
    match serde_json::from_str(id) {
        Ok(Value::String(text)) => text,
        _ => id.to_owned(),
    }
}
