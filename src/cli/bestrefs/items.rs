//! Datasets by their ids, and matching parameters, as they are given on the command line.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::archive;
use super::counts::Counts;
use super::explain;
use super::lookup::Lookup;
use super::render::{self, warn};
use super::subject::{Item, instrument};
use crate::cli::target::{DatasetAnswers, Session};
use crate::cli::{Failure, output};
use crate::crds::DatasetName;
use crate::rules::Memory;
use crate::rules::python::repr;

/// Looks up datasets and parameters, in order.
pub(super) fn run(lookup: &Lookup<'_>, items: &[Item], session: Option<&Session>) -> Result<Counts, Failure> {
    let contexts_of = |item: &Item| lookup.contexts_of(item.observatory()).map_err(Failure::usage);
    let contexts = items.iter().map(contexts_of).collect::<Result<Vec<_>, _>>()?;
    let items: Vec<_> = items.iter().zip(contexts).collect();
    if let Some(session) = session {
        prepare(lookup, session, &items);
    }
    let mut told = Vec::new();
    let mut counts = Counts::default();
    for (item, contexts) in &items {
        let good = match (item, session) {
            (Item::Id(dataset), Some(session)) => by_id(lookup, contexts, session, dataset, &mut told),
            (Item::Id(_), None) => false,
            (Item::Parameters(subject), _) => lookup.tell(&mut Memory::none(), subject, &mut told),
        };
        counts.count(good);
        output::write(&told)?;
        told.clear();
    }
    Ok(counts)
}

/// Asks for all ids of each context at once.
fn prepare(lookup: &Lookup<'_>, session: &Session, items: &[(&Item, Vec<String>)]) {
    let mut ids: BTreeMap<&str, Vec<DatasetName>> = BTreeMap::new();
    for (item, contexts) in items {
        if let Item::Id(dataset) = item {
            for context in contexts.iter().chain(&lookup.compare) {
                ids.entry(context).or_default().push(dataset.clone());
            }
        }
    }
    for (context, datasets) in ids {
        archive::prepare(session, context, &datasets);
    }
}

/// Writes the answers for a dataset of the archive; false if there are none.
fn by_id(
    lookup: &Lookup<'_>,
    contexts: &[String],
    session: &Session,
    dataset: &DatasetName,
    out: &mut Vec<u8>,
) -> bool {
    let id = Value::from(dataset.display()).to_string();
    let types = lookup.reftypes.only.as_ref();
    let answers = |context: &str| answers(lookup, context, session, dataset);
    let mut complete = true;
    for context in contexts {
        if lookup.explain {
            complete &= explain::tell_dataset(lookup, session, dataset, context, out);
            continue;
        }
        let told = match &lookup.compare {
            Some(new) => answers(context)
                .and_then(|before| Ok((before, answers(new)?)))
                .map(|(before, after)| {
                    for reftype in unanswered(types, &[&before.answers, &after.answers]) {
                        warn(&format!("{}: {}", dataset.display(), no_answer(&reftype)));
                    }
                    let mut headers = [&before.header, &after.header].into_iter().flatten();
                    let instrument = headers.find_map(instrument);
                    let whose = (id.as_str(), instrument.as_deref());
                    lookup.note_difference(render::difference(
                        out,
                        lookup.json,
                        whose,
                        (context, &before.answers),
                        (new, &after.answers),
                    ));
                }),
            None => answers(context).map(|found| {
                let mut found = found.answers;
                for reftype in unanswered(types, &[&found]) {
                    let text = format!("NOT FOUND {}", no_answer(&reftype));
                    found.insert(reftype, text.into());
                }
                lookup.write_answers(out, &id, context, &found);
            }),
        };
        if let Err(text) = told {
            render::error(out, lookup.json, &id, &text);
            complete = false;
        }
    }
    complete
}

/// The answers for a dataset of the archive, of the types that are asked for.
fn answers(
    lookup: &Lookup<'_>,
    context: &str,
    session: &Session,
    dataset: &DatasetName,
) -> Result<DatasetAnswers, String> {
    let types = lookup.reftypes.only.as_ref();
    let wanted =
        |reftype: &str| types.is_none_or(|types| types.iter().any(|own| own.eq_ignore_ascii_case(reftype)));
    let mut found = archive::answers(session, context, dataset).map_err(|why| {
        let name = dataset.display();
        if Path::new(&name).is_file() {
            format!("{why}; for the file of that name write --files {name}")
        } else {
            why
        }
    })?;
    found.answers.retain(|reftype, _| wanted(reftype));
    lookup.want(context, || found.files());
    Ok(found)
}

/// The types asked for by name that none of these answers has, in lower case.
fn unanswered(types: Option<&Vec<String>>, answers: &[&Map<String, Value>]) -> Vec<String> {
    let asked = types.into_iter().flatten().map(|name| name.to_lowercase());
    asked
        .filter(|name| answers.iter().all(|answers| !answers.contains_key(name)))
        .collect()
}

/// The text for a type without an answer. The archive does not tell which types it knows, only which apply.
fn no_answer(reftype: &str) -> String {
    format!(
        "no answer for the type {}: unknown, or omitted by the rules",
        repr(reftype)
    )
}
