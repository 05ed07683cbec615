//! The rules of a cache directory, and the contexts that names mean by them.

use std::collections::BTreeSet;

use super::cache_dirs::{CacheDirs, observatory_of};
use crate::crds::{ContextSpec, Observatory, ServerInfo, SymbolicContext};
use crate::rules::{LoadError, LoadErrorKind, LookupError, LookupOptions, OpenContext, Provider, Target};

/// The rules of a cache directory.
pub(super) struct CacheRules {
    provider: Provider<CacheDirs>,
}

impl CacheRules {
    pub(super) fn new(dirs: CacheDirs, options: LookupOptions) -> Self {
        Self {
            provider: Provider::new(dirs, options),
        }
    }

    /// The name of the mapping that a context means: what is none of the symbolic forms is a name or path itself.
    pub(super) fn literal(&self, context: &str) -> Result<String, String> {
        let symbolic = match ContextName::parse(context)? {
            ContextName::Symbolic(symbolic) => symbolic,
            ContextName::Mapping(name) => return Ok(name),
        };
        let Some(observatory) = symbolic.observatory else {
            return Err(format!(
                "'{context}' does not say of which observatory it is: write hst-{context}, jwst-{context} or \
                 roman-{context}"
            ));
        };
        let info = self.provider.texts().server_info(observatory)?;
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
        let observatory = observatory.parse().ok();
        let info = observatory.and_then(|it| self.provider.texts().server_info(it).ok());
        let bad_files = info.iter().flat_map(ServerInfo::bad_files);
        bad_files.map(|name| name.as_str().to_lowercase()).collect()
    }

    /// The reference types that a pmap or imap has rules for, in lower case; nothing where its rules cannot be read.
    pub(super) fn reftypes(&self, context: &str) -> Option<BTreeSet<String>> {
        let mapping = self.provider.mapping(context).ok()?;
        match mapping.target() {
            Target::Pipeline(_) | Target::Instrument(_) => self.provider.reftypes(context).ok(),
            // A lookup of another type says so in the client's words.
            Target::Reference(_) => None,
        }
    }

    /// The rules for the default types of JWST, if a context brings its own (spec/crds-rules 19). Its references are YAML
    /// files that need not be here, and no context is known that has any: the built-in tables are used all the same, as
    /// the client does when it cannot get the reference.
    pub(super) fn own_default_types(&self, context: &str) -> Option<String> {
        let imap = self.child(context, "system").ok()?;
        self.child(&imap, "crdscfg").ok()
    }

    /// The names of the rules that lookups of an instrument rest on.
    pub(super) fn mappings_of_instrument(
        &self,
        context: &str,
        instrument: &str,
    ) -> Result<Vec<String>, LoadError> {
        self.provider
            .mappings_of_instrument(context, Some(&instrument.to_lowercase()))
    }

    fn child(&self, parent: &str, key: &str) -> Result<String, String> {
        let mapping = self.provider.mapping(parent).map_err(|error| error.to_string())?;
        mapping
            .child(key)
            .map(str::to_owned)
            .ok_or_else(|| format!("{parent} has no rules for '{key}'"))
    }

    /// The context of this literal name.
    pub(super) fn context(&self, name: &str) -> Result<OpenContext<'_, CacheDirs>, LookupError> {
        let observatory = observatory_of(name).parse::<Observatory>().map_err(|_| {
            let text = format!("'{name}' is not a context: its name must begin with an observatory");
            LoadError::new(LoadErrorKind::Absent, text)
        })?;
        self.provider.context(observatory, name)
    }
}

/// Refuses a text that can be no context at all.
pub(super) fn check_context(context: &str) -> Result<(), String> {
    ContextName::parse(context).map(drop)
}

/// A context as it was asked for.
enum ContextName {
    Symbolic(SymbolicContext),
    /// A mapping, by its name or path.
    Mapping(String),
}

impl ContextName {
    fn parse(context: &str) -> Result<Self, String> {
        match context.parse() {
            Ok(ContextSpec::Symbolic(symbolic)) => Ok(Self::Symbolic(symbolic)),
            Ok(ContextSpec::Literal(name)) if Observatory::of_name(name.as_str()).is_none() => Err(format!(
                "'{context}' is not a context: its name must begin with an observatory, as in hst_0001.pmap"
            )),
            Err(error) if !context.contains('/') => Err(error.to_string()),
            Ok(ContextSpec::Literal(name)) => Ok(Self::Mapping(name.to_string())),
            Err(_) => Ok(Self::Mapping(context.to_owned())),
        }
    }
}
