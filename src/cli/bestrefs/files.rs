//! Dataset files: their headers looked up, and the answers written into them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::counts::Counts;
use super::lookup::Lookup;
use super::render::{self, complain, warn};
use super::request::{ReftypeSelection, Update};
use super::subject::Subject;
use crate::cli::cache_dirs::observatory_of;
use crate::cli::{Failure, output};
use crate::crds::Observatory;
use crate::dataset::{self, Change, DatasetHeader, Recipe};
use crate::rules::python::repr;
use crate::rules::{BestRef, Header, Memory, default_reftypes};

/// Looks up all files, and updates their headers if that is asked for.
pub(super) fn run(lookup: &Lookup<'_>, paths: &[PathBuf], update: Option<Update>) -> Result<Counts, Failure> {
    if update.is_some() && lookup.contexts.len() > 1 {
        return Err(Failure::usage("--update-bestrefs needs exactly one context"));
    }
    let updater = update.map(|options| Updater::new(options, lookup.json));
    let mut seen = BTreeSet::new();
    let mut counts = Counts::default();
    for path in paths {
        counts.count(one(lookup, updater.as_ref(), &mut seen, path)?);
    }
    Ok(counts)
}

/// Warns of a context, once, that has rules of its own for the default types.
fn warn_of_types(lookup: &Lookup<'_>, seen: &mut BTreeSet<String>, context: &str) {
    if lookup.reftypes.only.is_some() || lookup.reftypes.all || !seen.insert(context.to_owned()) {
        return;
    }
    if let Some(rules) = lookup.rules.own_default_types(context) {
        warn(&format!(
            "{context} has rules of its own for the types that an exposure needs, {rules}, which are not looked at: \
             give --types or --all-types if the built-in ones do not suit"
        ));
    }
}

/// Looks one file up, prints, and updates it if that was asked for.
fn one(
    lookup: &Lookup<'_>,
    updater: Option<&Updater>,
    seen: &mut BTreeSet<String>,
    path: &Path,
) -> Result<bool, Failure> {
    let mut told = Vec::new();
    let found = load(path, lookup.observatory()).and_then(|header| {
        // The file determines its observatory, and that its default context.
        let contexts = lookup
            .contexts_of(Some(header.observatory()))
            .map_err(|why| format!("{}: {why}", path.display()))?;
        Ok((header, contexts))
    });
    let (header, contexts) = match found {
        Ok(found) => found,
        Err(text) if lookup.json => {
            let id = serde_json::Value::from(path.to_string_lossy()).to_string();
            render::error(&mut told, true, &id, &text);
            output::write(&told)?;
            return Ok(false);
        }
        Err(text) => return Ok(complain(&text)),
    };
    for context in &contexts {
        warn_of_types(lookup, seen, context);
    }
    let mut subject = Subject::named(&path.to_string_lossy(), header.iter().collect());
    subject.types = Some(types(lookup.reftypes, &header, &subject.header));
    if lookup.contexts.is_empty() {
        subject.context = contexts.first().map(|context| Cow::Owned(context.clone()));
    }
    if !skip(lookup, &contexts, &mut subject) {
        return Ok(true);
    }
    let mut complete = true;
    if updater.is_none() || lookup.json {
        complete = lookup.tell(&mut Memory::none(), &subject, &mut told);
        output::write(&told)?;
    }
    if let (Some(updater), Some(context)) = (updater, contexts.first()) {
        complete &= updater.write(lookup, context, path, &header, &subject)?;
    }
    Ok(complete)
}

/// The header of a file as it is looked up, or why there is none.
pub(super) fn load(path: &Path, observatory: Option<Observatory>) -> Result<DatasetHeader, String> {
    let header = dataset::read(path, observatory).map_err(|error| Failure::from(error).to_string())?;
    header.for_lookup().map_err(|error| {
        let path = path.display();
        format!("Failed loading source '{path}' from 'FileHeaderGenerator' : {error}")
    })
}

/// The types to look up, sorted; none means all (spec/crds-rules 22, step 2).
fn types(selection: &ReftypeSelection, header: &DatasetHeader, raw: &Header) -> Vec<String> {
    let mut types: Vec<String> = match &selection.only {
        Some(types) => types.iter().map(|name| name.to_lowercase()).collect(),
        None if selection.all || header.observatory() != Observatory::Jwst => Vec::new(),
        None => default_reftypes(raw).into_iter().map(str::to_owned).collect(),
    };
    types.sort_unstable();
    types
}

/// Without the types that are not wanted; false if none is left. Where all are asked for they have to be listed for that.
fn skip(lookup: &Lookup<'_>, contexts: &[String], subject: &mut Subject<'_>) -> bool {
    let skipped = &lookup.reftypes.skip;
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
        // A failure is reported with the answers.
        subject.types = contexts.iter().find_map(|context| all(context).ok());
    }
    if let Some(types) = &mut subject.types {
        types.retain(|name| !skipped.iter().any(|skipped| skipped.eq_ignore_ascii_case(name)));
    }
    // An empty list would mean all types.
    subject.types.as_ref().is_none_or(|types| !types.is_empty())
}

/// Updates the headers of files, and prints the updates.
struct Updater {
    options: Update,
    /// Standard output is for JSON.
    json: bool,
    /// Of each observatory, in lower case.
    bad_files: RefCell<BTreeMap<String, Vec<String>>>,
    /// Whether lookups may rest on the rules of a context and instrument, as far as that was looked at.
    judged: RefCell<BTreeMap<(String, String), bool>>,
}

