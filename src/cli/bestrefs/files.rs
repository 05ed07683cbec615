//! Dataset files: their headers looked up, and the answers written into them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Args;
use super::lookup::Lookup;
use super::render;
use super::rulebook::observatory_of;
use super::subject::Subject;
use crate::cli::settings::{Environment, truth};
use crate::cli::{Failure, output};
use crate::crds::Observatory;
use crate::dataset::{self, DatasetHeader, Recipe};
use crate::rules::{Answer, Header, Memory, default_reftypes};

/// Looks up all files, sorted by path; false if something failed.
pub(super) fn run(lookup: &Lookup<'_>, args: &Args, environment: &Environment) -> Result<bool, Failure> {
    let mut paths: Vec<&PathBuf> = args.files.iter().collect();
    paths.sort_unstable();
    if args.update_bestrefs && lookup.contexts.len() != 1 {
        return Err(Failure::usage("--update-bestrefs needs exactly one context"));
    }
    let update = args
        .update_bestrefs
        .then(|| Update::new(lookup, args, environment))
        .transpose()?;
    if lookup.types.is_none() && !args.all_types {
        for context in &lookup.contexts {
            if let Some(rules) = lookup.rulebook.own_default_types(context) {
                warn(&format!(
                    "{context} has rules of its own for the types that an exposure needs, {rules}, which are not looked at: \
                     give --types or --all-types if the built-in ones do not suit"
                ));
            }
        }
    }
    let mut complete = true;
    for path in paths {
        complete &= one(lookup, args, update.as_ref(), path)?;
    }
    Ok(complete)
}

/// Looks one file up, prints, and updates it if that was asked for.
fn one(lookup: &Lookup<'_>, args: &Args, update: Option<&Update<'_>>, path: &Path) -> Result<bool, Failure> {
    let observatory = lookup
        .contexts
        .first()
        .and_then(|context| observatory_of(context).parse::<Observatory>().ok());
    let mut told = Vec::new();
    let header = match load(path, observatory) {
        Ok(header) => header,
        Err(text) if args.json => {
            let id = serde_json::Value::from(path.to_string_lossy()).to_string();
            render::error(&mut told, true, &id, &text);
            output::write(&told)?;
            return Ok(false);
        }
        Err(text) => return Ok(complain(&text)),
    };
    let mut subject = Subject::named(&path.to_string_lossy(), header.iter().collect());
    subject.types = Some(types(lookup, args, &header, &subject.header));
    if !skip(lookup, &args.skip_types, &mut subject) {
        return Ok(true);
    }
    let mut complete = true;
    if update.is_none() || args.json {
        complete = lookup.tell(&mut Memory::none(), &subject, &mut told);
        output::write(&told)?;
    }
    if let Some(update) = update {
        complete &= update.write(lookup, path, &header, &subject);
    }
    Ok(complete)
}

/// The header of a file as it is looked up, or why there is none.
fn load(path: &Path, observatory: Option<Observatory>) -> Result<DatasetHeader, String> {
    let header = dataset::read(path, observatory).map_err(|error| chain(&error))?;
    header.for_lookup().map_err(|error| {
        let path = path.display();
        format!("Failed loading source '{path}' from 'FileHeaderGenerator' : {error}")
    })
}

/// The types to look up, sorted; none means all (spec/crds-rules 22, step 2).
fn types(lookup: &Lookup<'_>, args: &Args, header: &DatasetHeader, raw: &Header) -> Vec<String> {
    let mut types: Vec<String> = match &lookup.types {
        Some(types) => types.iter().map(|name| name.to_lowercase()).collect(),
        None if args.all_types || header.observatory() != Observatory::Jwst => Vec::new(),
        None => default_reftypes(raw).into_iter().map(str::to_owned).collect(),
    };
    types.sort_unstable();
    types
}

/// Without the types that are not wanted; false if none is left. Where all are asked for they have to be listed for that.
fn skip(lookup: &Lookup<'_>, skipped: &[String], subject: &mut Subject<'_>) -> bool {
    if skipped.is_empty() {
        return true;
    }
    if subject.types.as_ref().is_some_and(Vec::is_empty) {
        let all = |context: &String| {
            lookup.with_answers(&mut Memory::none(), subject, context, |_, answers| {
                answers
                    .iter()
                    .map(|(reftype, _)| reftype.to_owned())
                    .collect::<Vec<_>>()
            })
        };
        // A failure is told when the answers are.
        subject.types = lookup.contexts.iter().find_map(|context| all(context).ok());
    }
    if let Some(types) = &mut subject.types {
        types.retain(|name| !skipped.iter().any(|skipped| skipped.eq_ignore_ascii_case(name)));
    }
    // An empty list would mean all types.
    subject.types.as_ref().is_none_or(|types| !types.is_empty())
}

