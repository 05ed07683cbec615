//! `--explain`: why the best references are what they are.

use serde_json::{Value, json};

use super::archive;
use super::lookup::Lookup;
use super::render::{self, warn};
use super::subject::Subject;
use crate::cli::fetch;
use crate::cli::target::Session;
use crate::crds::DatasetName;
use crate::rules::{Explanation, Header};

/// Writes why a subject has the answers that it has under a context; false if the lookup failed as a whole.
pub(super) fn tell(lookup: &Lookup<'_>, subject: &Subject<'_>, context: &str, out: &mut Vec<u8>) -> bool {
    match explanations(lookup, subject, context) {
        Ok(explanations) => {
            render_all(lookup.json, &subject.id, context, &explanations, out);
            true
        }
        Err(text) => {
            render::error(out, lookup.json, &subject.id, &text);
            false
        }
    }
}

fn explanations(
    lookup: &Lookup<'_>,
    subject: &Subject<'_>,
    context: &str,
) -> Result<Vec<Explanation>, String> {
    let types = subject.types.as_deref().or(lookup.reftypes.only.as_deref());
    let context = lookup.rules.context(context).map_err(|error| error.to_string())?;
    context
        .explain(&subject.header, types)
        .map_err(|error| error.to_string())
}

/// As [`tell`], for a dataset of the archive: by what is known of its header, and rules that are brought if need be.
pub(super) fn tell_dataset(
    lookup: &Lookup<'_>,
    session: &Session,
    dataset: &DatasetName,
    context: &str,
    out: &mut Vec<u8>,
) -> bool {
    let name = dataset.display();
    let found = archive::answers(session, context, dataset).and_then(|found| {
        let header = found.header.filter(|header| !header.is_empty());
        let header = header.ok_or("the server does not tell its parameters")?;
        let header: Header = header
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect();
        let mut subject = Subject::named(&name, header);
        subject.types.clone_from(&lookup.reftypes.only);
        bring_rules(lookup, session, &subject, context)?;
        Ok((found.answers, explanations(lookup, &subject, context)?))
    });
    let id = Value::from(name.as_str()).to_string();
    match found {
        Ok((answers, explanations)) => {
            for explained in &explanations {
                let told = answers.get(&explained.reftype);
                if told.is_some() && told != explained.answer.as_ref() {
                    warn(&format!(
                        "{name}: for {} the server says {}, which these rules do not explain",
                        explained.reftype,
                        told.unwrap_or(&Value::Null)
                    ));
                }
            }
            render_all(lookup.json, &id, context, &explanations, out);
            true
        }
        Err(text) => {
            render::error(out, lookup.json, &id, &text);
            false
        }
    }
}

/// Brings the rules for a header, level by level.
fn bring_rules(
    lookup: &Lookup<'_>,
    session: &Session,
    subject: &Subject<'_>,
    context: &str,
) -> Result<(), String> {
    for _ in 0..4 {
        let missing = match lookup.rules.context(context) {
            Ok(open) => open.missing(&subject.header),
            Err(error) if error.is_absent_mapping() => vec![context.to_owned()],
            Err(error) => return Err(error.to_string()),
        };
        if missing.is_empty() {
            return Ok(());
        }
        let failures = session.wait(fetch::bring_rules(session.target(), session.settings(), &missing));
        if !failures.is_empty() {
            return Err(format!(
                "the rules of {context} cannot be had: {}",
                failures.join("; ")
            ));
        }
    }
    Err(format!(
        "the rules of {context} change faster than they can be read"
    ))
}

fn render_all(as_json: bool, id: &str, context: &str, explanations: &[Explanation], out: &mut Vec<u8>) {
    if as_json {
        let fields = json!({"context": context, "explanations": explanations});
        render::object(out, id, &fields);
        return;
    }
    render::text(out, format_args!("{}  {context}", render::plain(id)));
    for explanation in explanations {
        for line in explanation.to_string().lines() {
            render::text(out, format_args!("    {line}"));
        }
    }
}
