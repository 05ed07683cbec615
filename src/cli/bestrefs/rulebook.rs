//! The rules of a CRDS cache directory, read from its files (spec/crds-rules 2).

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::settings::Environment;
use crate::crds::{ContextSpec, Observatory, ServerInfo, SymbolicContext};
use crate::dataset::open_regular;
use crate::resolve::Library;
use crate::rules::{
    Context, LoadError, LoadErrorKind, LookupError, LookupOptions, Mapping, Mappings, Target, spread,
};

/// No mapping and no server description is larger.
const MAX_BYTES: u64 = 64 << 20;

/// Where the files of a cache are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    mappings: Place,
    config: Place,
}

/// A directory, or one for each observatory in it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Whole(PathBuf),
    ByObservatory(PathBuf),
}

impl Places {
    /// The places in a cache directory.
    pub(super) fn of_cache(root: &Path) -> Self {
        Self {
            mappings: Place::ByObservatory(root.join("mappings")),
            config: Place::ByObservatory(root.join("config")),
        }
    }

    /// The places that the Python client would look at.
    pub(super) fn of_environment(environment: &Environment) -> Self {
        let place = |variable: &str, part: &str| {
            let said = |name: &str| {
                let value = environment.get(name)?.trim_end_matches('/');
                let nothing = value.is_empty() || value.eq_ignore_ascii_case("none");
                (!nothing).then(|| PathBuf::from(value))
            };
            let default = || PathBuf::from("/grp/crds/cache");
            said(&format!("{variable}_SINGLE"))
                .map(Place::Whole)
                .or_else(|| said(variable).map(Place::ByObservatory))
                .or_else(|| said("CRDS_PATH_SINGLE").map(|root| Place::Whole(root.join(part))))
                .or_else(|| said("CRDS_PATH").map(|root| Place::ByObservatory(root.join(part))))
                .unwrap_or_else(|| {
                    let root = said("CRDS_DEFAULT_CACHE").unwrap_or_else(default);
                    Place::ByObservatory(root.join(part))
                })
        };
        Self {
            mappings: place("CRDS_MAPPATH", "mappings"),
            config: place("CRDS_CFGPATH", "config"),
        }
    }
}

impl Places {
    /// Why there are no rules to look anything up in.
    pub(super) fn check(&self) -> Result<(), String> {
        let directory = self.mappings.directory();
        if directory.is_dir() {
            return Ok(());
        }
        Err(format!(
            "there are no rules: {} is no directory; name a CRDS cache with --cache DIR, a mount with --mount M, or either \
             in CRDS_PATH",
            directory.display()
        ))
    }
}

impl Place {
    fn directory(&self) -> &Path {
        match self {
            Self::Whole(directory) | Self::ByObservatory(directory) => directory,
        }
    }

    fn file(&self, observatory: &str, name: &str) -> PathBuf {
        match self {
            Self::Whole(directory) => directory.join(name),
            Self::ByObservatory(root) => root.join(observatory).join(name),
        }
    }
}

/// The rules of a cache, compiled when they are first needed and kept while there is room.
pub(super) struct Rulebook {
    places: Places,
    options: LookupOptions,
    library: Library,
}

impl Rulebook {
    pub(super) fn new(places: Places, options: LookupOptions) -> Self {
        Self {
            places,
            options,
            library: Library::new(),
        }
    }

    /// The name of the mapping that a context means: what is none of the symbolic forms is a name or path itself.
    pub(super) fn literal(&self, context: &str) -> Result<String, String> {
        let symbolic = match meaning(context)? {
            Meaning::Symbolic(symbolic) => symbolic,
            Meaning::Mapping(name) => return Ok(name),
        };
        let Some(observatory) = symbolic.observatory else {
            return Err(format!(
                "'{context}' does not say of which observatory it is: write hst-{context}, jwst-{context} or \
                 roman-{context}"
            ));
        };
        let info = self.server_info(observatory)?;
        let resolved = ContextSpec::Symbolic(symbolic)
            .resolve(&info)
            .map_err(|error| error.to_string())?;
        let mut name = resolved.mapping.to_string();
        if let Some(part) = resolved.part {
            name = self.child(&name, &part.instrument)?;
            if let Some(reftype) = part.reftype {
                name = self.child(&name, reftype.as_str())?;
            }
        }
        Ok(name)
    }

    /// The names of files that are known to be bad, in lower case; none where the cache does not say.
    pub(super) fn bad_files(&self, observatory: &str) -> Vec<String> {
        let info = observatory
            .parse()
            .map_err(|_| ())
            .and_then(|it| self.server_info(it).map_err(|_| ()));
        info.map_or_else(
            |()| Vec::new(),
            |info| {
                info.bad_files()
                    .iter()
                    .map(|name| name.as_str().to_lowercase())
                    .collect()
            },
        )
    }