/// What is written, and what is said about it.
struct Update<'a> {
    context: &'a str,
    undefined_differences_matter: bool,
    /// Lower case.
    bad_files: Vec<String>,
    /// The instruments whose rules were looked at, with what that said.
    judged: RefCell<BTreeMap<String, bool>>,
    allow_bad_references: bool,
    allow_bad_rules: bool,
}

impl<'a> Update<'a> {
    fn new(lookup: &'a Lookup<'_>, args: &Args, environment: &Environment) -> Result<Self, Failure> {
        let context = lookup.contexts.first().map_or("", String::as_str);
        Ok(Self {
            context,
            undefined_differences_matter: args.undefined_differences_matter,
            judged: RefCell::default(),
            bad_files: lookup.rulebook.bad_files(observatory_of(context)),
            allow_bad_references: truth(environment, "CRDS_ALLOW_BAD_REFERENCES")?.unwrap_or(false),
            allow_bad_rules: truth(environment, "CRDS_ALLOW_BAD_RULES")?.unwrap_or(false),
        })
    }

    /// Updates one file; false if something is wrong, which does not keep the rest from being written.
    fn write(&self, lookup: &Lookup<'_>, path: &Path, header: &DatasetHeader, subject: &Subject<'_>) -> bool {
        let data = path.display().to_string();
        let Ok(instrument) = header.instrument() else {
            return false;
        };
        let recipe = Recipe {
            dataset: &data,
            instrument: &instrument,
            context: self.context,
            undefined_differences_matter: self.undefined_differences_matter,
        };
        let mut good = self.check_rules(lookup, &instrument);
        let planned = lookup.with_answers(&mut Memory::none(), subject, self.context, |_, answers| {
            let texts: Vec<_> = answers
                .iter()
                .map(|(reftype, answer)| (reftype, recordable(answer)))
                .collect();
            dataset::plan(
                header,
                &recipe,
                texts.iter().map(|(reftype, text)| (*reftype, text.as_deref())),
            )
        });
        let plan = match planned {
            Ok(plan) => plan,
            Err(text) => return complain(&format!("instrument='{instrument}' data='{data}' ::  {text}")),
        };
        good &= plan.errors.iter().fold(true, |_, error| complain(error));
        if let Err(error) = dataset::update(path, &plan.changes) {
            return complain(&chain(&error));
        }
        for (reftype, file) in plan
            .references
            .iter()
            .filter(|(_, file)| self.bad_files.contains(file))
        {
            let text = format!(
                "File '{}' is bad. Use is not recommended,  results may not be scientifically valid.",
                file.to_uppercase()
            );
            good &= if self.allow_bad_references {
                warn(&format!("For {data} {instrument} {reftype} {text}"))
            } else {
                let reftype = reftype.to_uppercase();
                complain(&format!(
                    "instrument='{instrument}' type='{reftype}' data='{data}' ::  {text}"
                ))
            };
        }
        good
    }

    /// Says that bad rules are among those of an instrument, once for each; false if that is an error.
    fn check_rules(&self, lookup: &Lookup<'_>, instrument: &str) -> bool {
        if let Some(good) = self.judged.borrow().get(instrument) {
            return *good;
        }
        // Rules that cannot be loaded fail the lookup.
        let names = lookup
            .rulebook
            .names(self.context, instrument)
            .unwrap_or_default();
        let bad = names.iter().any(|name| self.bad_files.contains(name));
        let text = format!(
            "New-context = '{}' is bad or contains bad rules.  Use is not recommended,  results may not be \
             scientifically valid.",
            self.context
        );
        let good = match (bad, self.allow_bad_rules) {
            (false, _) => true,
            (true, true) => warn(&text),
            (true, false) => complain(&format!("instrument='ALL' type='ALL' data='ALL' ::  {text}")),
        };
        self.judged.borrow_mut().insert(instrument.to_owned(), good);
        good
    }
}

/// The text of an answer that a header can record.
fn recordable<'a>(answer: &Answer<'a>) -> Option<Cow<'a, str>> {
    match answer {
        Answer::File(_) | Answer::NotApplicable | Answer::NotFound(_) => Some(answer.text()),
        Answer::Several(_) | Answer::Named(_) | Answer::Value(_) | Answer::Object(_) => None,
    }
}

/// An error as the client prints it; false, for the caller to remember.
fn complain(text: &str) -> bool {
    say("ERROR", text);
    false
}

/// A warning as the client prints it; true, as nothing failed.
pub(super) fn warn(text: &str) -> bool {
    say("WARNING", text);
    true
}

fn say(level: &str, text: &str) {
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "CRDS - {level} -  {text}");
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
