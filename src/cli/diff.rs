//! `crds-fs diff`: what changes from one context to another.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::rule_source::{RuleSource, default_observatory, nameless, with_observatory};
use super::suggestions::CONTEXTS;
use super::target::TargetFlags;
use super::{Failure, logging, output, settings};
use crate::crds::{ContextSpec, Observatory};
use crate::rules::{Action, Change, Difference, DifferenceError, difference};

/// Show what changes from one context to another: mappings, references, and the rules of each reference type.
///
/// Two pmaps, two imaps or two rmaps are compared with everything below them, as their texts have them: what 'crds diff'
/// of the Python client tells, without the fields of headers that differ always. Rules that are not here are fetched.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The old context: a mapping, or a name such as jwst-2026-01-01.
    #[arg(value_name = "C1", value_parser = CONTEXTS, hide_possible_values = true)]
    old: String,
    /// The new one, such as jwst-latest.
    #[arg(value_name = "C2", value_parser = CONTEXTS, hide_possible_values = true)]
    new: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetFlags,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    logging::to_standard_error("error");
    let environment = settings::environment();
    let named = |context: &str| match context.parse::<ContextSpec>() {
        Ok(spec) => Ok(spec.observatory()),
        // A mapping by its path.
        Err(_) if context.contains('/') => Ok(None),
        Err(error) => Err(Failure::usage(error.to_string())),
    };
    let observatory = match (named(&args.old)?, named(&args.new)?) {
        (Some(old), Some(new)) if old != new => {
            return Err(Failure::usage(format!(
                "{} is of {old}, {} of {new}: only contexts of one observatory can be compared",
                args.old, args.new
            )));
        }
        (None, None) => default_observatory(&args.target, &environment)?,
        (old, new) => new.or(old),
    };
    let source = RuleSource::open(&args.target, &environment, observatory)?;
    let found = literal(&source, &args.old, observatory)
        .and_then(|old| Ok((old, literal(&source, &args.new, observatory)?)))
        .and_then(|(old, new)| compare(&source, &old, &new));
    source.close();
    let found = found?;
    let text = if args.json {
        to_json(&found)
    } else {
        to_text(&found)
    };
    Ok(output::write(text.as_bytes())?)
}

/// The mapping that a context means. A mapping's own name or path is taken as it is.
fn literal(source: &RuleSource, context: &str, observatory: Option<Observatory>) -> Result<String, Failure> {
    let spec = match context.parse() {
        Ok(ContextSpec::Literal(name)) => return Ok(name.to_string()),
        Ok(spec) => spec,
        Err(_) => return Ok(context.to_owned()),
    };
    let observatory = spec.observatory().or(observatory);
    let observatory = observatory.ok_or_else(|| nameless(&spec))?;
    source.literal(&with_observatory(&spec, observatory), observatory)
}

/// Compares two mappings; fetches the rules that are not here.
fn compare(source: &RuleSource, old: &str, new: &str) -> Result<Difference, Failure> {
    let mut asked = BTreeSet::new();
    let mut failures = Vec::new();
    loop {
        let (absent, found) = match difference(source.rules(), old, new) {
            Ok(found) => (found.unread.clone(), Some(found)),
            Err(DifferenceError::Absent(absent)) => (absent, None),
            Err(error @ DifferenceError::Levels(..)) => return Err(Failure::usage(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let new_ones: Vec<String> = absent
            .iter()
            .filter(|name| asked.insert((*name).clone()))
            .cloned()
            .collect();
        match found {
            // The next turn shows which of them are still absent.
            _ if !new_ones.is_empty() => failures.append(&mut source.bring(&new_ones)),
            Some(found) => {
                if !absent.is_empty() {
                    output::remark(&format!(
                        "crds-fs: {} unchanged rmaps are not here: a reference that they name too may be told as added or \
                         removed\n",
                        absent.len()
                    ));
                }
                return Ok(found);
            }
            None => {
                for text in failures {
                    output::failure(&Failure::new(text));
                }
                return Err(Failure::new(format!(
                    "{old} and {new} cannot be compared without {}: name a cache that has them with --cache DIR, a mount \
                     with --mount M, or a server with --server URL",
                    absent.join(", ")
                )));
            }
        }
    }
}

fn to_json(found: &Difference) -> String {
    let count = |action| {
        found
            .changes
            .iter()
            .filter(|change| change.action == action)
            .count()
    };
    let mut value = serde_json::to_value(found).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        let totals = json!({
            "changes": found.changes.len(),
            "added": count(Action::Added),
            "deleted": count(Action::Deleted),
            "replaced": count(Action::Replaced),
        });
        fields.insert("totals".to_owned(), totals);
    }
    format!("{}\n", serde_json::to_string_pretty(&value).unwrap_or_default())
}

fn to_text(found: &Difference) -> String {
    let mut text = format!("{} -> {}\n", found.old, found.new);
    if found.changes.is_empty() {
        text.push_str("no differences\n");
        return text;
    }
    let (mappings, references) = (&found.mappings, &found.references);
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "mappings    {} replaced, {} added, {} removed\nreferences  {} added, {} removed",
        mappings.replaced.len(),
        mappings.added.len(),
        mappings.removed.len(),
        references.added.len(),
        references.removed.len()
    );
    for group in found
        .changes
        .chunk_by(|one, other| one.mappings == other.mappings)
    {
        tell_group(group, &mut text);
    }
    for (names, what) in [
        (&mappings.added, "mappings added"),
        (&mappings.removed, "mappings removed"),
        (&references.added, "references added"),
        (&references.removed, "references removed"),
    ] {
        if !names.is_empty() {
            let _ = writeln!(text, "\n{what}\n    {}", names.join("\n    "));
        }
    }
    text
}

/// Tells the changes from one mapping to another.
fn tell_group(changes: &[Change], text: &mut String) {
    let Some(first) = changes.first() else { return };
    let whose: Vec<&str> = [&first.instrument, &first.reftype]
        .into_iter()
        .filter_map(|name| name.as_deref())
        .collect();
    let (old, new) = first.mappings.last().cloned().unwrap_or_default();
    let whose = if whose.is_empty() {
        String::new()
    } else {
        format!("{}: ", whose.join(" "))
    };
    let _ = writeln!(text, "\n{whose}{old} -> {new}");
    let mut names = None;
    for change in changes {
        let own = by_level(change, |(name, _)| name);
        if !own.is_empty() && names.as_ref() != Some(&own) {
            let _ = writeln!(text, "      [{own}]");
            names = Some(own);
        }
        let _ = writeln!(text, "    {}", line(change));
    }
}

/// The parts of a change's key, levels of selectors apart.
fn by_level(change: &Change, part: fn(&(String, String)) -> &String) -> String {
    let level = |level: &Vec<(String, String)>| {
        level
            .iter()
            .map(part)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let levels: Vec<String> = change.parameters.iter().map(level).collect();
    levels.join("; ")
}

/// A change on a line.
fn line(change: &Change) -> String {
    let key = match &change.field {
        Some(field) => format!("header field {field}"),
        None => by_level(change, |(_, value)| value),
    };
    let value = |value: &Option<String>| value.clone().unwrap_or_default();
    match change.action {
        Action::Added => format!("+ {key}  {}", value(&change.new)),
        Action::Deleted => format!("- {key}  {}", value(&change.old)),
        Action::Replaced => format!("~ {key}  {} -> {}", value(&change.old), value(&change.new)),
        Action::Class | Action::Parameters => format!("! {key}  {}", change.text),
    }
}