impl Updater {
    fn new(options: Update, json: bool) -> Self {
        Self {
            options,
            json,
            bad_files: RefCell::default(),
            judged: RefCell::default(),
        }
    }

    /// Updates one file; false if something is wrong, which does not keep the rest from being written.
    fn write(
        &self,
        lookup: &Lookup<'_>,
        context: &str,
        path: &Path,
        header: &DatasetHeader,
        subject: &Subject<'_>,
    ) -> Result<bool, Failure> {
        let data = path.display().to_string();
        let Ok(instrument) = header.instrument() else {
            return Ok(false);
        };
        let recipe = Recipe {
            dataset: &data,
            instrument: &instrument,
            context,
            undefined_differences_matter: self.options.undefined_differences_matter,
        };
        let mut good = self.check_rules(lookup, context, &instrument);
        let planned = lookup.with_answers(&mut Memory::none(), subject, context, |_, answers| {
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
            Err(text) => {
                let text = format!("instrument='{instrument}' data='{data}' ::  {text}");
                return Ok(complain(&text));
            }
        };
        good &= plan.errors.iter().fold(true, |_, error| complain(error));
        let written = if self.options.dry_run {
            Ok(true)
        } else {
            dataset::update(path, &plan.changes)
        };
        match written {
            Ok(true) => self.tell(context, &data, header, &plan.changes)?,
            Ok(false) => self.tell(context, &data, header, &[])?,
            Err(error) => return Ok(complain(&Failure::from(error).to_string())),
        }
        let bad_files = self.bad_files(lookup, context);
        let recommended = plan.references.iter();
        for (reftype, file) in recommended.filter(|(_, file)| bad_files.contains(file)) {
            good &= self.tell_bad_file(&data, &instrument, reftype, file);
        }
        Ok(good)
    }

    /// Tells of a bad file that is recommended; false if that is an error.
    fn tell_bad_file(&self, data: &str, instrument: &str, reftype: &str, file: &str) -> bool {
        let text = format!(
            "File '{}' is bad. Use is not recommended,  results may not be scientifically valid.",
            file.to_uppercase()
        );
        if self.options.allow_bad_references {
            return warn(&format!("For {data} {instrument} {reftype} {text}"));
        }
        let reftype = reftype.to_uppercase();
        complain(&format!(
            "instrument='{instrument}' type='{reftype}' data='{data}' ::  {text}"
        ))
    }

    /// Prints the updates of a file that were written, or would be.
    fn tell(
        &self,
        context: &str,
        data: &str,
        header: &DatasetHeader,
        changes: &[Change],
    ) -> Result<(), Failure> {
        let old = |change: &Change| header.get(&change.keyword.to_uppercase()).map(str::to_owned);
        let changes: Vec<_> = changes
            .iter()
            .filter(|change| old(change).as_ref() != Some(&change.value))
            .collect();
        let verb = match (changes.is_empty(), self.options.dry_run) {
            (true, _) => "has the best references recorded already",
            (false, true) => "would be updated",
            (false, false) => "updated",
        };
        let mut text = format!("{data}  {context}  {verb}\n");
        let width = changes
            .iter()
            .map(|change| change.keyword.len())
            .max()
            .unwrap_or_default();
        for change in changes {
            let was = old(change).map_or_else(|| "nothing".to_owned(), |old| repr(&old));
            let line = format!(
                "    {:width$}  {was} --> {}\n",
                change.keyword,
                repr(&change.value)
            );
            text.push_str(&line);
        }
        if self.json {
            output::remark(&text);
        } else {
            output::write(text.as_bytes())?;
        }
        Ok(())
    }

    /// The names of files that are known to be bad, in lower case.
    fn bad_files(&self, lookup: &Lookup<'_>, context: &str) -> Vec<String> {
        let observatory = observatory_of(context);
        let mut known = self.bad_files.borrow_mut();
        known
            .entry(observatory.to_owned())
            .or_insert_with(|| lookup.rules.bad_files(observatory))
            .clone()
    }

    /// Warns of bad rules among those of an instrument, once for each; false if that is an error.
    fn check_rules(&self, lookup: &Lookup<'_>, context: &str, instrument: &str) -> bool {
        let whose = (context.to_owned(), instrument.to_owned());
        if let Some(good) = self.judged.borrow().get(&whose) {
            return *good;
        }
        // Rules that cannot be loaded fail the lookup.
        let names = lookup
            .rules
            .mappings_of_instrument(context, instrument)
            .unwrap_or_default();
        let bad_files = self.bad_files(lookup, context);
        let bad = names.iter().any(|name| bad_files.contains(name));
        let text = format!(
            "New-context = '{context}' is bad or contains bad rules.  Use is not recommended,  results may not be \
             scientifically valid."
        );
        let good = match (bad, self.options.allow_bad_rules) {
            (false, _) => true,
            (true, true) => warn(&text),
            (true, false) => complain(&format!("instrument='ALL' type='ALL' data='ALL' ::  {text}")),
        };
        self.judged.borrow_mut().insert(whose, good);
        good
    }
}

/// The text of an answer that a header can record.
fn recordable<'a>(answer: &BestRef<'a>) -> Option<Cow<'a, str>> {
    match answer {
        BestRef::File(_) | BestRef::NotApplicable | BestRef::NotFound(_) => Some(answer.text()),
        BestRef::Several(_) | BestRef::Named(_) | BestRef::Value(_) | BestRef::Object(_) => None,
    }
}
