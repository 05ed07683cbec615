//! `crds-fs bestrefs`: best references of datasets, files, and headers.

mod files;
mod lookup;
mod record;
mod render;
mod rulebook;
mod stream;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::Failure;
use super::settings::{Environment, environment, truth};
use crate::crds::Observatory;
use crate::rules::{Header, HeaderValue, LookupOptions};
use lookup::{Lookup, Subject};
use rulebook::{Places, Rulebook};

/// Tell the best references of datasets.
///
/// Rules are evaluated here, from the cache directory or mount; nothing but what `--fetch` asks for is downloaded.
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
    /// of the cache].
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
    #[arg(long, requires = "files", conflicts_with = "compare")]
    update_bestrefs: bool,
    /// With --update-bestrefs: no match is an error and leaves the file's value as it is.
    #[arg(long, requires = "update_bestrefs")]
    undefined_differences_matter: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let environment = environment();
    let places = match args.cache.as_deref().or(args.mount.as_deref()) {
        Some(root) => Places::of_cache(root),
        None => Places::of_environment(&environment),
    };
    let ignore_checksum = truth(&environment, "CRDS_IGNORE_MAPPING_CHECKSUM")?.unwrap_or(false);
    let rulebook = Rulebook::new(places, LookupOptions { ignore_checksum });
    let lookup = Lookup {
        contexts: contexts(args, &environment, &rulebook)?,
        compare: args
            .compare
            .as_deref()
            .map(|name| literal(&rulebook, name))
            .transpose()?,
        types: (!args.types.is_empty()).then(|| args.types.clone()),
        json: args.json,
        rulebook: &rulebook,
    };
    let complete = if let Some(path) = &args.headers {
        headers(&lookup, path)?
    } else if args.files.is_empty() {
        parameters(&lookup, args)?
    } else {
        files::run(&lookup, args, &environment)?
    };
    if complete {
        Ok(())
    } else {
        Err(Failure::new("not everything could be answered: see above"))
    }
}

/// The contexts asked for, by their literal names.
fn contexts(args: &Args, environment: &Environment, rulebook: &Rulebook) -> Result<Vec<String>, Failure> {
    let said = |name: &str| {
        environment
            .get(name)
            .filter(|value| !value.is_empty() && !value.eq_ignore_ascii_case("none"))
    };
    if !args.context.is_empty() {
        return args.context.iter().map(|name| literal(rulebook, name)).collect();
    }
    if let Some(name) = said("CRDS_CONTEXT") {
        return Ok(vec![literal(rulebook, name)?]);
    }
    match said("CRDS_OBSERVATORY").and_then(|name| name.parse::<Observatory>().ok()) {
        Some(observatory) => rulebook
            .default_context(observatory)
            .map(|name| vec![name])
            .map_err(Failure::new),
        // Lines of --headers may bring their own.
        None if args.headers.is_some() => Ok(Vec::new()),
        None => Err(Failure::usage(
            "under which context? Give --context, or set CRDS_CONTEXT or CRDS_OBSERVATORY",
        )),
    }
}

fn literal(rulebook: &Rulebook, name: &str) -> Result<String, Failure> {
    rulebook.literal(name).map_err(Failure::new)
}

/// Streams JSON lines through all cores.
fn headers(lookup: &Lookup<'_>, path: &Path) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::because(format!("reading {}", path.display()), error);
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    if path == Path::new("-") {
        let input = BufReader::with_capacity(1 << 18, io::stdin());
        lookup.stream(input, &mut output, cores).map_err(failed)
    } else {
        let input = BufReader::with_capacity(1 << 18, File::open(path).map_err(failed)?);
        lookup.stream(input, &mut output, cores).map_err(failed)
    }
}

/// Looks up parameters given on the command line.
fn parameters(lookup: &Lookup<'_>, args: &Args) -> Result<bool, Failure> {
    let mut output = Vec::new();
    let mut complete = true;
    for text in args.header.iter().chain(&args.datasets) {
        let subject = Subject::named(text, header(text)?);
        complete &= lookup.tell(&subject, &mut output);
    }
    io::stdout().lock().write_all(&output)?;
    Ok(complete)
}

/// Reads `KEY=VALUE,...`, in order.
fn header(text: &str) -> Result<Header, Failure> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
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