    /// The reference types that a context has rules for, in lower case; nothing where its rules cannot be read.
    pub(super) fn types(&self, context: &str) -> Option<BTreeSet<String>> {
        let kinds = |mapping: &Mapping| match mapping.target() {
            Target::Instrument(instrument) => Some(instrument.filekinds().map(str::to_owned).collect()),
            Target::Pipeline(_) | Target::Reference(_) => None,
        };
        let mapping = self.get(context).ok()?;
        match mapping.target() {
            Target::Pipeline(_) => {
                let children = mapping.children();
                self.prepare(&children);
                let mut all = BTreeSet::new();
                for child in children {
                    all.append(&mut kinds(&*self.get(child).ok()?)?);
                }
                Some(all)
            }
            Target::Instrument(_) | Target::Reference(_) => kinds(&mapping),
        }
    }

    /// The rules for the default types of JWST, if a context brings its own (spec/crds-rules 19). Its references are YAML
    /// files that need not be here, and no context is known that has any: the built-in tables are used all the same, as
    /// the client does when it cannot get the reference.
    pub(super) fn own_default_types(&self, context: &str) -> Option<String> {
        let imap = self.child(context, "system").ok()?;
        self.child(&imap, "crdscfg").ok()
    }

    /// The names of the rules that lookups of an instrument rest on: its imap and the rmaps of that, or the context's where
    /// it has no such imap.
    pub(super) fn names(&self, context: &str, instrument: &str) -> Result<Vec<String>, LoadError> {
        let mapping = self.get(context)?;
        let imap = mapping.child(&instrument.to_lowercase());
        let found = imap.map(|imap| self.get(imap)).transpose()?;
        let family = found.as_ref().unwrap_or(&mapping).family();
        Ok(family.into_iter().map(str::to_owned).collect())
    }

    fn server_info(&self, observatory: Observatory) -> Result<ServerInfo, String> {
        let path = self.places.config.file(observatory.as_str(), "server_config");
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "{} is not there, and so neither is the default context of {observatory}: name a context, as in {observatory}_0001.pmap",
                path.display()
            ),
            _ => failed(&error),
        })?;
        ServerInfo::from_literal(&text).map_err(|error| failed(&error))
    }

    fn child(&self, parent: &str, key: &str) -> Result<String, String> {
        let mapping = self.get(parent).map_err(|error| error.to_string())?;
        mapping
            .child(key)
            .map(str::to_owned)
            .ok_or_else(|| format!("{parent} has no rules for '{key}'"))
    }

    /// The context of this literal name.
    pub(super) fn context(&self, name: &str) -> Result<Arc<Context>, LookupError> {
        if let Some(context) = self.library.context(name) {
            return Ok(context);
        }
        let observatory = observatory_of(name).parse::<Observatory>().map_err(|_| {
            let text = format!("'{name}' is not a context: its name must begin with an observatory");
            LoadError::new(LoadErrorKind::Absent, text)
        })?;
        let context = Context::new(self.get(name)?, observatory, self.options)?;
        Ok(self.library.keep_context(name, Arc::new(context)))
    }
}

impl Mappings for Rulebook {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        if let Some(mapping) = self.library.mapping(name) {
            return Ok(mapping);
        }
        let path = if name.contains('/') {
            PathBuf::from(name)
        } else {
            self.places.mappings.file(observatory_of(name), name)
        };
        let text = read(&path).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => LoadErrorKind::Absent,
                _ => LoadErrorKind::Mapping,
            };
            LoadError::new(
                kind,
                format!("Can't load file {name} : {}: {error}", path.display()),
            )
        })?;
        let mapping = Arc::new(Mapping::load(name, text)?);
        self.library.keep_mapping(&mapping);
        Ok(mapping)
    }

    fn prepare(&self, names: &[&str]) {
        let known = |name: &&str| self.library.mapping(name).is_some();
        let new: Vec<&str> = names.iter().copied().filter(|name| !known(name)).collect();
        // What is wrong with one is told to whoever asks for it.
        spread(&new, |name| drop(self.get(name)));
    }
}

/// Why a text can be no context at all.
pub(super) fn check_context(context: &str) -> Result<(), String> {
    meaning(context).map(drop)
}

/// What a text means as a context.
enum Meaning {
    Symbolic(SymbolicContext),
    /// A mapping, by its name or path.
    Mapping(String),
}

fn meaning(context: &str) -> Result<Meaning, String> {
    match context.parse() {
        Ok(ContextSpec::Symbolic(symbolic)) => Ok(Meaning::Symbolic(symbolic)),
        Ok(ContextSpec::Literal(name)) if Observatory::of_name(name.as_str()).is_none() => Err(format!(
            "'{context}' is not a context: its name must begin with an observatory, as in hst_0001.pmap"
        )),
        Err(error) if !context.contains('/') => Err(error.to_string()),
        Ok(ContextSpec::Literal(name)) => Ok(Meaning::Mapping(name.to_string())),
        Err(_) => Ok(Meaning::Mapping(context.to_owned())),
    }
}

/// The observatory in the name of a mapping: its base name up to the first `_`, then up to the first `.`.
pub(super) fn observatory_of(name: &str) -> &str {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.split(['_', '.']).next().unwrap_or(base)
}

fn read(path: &Path) -> io::Result<String> {
    let file = open_regular(path)?;
    let expected = file.metadata()?.len().min(MAX_BYTES);
    // Room for one byte more, so that the end is seen without growing.
    let mut text = String::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
    let size = file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if size as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(text)
}
