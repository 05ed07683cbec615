//! `--check`: the references that headers say were used, against those that are the best now.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::counts::Counts;
use super::files;
use super::lookup::Lookup;
use super::ordered::in_order;
use super::record::Record;
use super::render;
use super::subject::Subject;
use super::tally::Tally;
use crate::cli::cache_dirs::observatory_of;
use crate::cli::{Failure, output};
use crate::crds::Observatory;
use crate::dataset::{Recorded, Verdict, recorded, recorded_context, verdict};
use crate::rules::{BestRef, BestRefs, HeaderValue, Memory};

/// A reference that is another one now.
#[derive(Debug, Serialize)]
struct Changed {
    recorded: String,
    best: String,
}

/// The recorded references of one dataset, compared with the best ones.
struct Checked<'a> {
    /// The context by which they were found.
    recorded_context: Option<&'a str>,
    /// The number of types that the header records.
    compared: usize,
    changes: Vec<(String, Changed)>,
    /// Types that have a best reference and are not recorded.
    unrecorded: Vec<String>,
}

/// Checks dataset files.
pub(super) fn files(lookup: &Lookup<'_>, paths: &[PathBuf], tally: &Tally) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    in_order(
        paths,
        Memory::new,
        |memory, path| {
            let mut told = Vec::new();
            let good = file(lookup, memory, path, tally, &mut told);
            (good, told)
        },
        |(good, told)| {
            counts.count(good);
            output::write(&told).map_err(Failure::from)
        },
    )?;
    Ok(counts)
}

fn file(lookup: &Lookup<'_>, memory: &mut Memory, path: &Path, tally: &Tally, out: &mut Vec<u8>) -> bool {
    let name = path.to_string_lossy();
    let header = match files::load(path, lookup.observatory()) {
        Ok(header) => header,
        Err(text) => {
            let id = Value::from(&*name).to_string();
            render::error(out, lookup.json, &id, &text);
            return false;
        }
    };
    let mut subject = Subject::named(&name, header.iter().collect());
    subject.types = Some(types(lookup));
    let observatory = header.observatory();
    dataset(
        lookup,
        memory,
        &subject,
        observatory,
        &|name| header.get(name),
        (tally, out),
    )
}

/// Checks a line of `--headers`.
pub(super) fn line(
    lookup: &Lookup<'_>,
    memory: &mut Memory,
    record: Record<'_>,
    tally: &Tally,
    out: &mut Vec<u8>,
) -> bool {
    let texts: HashMap<String, String> = record
        .header
        .0
        .iter()
        .filter(|(_, value)| matches!(value, HeaderValue::Text(_)))
        .map(|(name, value)| (name.to_uppercase(), value.text().into_owned()))
        .collect();
    let mut subject = Subject::from(record);
    if subject.types.is_none() {
        subject.types = Some(types(lookup));
    }
    let own = subject
        .context
        .as_deref()
        .or(lookup.contexts.first().map(String::as_str));
    let observatory = subject
        .observatory()
        .or_else(|| observatory_of(own?).parse().ok())
        .or(lookup.defaults.observatory);
    let Some(observatory) = observatory else {
        let text =
            "the header does not say of which observatory it is: give \"context\", or set CRDS_OBSERVATORY";
        render::error(out, lookup.json, &subject.id, text);
        return false;
    };
    let get = |name: &str| texts.get(name).map(String::as_str);
    dataset(lookup, memory, &subject, observatory, &get, (tally, out))
}

/// All types that the rules know, unless some are named: what a header records decides.
fn types(lookup: &Lookup<'_>) -> Vec<String> {
    lookup.reftypes.only.clone().unwrap_or_default()
}

