//! One call of `crds-fs bestrefs`: its arguments and the environment, resolved.

use std::path::{Path, PathBuf};

use super::Args;
use super::subject::Item;
use crate::cli::Failure;
use crate::cli::cache_dirs::CacheDirs;
use crate::cli::flags::MountFlags;
use crate::cli::settings::{Environment, Settings, observatory, truth, variable};
use crate::cli::target::{Missing, Origin, Target};
use crate::crds::Observatory;
use crate::mount::unmount;
use crate::rules::LookupOptions;

/// A call, with everything that follows from arguments and environment.
pub(super) struct Request {
    pub(super) subjects: Subjects,
    /// The contexts as they are named; none where the default ones are meant.
    pub(super) contexts: Vec<String>,
    /// The variable that names the context, where no flag does.
    pub(super) context_variable: Option<&'static str>,
    /// The context to compare with, as it is named.
    pub(super) compare: Option<String>,
    /// The observatory of subjects that do not tell their own.
    pub(super) observatory: Option<Observatory>,
    pub(super) reftypes: ReftypeSelection,
    pub(super) json: bool,
    /// Whether types without an answer are shown as well.
    pub(super) all: bool,
    pub(super) task: Task,
    /// Whether the references are fetched too.
    pub(super) fetch: bool,
    /// The directories that the rules are read from.
    pub(super) dirs: CacheDirs,
    pub(super) options: LookupOptions,
    /// The mount or cache that answers for archive ids, and that references are fetched into.
    pub(super) target: Target,
    /// The settings to open the target with; `None` where that need not be.
    pub(super) settings: Option<Settings>,
}

/// The task of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// To print or record the answers, or the difference of two contexts.
    Answer,
    /// To explain the answers.
    Explain,
    /// To compare the references in headers with the answers.
    Check,
}

/// The subjects of a call.
pub(super) enum Subjects {
    /// Dataset ids and parameters.
    Items(Vec<Item>),
    /// JSON lines of a file; of standard input without one.
    Lines(Option<PathBuf>),
    /// Dataset files, sorted by path.
    Files(Vec<PathBuf>, Option<Update>),
}

/// The way in which the headers of dataset files are updated.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the user")]
pub(super) struct Update {
    /// Nothing is written.
    pub(super) dry_run: bool,
    /// No match is an error and leaves the file's value as it is.
    pub(super) undefined_differences_matter: bool,
    pub(super) allow_bad_references: bool,
    pub(super) allow_bad_rules: bool,
}

/// The reference types that are wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct ReftypeSelection {
    /// These alone; without them the default types.
    pub(super) only: Option<Vec<String>>,
    /// Of files: not these.
    pub(super) skip: Vec<String>,
    /// Of files: all types of the instrument instead of the default types.
    pub(super) all: bool,
}

impl ReftypeSelection {
    fn of(args: &Args) -> Self {
        let mut only = trimmed(&args.types);
        let explained = args.explain.as_deref().unwrap_or_default().split(',');
        let explained = explained.map(str::trim).filter(|name| !name.is_empty());
        only.extend(explained.map(str::to_owned));
        Self {
            only: (!only.is_empty()).then_some(only),
            skip: trimmed(&args.skip_types),
            all: args.all_types,
        }
    }

    /// All types that are named, also to be left out.
    pub(super) fn named(&self) -> impl Iterator<Item = &String> {
        self.only.iter().flatten().chain(&self.skip)
    }
}

impl Request {
    /// Resolves arguments. Of the file system it is only asked whether a directory is a mount.
    pub(super) fn new(mut args: Args, environment: &Environment) -> Result<Self, Failure> {
        args.sort_out_explained();
        check(&args)?;
        let missing = if args.fetch {
            Missing::Make
        } else {
            Missing::AskServers
        };
        let (target, origin) = Target::find(&args.target, environment, missing)?;
        let dirs = match (&target, origin) {
            (Target::Mount(root) | Target::Cache(root), Origin::Named) => CacheDirs::of_cache(root),
            (Target::Mount(root), Origin::Default) if !CacheDirs::are_named(environment) => {
                CacheDirs::of_cache(root)
            }
            _ => CacheDirs::of_environment(environment),
        };
        if let Target::Mount(root) = &target
            && dirs == CacheDirs::of_cache(root)
        {
            unmount::find(root)?.must_answer()?;
        }
        let has_ids = args.datasets.iter().any(|name| !name.contains('='));
        if !has_ids && !args.fetch && !args.context.iter().any(|name| name.contains('/')) {
            // There is no other source of answers.
            dirs.check().map_err(Failure::new)?;
        }
        let settings = (has_ids || args.fetch).then(|| server_settings(&args, &target, environment));
        let settings = settings.transpose()?;
        let named = ["CRDS_FS_CONTEXT", "CRDS_CONTEXT"]
            .into_iter()
            .filter(|_| args.context.is_empty())
            .find_map(|name| Some((name, variable(environment, name)?)));
        let contexts = match named {
            Some((_, context)) => vec![context.to_owned()],
            None => args.context.clone(),
        };
        Ok(Self {
            contexts,
            context_variable: named.map(|(variable, _)| variable),
            compare: args.compare.clone(),
            observatory: observatory(environment).or_else(|| target.only_observatory()),
            reftypes: ReftypeSelection::of(&args),
            json: args.json,
            all: args.all,
            task: match (&args.explain, args.check) {
                (Some(_), _) => Task::Explain,
                (None, true) => Task::Check,
                (None, false) => Task::Answer,
            },
            fetch: args.fetch,
            dirs,
            target,
            settings,
            options: LookupOptions {
                ignore_checksum: truth(environment, "CRDS_IGNORE_MAPPING_CHECKSUM")?.unwrap_or(false),
            },
            subjects: subjects(args, environment)?,
        })
    }
}

