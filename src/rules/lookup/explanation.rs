//! The reasons for the answer of a reference type: the steps of its evaluation, and in words.

use std::fmt;

use serde::Serialize;

use crate::rules::eval::step::{MatchStep, MatchingKey, NearKey, Parameter, Step};
use crate::rules::values::python::repr_tuple;

/// The explanation of an answer for a reference type. `Display` gives lines for people, the first without a margin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The reference type.
    pub reftype: String,
    /// The rmap that was evaluated; nothing where the imap itself says that the type does not apply, or does not have it.
    pub rmap: Option<String>,
    /// The answer in the client's form; nothing for a type that is omitted.
    pub answer: Option<serde_json::Value>,
    /// The steps of the evaluation, in order.
    pub steps: Vec<Step>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match &self.answer {
            None => "omitted".to_owned(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        writeln!(out, "{}  {answer}", self.reftype)?;
        match &self.rmap {
            Some(rmap) => writeln!(out, "    by {rmap}")?,
            None => writeln!(out, "    by the imap: it has no rmap for this type")?,
        }
        let mut last_match = None;
        for step in &self.steps {
            match step {
                Step::Match(step) => {
                    tell_match(step, out)?;
                    last_match = Some(step);
                }
                Step::Tried { weight, keys } => tell_tried(*weight, keys, last_match, out)?,
                step => tell(step, out)?,
            }
        }
        Ok(())
    }
}

fn tell(step: &Step, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match step {
        Step::Omitted => writeln!(out, "    its rmap_omit is true: the type is left out"),
        Step::Irrelevant {
            expression,
            parameters,
        } => {
            writeln!(
                out,
                "    its rmap_relevance is false, so the type does not apply: {expression}"
            )?;
            tell_parameters(parameters, out)
        }
        Step::Changed {
            parameter,
            from,
            to,
            because,
        } => tell_change(parameter, (from, to), because.as_deref(), out),
        Step::Entry {
            selector,
            parameters,
            key,
            value,
            next,
        } => {
            writeln!(
                out,
                "    {} -> {value}",
                decided(selector, parameters, key, next.as_deref())
            )
        }
        Step::NoEntry {
            selector,
            parameters,
            first,
            text,
        } => {
            let first = first
                .as_ref()
                .map_or_else(String::new, |first| format!("; its first entry is {first}"));
            writeln!(
                out,
                "    {selector} has nothing for {}{first} ({text})",
                values(parameters)
            )
        }
        Step::Failed { text } => writeln!(out, "    so the search fails: {}", text.trim()),
        Step::SecondHeader => writeln!(
            out,
            "    once more, with the header that the client falls back on:"
        ),
        // Told with what they refer to.
        Step::Match(_) | Step::Tried { .. } => Ok(()),
        Step::NotRequired => writeln!(
            out,
            "    this rmap needs no reference: a failed search means not applicable"
        ),
    }
}

fn tell_change(
    parameter: &str,
    (from, to): (&str, &str),
    because: Option<&str>,
    out: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match because {
        Some(expression) => writeln!(
            out,
            "    {parameter} does not count here ({from} is taken for {to}), as this is false: {expression}"
        ),
        None => writeln!(
            out,
            "    {parameter} is taken for {to} instead of {from}, a rule of the client's own"
        ),
    }
}

fn tell_parameters(parameters: &[Parameter], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let width = parameters
        .iter()
        .map(|parameter| parameter.name.len())
        .max()
        .unwrap_or_default();
    for Parameter { name, value } in parameters {
        writeln!(out, "        {name:width$} = {value}")?;
    }
    Ok(())
}

fn tell_match(step: &MatchStep, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(out, "    Match of {} keys by", step.keys)?;
    tell_parameters(&step.parameters, out)?;
    if let Some(refused) = &step.refused {
        writeln!(
            out,
            "    a value is refused before any key is looked at: {}",
            refused.trim()
        )?;
    } else if step.matching.is_empty() {
        writeln!(out, "    no key matches")?;
    }
    for (number, key) in (1..).zip(&step.matching) {
        tell_key(step, number, key, out)?;
    }
    if step.count > step.matching.len() {
        writeln!(
            out,
            "    and {} more keys that match",
            step.count - step.matching.len()
        )?;
    }
    for key in &step.nearest {
        tell_near(key, out)?;
    }
    if step.as_near > step.nearest.len() {
        writeln!(
            out,
            "    and {} more keys as near",
            step.as_near - step.nearest.len()
        )?;
    }
    Ok(())
}

fn tell_key(step: &MatchStep, number: usize, key: &MatchingKey, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let elements = step.parameters.iter().zip(&key.key).zip(&key.matched);
    let indifferent = elements.filter(|(_, matched)| !**matched);
    let indifferent: Vec<&str> = indifferent
        .map(|((parameter, _), _)| parameter.name.as_str())
        .collect();
    let but = if indifferent.is_empty() {
        String::new()
    } else {
        format!(", whatever {}", indifferent.join(", "))
    };
    writeln!(
        out,
        "    {number}. matches with weight {}{but}: {} -> {}",
        key.weight,
        shown(&key.key),
        key.value
    )
}

/// Tells which keys are tried together: by their numbers, where they were told with those.
fn tell_tried(
    weight: usize,
    keys: &[Vec<String>],
    last_match: Option<&MatchStep>,
    out: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let number = |key: &Vec<String>| {
        let mut matching = last_match?.matching.iter();
        let place = matching.position(|known| known.key == *key)?;
        Some((place + 1).to_string())
    };
    let numbers: Option<Vec<String>> = keys.iter().map(number).collect();
    if let Some(numbers) = numbers {
        return writeln!(out, "    tried: {}", numbers.join(", "));
    }
    let keys: Vec<String> = keys.iter().map(|key| shown(key)).collect();
    writeln!(out, "    tried, weight {weight}: {}", keys.join(", "))
}

fn tell_near(near: &NearKey, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let wanted = near.differing.iter().map(|mismatch| {
        let (name, pattern, value) = (&mismatch.parameter, &mismatch.pattern, &mismatch.value);
        format!("{name} were {pattern} instead of {value}")
    });
    let wanted: Vec<String> = wanted.collect();
    writeln!(
        out,
        "    would match if {}: {} -> {}",
        wanted.join(" and "),
        shown(&near.key),
        near.value
    )
}

fn shown(key: &[String]) -> String {
    repr_tuple(key.iter().map(String::as_str))
}

fn values(parameters: &[Parameter]) -> String {
    let values: Vec<String> = parameters
        .iter()
        .map(|one| format!("{}={}", one.name, one.value))
        .collect();
    values.join(" ")
}

/// The decision of a selector that is no Match, in words.
fn decided(selector: &str, parameters: &[Parameter], key: &str, next: Option<&str>) -> String {
    let values = values(parameters);
    let next = next.map_or_else(String::new, |next| format!(" (the next is {next})"));
    match selector {
        "UseAfter" => format!("USEAFTER {key} is the latest not after {values}{next}"),
        "ClosestTime" | "GeometricallyNearest" => format!("{selector}: {key} is the nearest to {values}"),
        "VersionAfter" => format!("VersionAfter: {key} is the highest not above {values}{next}"),
        _ => format!("{selector}: the entry {key} for {values}"),
    }
}