/// Checks one dataset under each context; false if a lookup failed as a whole.
fn dataset<'h>(
    lookup: &Lookup<'_>,
    memory: &mut Memory,
    subject: &Subject<'_>,
    observatory: Observatory,
    get: &dyn Fn(&str) -> Option<&'h str>,
    (tally, out): (&Tally, &mut Vec<u8>),
) -> bool {
    let contexts = match subject
        .context
        .as_deref()
        .map(|context| lookup.rules.literal(context))
    {
        Some(Ok(context)) => Ok(vec![context]),
        Some(Err(text)) => Err(text),
        None => lookup.contexts_of(Some(observatory)),
    };
    let contexts = match contexts {
        Ok(contexts) => contexts,
        Err(text) => {
            render::error(out, lookup.json, &subject.id, &text);
            return false;
        }
    };
    let mut complete = true;
    for context in contexts {
        let skipped = &lookup.reftypes.skip;
        let checked = lookup.with_answers(memory, subject, &context, |_, answers| {
            check(observatory, answers, skipped, get)
        });
        match checked {
            Ok(checked) => {
                tally.count(checked.compared, checked.changes.len());
                tell(lookup.json, &subject.id, &context, &checked, out);
            }
            Err(text) => {
                render::error(out, lookup.json, &subject.id, &text);
                complete = false;
            }
        }
    }
    complete
}

fn check<'h>(
    observatory: Observatory,
    answers: &BestRefs<'_>,
    skipped: &[String],
    get: &dyn Fn(&str) -> Option<&'h str>,
) -> Checked<'h> {
    let mut checked = Checked {
        recorded_context: recorded_context(observatory, get),
        compared: 0,
        changes: Vec::new(),
        unrecorded: Vec::new(),
    };
    for (reftype, best) in answers.iter() {
        if skipped
            .iter()
            .any(|skipped| skipped.eq_ignore_ascii_case(reftype))
        {
            continue;
        }
        match recorded(observatory, reftype, get) {
            Some(recorded) => {
                checked.compared += 1;
                if let Some(changed) = changed(&recorded, best) {
                    checked.changes.push((reftype.to_owned(), changed));
                }
            }
            None if !best.files().is_empty() => checked.unrecorded.push(reftype.to_owned()),
            None => {}
        }
    }
    checked
}

/// The change from what is recorded to what is best now, if that is another one. What has no best reference is recorded
/// as not applicable, whatever the reason.
fn changed(recorded: &Recorded, best: &BestRef<'_>) -> Option<Changed> {
    let text = best.text();
    let now = match best {
        BestRef::Several(_) | BestRef::Named(_) => text.to_string(),
        _ => match verdict(&text) {
            Verdict::File(name) => name.to_lowercase(),
            Verdict::NotApplicable | Verdict::NoMatch(_) => "N/A".to_owned(),
            Verdict::Failed(_) => text.to_string(),
        },
    };
    let (was, same) = match recorded {
        Recorded::File(name) => {
            let same = best.files().iter().any(|file| file.eq_ignore_ascii_case(name));
            (name.clone(), same)
        }
        Recorded::NotApplicable => ("N/A".to_owned(), best.files().is_empty()),
    };
    (!same).then_some(Changed {
        recorded: was,
        best: now,
    })
}

fn tell(as_json: bool, id: &str, context: &str, checked: &Checked<'_>, out: &mut Vec<u8>) {
    if as_json {
        let changes: Map<String, Value> = checked
            .changes
            .iter()
            .map(|(reftype, changed)| (reftype.clone(), json!(changed)))
            .collect();
        let fields = json!({
            "context": context,
            "recorded_context": checked.recorded_context,
            "compared": checked.compared,
            "changes": changes,
            "unrecorded": checked.unrecorded,
        });
        render::object(out, id, &fields);
        return;
    }
    if checked.changes.is_empty() {
        return;
    }
    let before = checked
        .recorded_context
        .map_or_else(String::new, |before| format!("{before} -> "));
    render::text(out, format_args!("{}  {before}{context}", render::plain(id)));
    let width =
        |of: fn(&(String, Changed)) -> usize| checked.changes.iter().map(of).max().unwrap_or_default();
    let (types, names) = (
        width(|(reftype, _)| reftype.len()),
        width(|(_, changed)| changed.recorded.len()),
    );
    for (reftype, Changed { recorded, best }) in &checked.changes {
        render::text(
            out,
            format_args!("    {reftype:types$}  {recorded:names$}  ->  {best}"),
        );
    }
}
