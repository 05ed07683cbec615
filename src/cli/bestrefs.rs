//! `crds-fs bestrefs`: best references of datasets, files, and headers.

mod cache_dirs;
mod files;
mod lookup;
mod record;
mod render;
mod rules;
mod source;
mod stream;
mod subject;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::settings::{Environment, environment, truth, variable};
use super::{Failure, output};
use crate::crds::{DatasetName, NameError, Observatory};
use crate::rules::python::repr;
use crate::rules::{Header, HeaderValue, LookupOptions, Memory};
use cache_dirs::CacheDirs;
use lookup::{Defaults, Lookup, Tally};
use render::{say, warn};
use rules::{CacheRules, check_context};
use source::{Source, is_mount};
use stream::StreamError;
use subject::Subject;

/// Tell the best references of datasets.
///
/// Headers, files and parameters are looked up here, by the rules in the cache directory or mount. For ids of the
/// archive the mount or the server is asked.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("subjects").required(true).args(["datasets", "files", "header", "headers"]))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(super) struct Args {
    /// Ids of datasets in the archive, or parameters KEY=VALUE,...
    datasets: Vec<String>,
    /// Dataset files: FITS, ASDF, GEIS, JSON or YAML.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Matching parameters; in values '%2C' stands for ',' and '%25' for '%'.
    #[arg(long, value_name = "KEY=VALUE,...")]
    header: Vec<String>,
    /// Headers as JSON lines {"id": ..., "header": {...}}, each optionally with "context" and "reftypes"; '-' reads
    /// standard input.
    #[arg(long, value_name = "FILE.jsonl|-")]
    headers: Option<PathBuf>,
    /// The context: a mapping, or a name such as jwst-latest; may be given several times [default: the default context
    /// of the observatory that the dataset is of].
    #[arg(long, value_name = "NAME", env = "CRDS_FS_CONTEXT")]
    context: Vec<String>,
    /// Show only what is different under this context.
    #[arg(long, value_name = "NAME")]
    compare: Option<String>,
    /// Only these types of references.
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    types: Vec<String>,
    /// Of files: not these types.
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    skip_types: Vec<String>,
    /// Of files: all types of the instrument, also those that its exposure type does not use.
    #[arg(long, conflicts_with = "types")]
    all_types: bool,
    /// The cache directory with the rules [default: that of the CRDS variables].
    #[arg(long, value_name = "DIR", env = "CRDS_FS_CACHE", conflicts_with = "mount")]
    cache: Option<PathBuf>,
    /// A directory where crds-fs is mounted.
    #[arg(long, value_name = "M")]
    mount: Option<PathBuf>,
    /// Write JSON, one line for each answer.
    #[arg(long)]
    json: bool,
    /// Bring the references into the cache.
    #[arg(long)]
    fetch: bool,
    /// Write the answers into the headers of the files.
    #[arg(long, conflicts_with = "compare")]
    update_bestrefs: bool,
    /// With --update-bestrefs: say what would be written, and write nothing.
    #[arg(long, requires = "update_bestrefs")]
    dry_run: bool,
    /// With --update-bestrefs: no match is an error and leaves the file's value as it is.
    #[arg(long, requires = "update_bestrefs")]
    undefined_differences_matter: bool,
}