/// The settings for asking servers, and for fetching.
fn server_settings(args: &Args, target: &Target, environment: &Environment) -> Result<Settings, Failure> {
    // It is for subjects that do not tell their own.
    let mut environment = environment.clone();
    environment.remove("CRDS_OBSERVATORY");
    let mut settings = target.settings(&args.target, MountFlags::default(), &environment)?;
    if args.fetch {
        settings.share();
    }
    Ok(settings)
}

/// Types of references whose names have digits in them.
const WITH_DIGITS: [&str; 4] = ["d2imfile", "extract1d", "v2v3", "wf4tfile"];

impl Args {
    /// Tells types from a dataset behind `--explain`: ids have digits.
    fn sort_out_explained(&mut self) {
        let is_type = |name: &str| {
            let name = name.trim();
            WITH_DIGITS.iter().any(|known| name.eq_ignore_ascii_case(known))
                || name.bytes().all(|letter| letter.is_ascii_alphabetic())
        };
        if let Some(explained) = &mut self.explain
            && !explained.split(',').all(is_type)
        {
            self.datasets.insert(0, std::mem::take(explained));
        }
    }
}

/// Refuses arguments that make no sense together where clap does not see it: it asks for nothing where another subject
/// is given.
fn check(args: &Args) -> Result<(), Failure> {
    let subjects = [
        args.datasets.is_empty(),
        args.files.is_empty(),
        args.header.is_empty(),
        args.headers.is_none(),
    ];
    match subjects.iter().filter(|is_missing| !**is_missing).count() {
        0 => {
            return Err(Failure::usage(
                "of which datasets? Give ids, or --files FILE..., --header KEY=VALUE,... or --headers FILE.jsonl",
            ));
        }
        1 => {}
        // A word behind --explain counts as a dataset.
        _ => {
            return Err(Failure::usage(format!(
                "'{}' is not the name of a type: write --explain=TYPE, or --explain and --types TYPE",
                args.datasets.first().map_or("", String::as_str)
            )));
        }
    }
    for (given, flag) in [
        (args.update_bestrefs, "--update-bestrefs"),
        (args.all_types, "--all-types"),
        (!args.skip_types.is_empty(), "--skip-types"),
    ] {
        if given && args.files.is_empty() {
            return Err(Failure::usage(format!(
                "{flag} is about dataset files: give them with --files"
            )));
        }
    }
    if args.check && args.files.is_empty() && args.headers.is_none() {
        return Err(Failure::usage(
            "--check is about what headers record: give dataset files with --files, or headers with --headers",
        ));
    }
    let mut named = args.types.iter().chain(&args.skip_types);
    if named.any(|name| name.trim().is_empty()) {
        return Err(Failure::usage(
            "an empty name is no type of references: write --types dark,flat",
        ));
    }
    Ok(())
}

fn subjects(args: Args, environment: &Environment) -> Result<Subjects, Failure> {
    if let Some(path) = args.headers {
        let is_input = path == Path::new("-");
        return Ok(Subjects::Lines((!is_input).then_some(path)));
    }
    if args.files.is_empty() {
        let parameters = args.header.iter().map(|text| Item::parameters(text));
        let items = parameters.chain(args.datasets.iter().map(|text| Item::read(text)));
        return Ok(Subjects::Items(items.collect::<Result<_, _>>()?));
    }
    let allowed = |variable| Ok::<_, Failure>(truth(environment, variable)?.unwrap_or(false));
    let update = if args.update_bestrefs {
        Some(Update {
            dry_run: args.dry_run,
            undefined_differences_matter: args.undefined_differences_matter,
            allow_bad_references: allowed("CRDS_ALLOW_BAD_REFERENCES")?,
            allow_bad_rules: allowed("CRDS_ALLOW_BAD_RULES")?,
        })
    } else {
        None
    };
    let mut paths = args.files;
    paths.sort_unstable();
    Ok(Subjects::Files(paths, update))
}

/// Names without the blanks around them.
fn trimmed(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.trim().to_owned()).collect()
}