impl Args {
    /// What makes no sense together and clap does not see: it asks for nothing where another subject is given.
    fn check(&self) -> Result<(), Failure> {
        for (given, flag) in [
            (self.update_bestrefs, "--update-bestrefs"),
            (self.all_types, "--all-types"),
            (!self.skip_types.is_empty(), "--skip-types"),
        ] {
            if given && self.files.is_empty() {
                return Err(Failure::usage(format!(
                    "{flag} is about dataset files: give them with --files"
                )));
            }
        }
        if self
            .types
            .iter()
            .chain(&self.skip_types)
            .any(|name| name.trim().is_empty())
        {
            return Err(Failure::usage(
                "an empty name is no type of references: write --types dark,flat",
            ));
        }
        match &self.mount {
            Some(mount) if !is_mount(mount)? => Err(Failure::new(format!(
                "nothing is mounted at {}: give the directory of 'crds-fs mount', or --cache DIR for an ordinary cache",
                mount.display()
            ))),
            _ => Ok(()),
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    args.check()?;
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let environment = environment();
    let dirs = match args.cache.as_deref().or(args.mount.as_deref()) {
        Some(root) => CacheDirs::of_cache(root),
        None => CacheDirs::of_environment(&environment),
    };
    let by_id = args.datasets.iter().any(|name| !name.contains('='));
    if !by_id && !args.fetch && !args.context.iter().any(|name| name.contains('/')) {
        // Nothing could be had from anywhere else.
        dirs.check().map_err(Failure::new)?;
    }
    let ignore_checksum = truth(&environment, "CRDS_IGNORE_MAPPING_CHECKSUM")?.unwrap_or(false);
    let rules = CacheRules::new(dirs, LookupOptions { ignore_checksum });
    let source = (by_id || args.fetch)
        .then(|| Source::new(args, &environment))
        .transpose()?;
    let done = ask(args, &environment, &rules, source.as_ref());
    if let Some(source) = source {
        source.close();
    }
    let (tally, fetched) = done?;
    finish(tally, fetched)
}

/// Looks everything up; how that went, and whether every reference that was wanted could be fetched.
fn ask(
    args: &Args,
    environment: &Environment,
    rules: &CacheRules,
    source: Option<&Source>,
) -> Result<(Tally, bool), Failure> {
    let literal = |name: &str| {
        check_context(name).map_err(Failure::usage)?;
        match (rules.literal(name), source) {
            (Err(_), Some(source)) => source.literal(name).map_err(Failure::new),
            (literal, _) => literal.map_err(Failure::new),
        }
    };
    let observatory = variable(environment, "CRDS_OBSERVATORY").and_then(|name| name.parse().ok());
    let lookup = Lookup {
        contexts: contexts(args, environment, literal)?,
        defaults: Defaults::new(observatory, |name| {
            literal(name).map_err(|failure| failure.to_string())
        }),
        compare: args.compare.as_deref().map(literal).transpose()?,
        types: (!args.types.is_empty()).then(|| trimmed(&args.types)),
        named_types: trimmed(&[&args.types[..], &args.skip_types].concat()),
        json: args.json,
        rules,
        wanted: args.fetch.then(Mutex::default),
        differs: AtomicBool::new(false),
    };
    lookup.check_types(&lookup.contexts).map_err(Failure::usage)?;
    let tally = if let Some(path) = &args.headers {
        headers(&lookup, path)?
    } else if args.files.is_empty() {
        datasets(&lookup, args, source)?
    } else {
        files::run(&lookup, args, environment)?
    };
    if let Some(new) = &lookup.compare
        && !args.json
        && tally.asked > tally.failed
        && !lookup.differs.load(Ordering::Relaxed)
    {
        say("INFO", &format!("no differences under {new}"));
    }
    let wanted = lookup.wanted.map(Mutex::into_inner);
    let fetched = match (source, wanted) {
        (Some(source), Some(wanted)) => source.fetch(wanted),
        _ => true,
    };
    Ok((tally, fetched))
}

/// Names without the blanks around them.
fn trimmed(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.trim().to_owned()).collect()
}

/// The end: whether everything could be done, else how much could not.
fn finish(tally: Tally, fetched: bool) -> Result<(), Failure> {
    let Tally { asked, failed } = tally;
    let datasets = (failed > 0).then(|| format!("{failed} of {asked} datasets failed"));
    let references = (!fetched).then(|| "not every reference could be fetched".to_owned());
    let trouble: Vec<String> = datasets.into_iter().chain(references).collect();
    if trouble.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(format!("{}: see above", trouble.join(", and "))))
    }
}

/// The contexts asked for, by their literal names; none where the default ones are meant.
fn contexts(
    args: &Args,
    environment: &Environment,
    literal: impl Fn(&str) -> Result<String, Failure>,
) -> Result<Vec<String>, Failure> {
    if !args.context.is_empty() {
        return args.context.iter().map(|name| literal(name)).collect();
    }
    let named = variable(environment, "CRDS_CONTEXT");
    named.map(literal).into_iter().collect()
}

/// Streams JSON lines through all cores.
fn headers(lookup: &Lookup<'_>, path: &Path) -> Result<Tally, Failure> {
    let unreadable = |error: io::Error| Failure::because(format!("reading {}", path.display()), error);
    let failed = |error: StreamError| match error {
        StreamError::Input(error) => unreadable(error),
        StreamError::Output(error) => error.into(),
    };
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if path == Path::new("-") {
        let input = BufReader::with_capacity(1 << 18, io::stdin());
        lookup.stream(input, &mut output, cores).map_err(failed)
    } else {
        let input = BufReader::with_capacity(1 << 18, File::open(path).map_err(unreadable)?);
        lookup.stream(input, &mut output, cores).map_err(failed)
    }
}

/// A dataset or parameters on the command line.
enum Item<'a> {
    Id(DatasetName),
    Parameters(Subject<'a>),
}

impl Item<'_> {
    fn parameters(text: &str) -> Result<Self, Failure> {
        Ok(Self::Parameters(Subject::named(text, header(text)?)))
    }

    fn read(text: &str) -> Result<Self, Failure> {
        if text.contains('=') {
            return Self::parameters(text);
        }
        text.parse().map(Self::Id).map_err(|error: NameError| {
            let hint = if text.contains('/') {
                "; dataset files are given with --files"
            } else {
                ""
            };
            Failure::usage(format!("{error}{hint}"))
        })
    }

    fn observatory(&self) -> Option<Observatory> {
        match self {
            Self::Id(DatasetName::Id(id)) => id.observatory(),
            Self::Id(DatasetName::Parameters(_)) => None,
            Self::Parameters(subject) => subject.observatory(),
        }
    }
}

/// Looks up datasets and parameters given on the command line.
fn datasets(lookup: &Lookup<'_>, args: &Args, source: Option<&Source>) -> Result<Tally, Failure> {
    let parameters = args.header.iter().map(|text| Item::parameters(text));
    let mut items = Vec::new();
    for item in parameters.chain(args.datasets.iter().map(|text| Item::read(text))) {
        let item = item?;
        let contexts = lookup.contexts_of(item.observatory()).map_err(Failure::usage)?;
        items.push((item, contexts));
    }
    if let Some(source) = source {
        prepare(lookup, source, &items);
    }
    let mut told = Vec::new();
    let mut tally = Tally::default();
    for (item, contexts) in &items {
        let good = match (item, source) {
            (Item::Id(dataset), Some(source)) => by_id(lookup, contexts, source, dataset, &mut told),
            (Item::Id(_), None) => false,
            (Item::Parameters(subject), _) => lookup.tell(&mut Memory::none(), subject, &mut told),
        };
        tally.count(good);
        output::write(&told)?;
        told.clear();
    }
    Ok(tally)
}

/// Asks for all ids of each context at once.
fn prepare(lookup: &Lookup<'_>, source: &Source, items: &[(Item<'_>, Vec<String>)]) {
    let mut ids: BTreeMap<&str, Vec<DatasetName>> = BTreeMap::new();
    for (item, contexts) in items {
        if let Item::Id(dataset) = item {
            for context in contexts.iter().chain(&lookup.compare) {
                ids.entry(context).or_default().push(dataset.clone());
            }
        }
    }
    for (context, datasets) in ids {
        source.prepare(&[context], &datasets);
    }
}

/// Writes the answers for a dataset of the archive; false if there are none.
fn by_id(
    lookup: &Lookup<'_>,
    contexts: &[String],
    source: &Source,
    dataset: &DatasetName,
    out: &mut Vec<u8>,
) -> bool {
    let id = Value::from(dataset.display()).to_string();
    let types = lookup.types.as_ref();
    let wanted =
        |reftype: &str| types.is_none_or(|types| types.iter().any(|own| own.eq_ignore_ascii_case(reftype)));
    let answers = |context: &str| {
        let mut found = source.answers(context, dataset).map_err(|why| {
            let name = dataset.display();
            if Path::new(&name).is_file() {
                format!("{why}; for the file of that name write --files {name}")
            } else {
                why
            }
        })?;
        found.answers.retain(|reftype, _| wanted(reftype));
        lookup.want(context, || found.answers.values().flat_map(names));
        Ok::<_, String>(found)
    };
    let mut complete = true;
    for context in contexts {
        let told = match &lookup.compare {
            Some(new) => answers(context)
                .and_then(|before| Ok((before, answers(new)?)))
                .map(|(before, after)| {
                    for reftype in unanswered(types, &[&before.answers, &after.answers]) {
                        warn(&format!("{}: {}", dataset.display(), no_answer(&reftype)));
                    }
                    let instrument = before.instrument.as_ref().or(after.instrument.as_ref());
                    let whose = (id.as_str(), instrument.map(String::as_str));
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
                render::answers(out, lookup.json, &id, context, &found);
            }),
        };
        if let Err(text) = told {
            render::error(out, lookup.json, &id, &text);
            complete = false;
        }
    }
    complete
}

/// The types asked for by name that none of these answers has, in lower case.
fn unanswered(types: Option<&Vec<String>>, answers: &[&Map<String, Value>]) -> Vec<String> {
    let asked = types.into_iter().flatten().map(|name| name.to_lowercase());
    asked
        .filter(|name| answers.iter().all(|answers| !answers.contains_key(name)))
        .collect()
}

/// Who answers for datasets does not say which types it knows, only which apply.
fn no_answer(reftype: &str) -> String {
    format!(
        "no answer for the type {}: unknown, or omitted by the rules",
        repr(reftype)
    )
}

/// The file names in an answer.
fn names(answer: &Value) -> Vec<&str> {
    match answer {
        Value::String(text) if !text.starts_with("NOT FOUND") && text != "N/A" => vec![text],
        Value::Array(items) => items.iter().flat_map(names).collect(),
        Value::Object(items) => items.values().flat_map(names).collect(),
        _ => Vec::new(),
    }
}

/// Reads `KEY=VALUE,...`, in order; blanks around keys and values do not count.
fn header(text: &str) -> Result<Header, Failure> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let value = percent_decode_str(value).decode_utf8().ok()?;
        (!name.is_empty()).then(|| (name.to_owned(), HeaderValue::Text(value.into_owned())))
    };
    text.split(',')
        .map(pair)
        .collect::<Option<Header>>()
        .ok_or_else(|| {
            Failure::usage(format!(
                "'{text}' is not a list of parameters KEY=VALUE,KEY=VALUE... (write ',' as %2C)"
            ))
        })
}
