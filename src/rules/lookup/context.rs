//! Lookups that start from a context: finding the instrument, reducing the header, evaluating (spec/crds-rules 17, 18).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use crate::crds::Observatory;
use crate::rules::lookup::bestrefs::{BestRef, BestRefs};
use crate::rules::lookup::cache::Memory;
use crate::rules::lookup::error::LookupError;
use crate::rules::lookup::explanation::Explanation;
use crate::rules::lookup::linked::{self, Linked, LinkedEntry, required_keys};
use crate::rules::lookup::load::basename;
use crate::rules::lookup::mapping::{Entry, Instrument, Mapping, Mappings, Pipeline, Target};
use crate::rules::model::frame::Reduced;
use crate::rules::syntax::error::{LoadError, LoadErrorKind};
use crate::rules::values::condition::UNDEFINED;
use crate::rules::values::header::{Header, HeaderValue};
use crate::rules::values::jwst;
use crate::rules::values::naming::{Naming, begins_with_meta};
use crate::rules::values::python::{is_lower, is_upper, lower, repr_list};

/// Options of lookups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookupOptions {
    /// Whether wrong checksums of mappings are passed over (`CRDS_IGNORE_MAPPING_CHECKSUM`).
    pub ignore_checksum: bool,
}

/// A mapping from which lookups start, with the rules that earlier lookups have put together.
#[derive(Debug)]
pub struct Context {
    mapping: Arc<Mapping>,
    naming: Naming,
    options: LookupOptions,
    /// By entry of a pmap; else one.
    linked: Vec<OnceLock<Arc<Linked>>>,
}

impl Context {
    /// A context of an observatory, which decides about names of parameters. Fails if the mapping's checksum is wrong.
    pub fn new(
        mapping: Arc<Mapping>,
        observatory: Observatory,
        options: LookupOptions,
    ) -> Result<Self, LookupError> {
        if !options.ignore_checksum {
            mapping.checksum()?;
        }
        let (count, parkey) = match mapping.target() {
            Target::Pipeline(pipeline) => (pipeline.entries.len(), Some(pipeline.parkey.clone())),
            _ => (1, None),
        };
        Ok(Self {
            linked: (0..count).map(|_| OnceLock::new()).collect(),
            mapping,
            naming: Naming { observatory, parkey },
            options,
        })
    }

    /// The mapping that the lookups start from.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// The observatory whose rules for names hold.
    pub fn observatory(&self) -> Observatory {
        self.naming.observatory
    }

    /// The best references for a header.
    ///
    /// `reftypes` are the types asked for; none of them given, all types (for JWST the default types of the header's
    /// exposure). An empty list means all types too. Mappings that were not needed before are taken from `mappings`.
    /// `memory` makes further headers of the same kind fast.
    pub fn best_references<S: AsRef<str>>(
        &self,
        memory: &mut Memory,
        mappings: &dyn Mappings,
        header: &Header,
        reftypes: Option<&[S]>,
    ) -> Result<BestRefs<'_>, LookupError> {
        let merged = match self.naming.prefix() {
            "" => None,
            meta => header.with_prefix(meta),
        };
        let header = merged.as_ref().unwrap_or(header);
        match self.mapping.target() {
            Target::Pipeline(pipeline) => self.through_pipeline(pipeline, memory, mappings, header, reftypes),
            Target::Instrument(instrument) => {
                let linked = self.whole(mappings, instrument)?;
                Ok(self.through_linked(linked, memory, header, reftypes, &linked.reduce(header)))
            }
            Target::Reference(reference) => {
                let filekind = lower(&reference.filekind).into_owned();
                let asked: Vec<&str> = if let Some(reftypes) = reftypes {
                    reftypes.iter().map(AsRef::as_ref).collect()
                } else {
                    let wanted = self.default_types(header);
                    wanted
                        .contains(&*filekind)
                        .then_some(&*filekind)
                        .into_iter()
                        .collect()
                };
                if !asked.contains(&&*filekind) {
                    let context = basename(self.mapping.name()).to_owned();
                    let types = repr_list(asked.iter().copied());
                    return Err(LookupError::UnknownReftype(context, filekind, types));
                }
                let linked = self.whole_or(|| {
                    let entry = LinkedEntry::Rmap(self.mapping.clone());
                    let entries = vec![(filekind.clone(), entry)];
                    Ok(Arc::new(Linked::new(&self.naming, &[], entries)))
                })?;
                let reduced = linked.reduce(header);
                Ok(linked.best_references::<&str>(memory, &reduced, None))
            }
        }
    }

    /// Explains the best references for a header, see [`Context::best_references`]: the evaluation that gives the answers
    /// notes its steps.
    pub fn explain<S: AsRef<str>>(
        &self,
        mappings: &dyn Mappings,
        header: &Header,
        reftypes: Option<&[S]>,
    ) -> Result<Vec<Explanation>, LookupError> {
        let mut memory = Memory::of_steps();
        let answers = self.best_references(&mut memory, mappings, header, reftypes)?;
        Ok(memory.explanations(&answers))
    }

    /// Evaluates an rmap on a header exactly as it is: nothing conditioned, renamed or added. Nothing if the type is
    /// omitted or the context is no rmap.
    pub fn evaluate_raw(&self, header: &Header) -> Option<BestRef<'_>> {
        match self.mapping.target() {
            Target::Reference(reference) => linked::evaluate_raw(reference, header),
            _ => None,
        }
    }

    /// The mappings that a lookup of this header needs next and `mappings` does not have. Fetch them and ask again,
    /// until there are none: at most the imap first, then all its rmaps at once.
    pub fn missing(&self, mappings: &dyn Mappings, header: &Header) -> Vec<String> {
        let absent =
            |name: &str| matches!(mappings.get(name), Err(error) if error.kind() == LoadErrorKind::Absent);
        let children = |mapping: &Mapping| -> Vec<String> {
            let names = mapping.children().into_iter();
            names.filter(|name| absent(name)).map(str::to_owned).collect()
        };
        match self.mapping.target() {
            Target::Reference(_) => Vec::new(),
            Target::Instrument(_) => {
                if self.linked.first().is_some_and(|linked| linked.get().is_some()) {
                    return Vec::new();
                }
                children(&self.mapping)
            }
            Target::Pipeline(pipeline) => {
                // The first is loaded too, for its list of types.
                let as_given = self.imap(pipeline, header, Names::AsGiven, "");
                if let Some(name) = as_given.ok().map(|(_, name)| name).filter(|name| absent(name)) {
                    return vec![name.to_owned()];
                }
                let Ok((place, name)) = self.imap(pipeline, header, Names::Translated, "") else {
                    return Vec::new();
                };
                if self
                    .linked
                    .get(place)
                    .is_some_and(|linked| linked.get().is_some())
                {
                    return Vec::new();
                }
                match mappings.get(name) {
                    Ok(imap) => children(&imap),
                    Err(error) if error.kind() == LoadErrorKind::Absent => vec![name.to_owned()],
                    Err(_) => Vec::new(),
                }
            }
        }
    }

    /// The parameters that the rules for a header's instrument ask for and the header does not have. To be asked once
    /// nothing is [`Context::missing`].
    pub fn missing_parkeys(
        &self,
        mappings: &dyn Mappings,
        header: &Header,
    ) -> Result<Vec<String>, LookupError> {
        let keys = match self.mapping.target() {
            Target::Reference(reference) => &reference.keys,
            Target::Instrument(instrument) => self.whole(mappings, instrument)?.keys(),
            Target::Pipeline(pipeline) => {
                let (place, name) = self.imap(pipeline, header, Names::Translated, "get_required_parkeys")?;
                self.instrument(mappings, place, name)?.keys()
            }
        };
        // An imap's own key is no parameter of datasets, and instruments are named in several ways.
        let of_datasets = |key: &&String| {
            *key != REFTYPE && !self.naming.instrument_names().any(|name| name == key.as_str())
        };
        let absent = |key: &&String| self.last_value(header, key, Names::Translated).is_none();
        Ok(keys.iter().filter(of_datasets).filter(absent).cloned().collect())
    }

    /// The parameters that the rules of each instrument ask for. An rmap's or imap's are those of its instrument.
    pub fn required_parkeys(
        &self,
        mappings: &dyn Mappings,
    ) -> Result<Vec<(String, Vec<String>)>, LookupError> {
        match self.mapping.target() {
            Target::Reference(reference) => Ok(vec![(reference.instrument.clone(), reference.keys.clone())]),
            Target::Instrument(instrument) => {
                Ok(vec![(instrument.name.clone(), self.keys(mappings, instrument)?)])
            }
            Target::Pipeline(pipeline) => {
                self.prepare(mappings, pipeline);
                let mut all = Vec::new();
                for (instrument, entry) in &pipeline.entries {
                    if let Entry::File(name) = entry {
                        let imap = self.load(mappings, name)?;
                        all.push((instrument.clone(), self.keys(mappings, imap.instrument()?)?));
                    }
                }
                Ok(all)
            }
        }
    }

    /// Has all mappings loaded that are not linked yet.
    fn prepare(&self, mappings: &dyn Mappings, pipeline: &Pipeline) {
        let entries = pipeline.entries.iter().zip(&self.linked);
        let imaps = entries.filter_map(|((_, entry), linked)| match linked.get() {
            None => entry.file(),
            Some(_) => None,
        });
        let imaps: Vec<&str> = imaps.collect();
        mappings.prepare(&imaps);
        let imaps: Vec<_> = imaps.iter().filter_map(|name| mappings.get(name).ok()).collect();
        let rmaps: Vec<&str> = imaps.iter().flat_map(|imap| imap.children()).collect();
        mappings.prepare(&rmaps);
    }

    /// The default types of the observatory for a header; nothing means all types.
    fn default_types(&self, header: &Header) -> BTreeSet<&'static str> {
        if self.naming.is_jwst() {
            jwst::conditioned_default_reftypes(header)
        } else {
            BTreeSet::new()
        }
    }

    fn through_pipeline<'c, S: AsRef<str>>(
        &'c self,
        pipeline: &'c Pipeline,
        memory: &mut Memory,
        mappings: &dyn Mappings,
        header: &Header,
        reftypes: Option<&[S]>,
    ) -> Result<BestRefs<'c>, LookupError> {
        // For the default types the client looks for the instrument before it translates names, and then again.
        let as_given = match reftypes {
            None => Some(self.imap(pipeline, header, Names::AsGiven, "get_filekinds")?),
            Some(_) => None,
        };
        let (place, name) = match as_given {
            Some(found) if !self.naming.is_jwst() => found,
            _ => self.imap(pipeline, header, Names::Translated, "get_required_parkeys")?,
        };
        let other = match as_given {
            Some((other, name)) if other != place => Some(self.load(mappings, name)?),
            _ => None,
        };
        let linked = self.instrument(mappings, place, name)?;
        let reduced = linked.reduce(header);
        // The client looks for the instrument again in the reduced header, where not all its names survive.
        if !linked.knows_instrument(&reduced) {
            return Err(LookupError::NoInstrument(pipeline.parkey.clone()));
        }
        if let Some(Target::Instrument(other)) = other.as_deref().map(Mapping::target) {
            return Ok(self.default_references(linked, memory, header, &reduced, other.filekinds()));
        }
        Ok(self.through_linked(linked, memory, header, reftypes, &reduced))
    }

    fn through_linked<'c, S: AsRef<str>>(
        &self,
        linked: &'c Linked,
        memory: &mut Memory,
        header: &Header,
        reftypes: Option<&[S]>,
        reduced: &Reduced<'_>,
    ) -> BestRefs<'c> {
        match reftypes {
            Some(_) => linked.best_references(memory, reduced, reftypes),
            None => self.default_references(linked, memory, header, reduced, linked.filekinds()),
        }
    }

    /// The best references of the header's default types, as far as they are among `own`.
    fn default_references<'c, 'o>(
        &self,
        linked: &'c Linked,
        memory: &mut Memory,
        header: &Header,
        reduced: &Reduced<'_>,
        own: impl Iterator<Item = &'o str>,
    ) -> BestRefs<'c> {
        let mut wanted = self.default_types(header);
        if !wanted.is_empty() {
            let own: BTreeSet<&str> = own.collect();
            wanted.retain(|filekind| own.contains(filekind));
        }
        let wanted: Vec<&str> = wanted.into_iter().collect();
        linked.best_references(memory, reduced, Some(&wanted))
    }

    /// The imap for the instrument of a header, which the client takes for a mapping and asks for `method`.
    fn imap<'p>(
        &self,
        pipeline: &'p Pipeline,
        header: &Header,
        names: Names,
        method: &'static str,
    ) -> Result<(usize, &'p str), LookupError> {
        let value = self
            .instrument_name(header, names)
            .ok_or_else(|| LookupError::NoInstrument(pipeline.parkey.clone()))?;
        let value = if is_lower(&value, "wfii") {
            "WFPC2".into()
        } else {
            value
        };
        let mut entries = pipeline.entries.iter().enumerate();
        match entries.find(|(_, (own, _))| is_lower(&value, own)) {
            Some((place, (_, Entry::File(name)))) => Ok((place, name)),
            Some(_) => Err(LookupError::NoMapping(method)),
            None => {
                let context = basename(self.mapping.name()).to_owned();
                Err(LookupError::UnknownInstrument(
                    lower(&value).into_owned(),
                    context,
                ))
            }
        }
    }

    /// The value by which a header names its instrument.
    fn instrument_name<'h>(&self, header: &'h Header, names: Names) -> Option<Cow<'h, str>> {
        let mut values = self
            .naming
            .instrument_names()
            .filter_map(|wanted| self.last_value(header, wanted, names));
        values.find(|value| *value != UNDEFINED)
    }

    /// The conditioned value of a parameter in a header as it came.
    fn last_value<'h>(&self, header: &'h Header, wanted: &str, names: Names) -> Option<Cow<'h, str>> {
        if self.naming.is_jwst() && names == Names::Translated {
            return jwst::translated_value(header, wanted).map(HeaderValue::conditioned);
        }
        let meta = self.naming.prefix();
        let tail = wanted.strip_prefix(meta);
        let means = |name: &str| {
            if !meta.is_empty() && begins_with_meta(name) {
                tail.is_some_and(|tail| is_upper(name, tail))
            } else {
                is_upper(name, wanted)
            }
        };
        let found = header.iter().rev().find(|(name, _)| means(name));
        found.map(|(_, value)| value.conditioned())
    }

    fn whole_or(
        &self,
        make: impl FnOnce() -> Result<Arc<Linked>, LookupError>,
    ) -> Result<&Linked, LookupError> {
        self.linked_at(0, make)
    }

    fn whole(&self, mappings: &dyn Mappings, instrument: &Instrument) -> Result<&Linked, LookupError> {
        self.whole_or(|| self.link(mappings, instrument))
    }

    fn instrument(&self, mappings: &dyn Mappings, place: usize, name: &str) -> Result<&Linked, LookupError> {
        self.linked_at(place, || {
            let imap = self.load(mappings, name)?;
            self.link(mappings, imap.instrument()?)
        })
    }

    fn linked_at(
        &self,
        place: usize,
        make: impl FnOnce() -> Result<Arc<Linked>, LookupError>,
    ) -> Result<&Linked, LookupError> {
        let Some(cell) = self.linked.get(place) else {
            return Err(LookupError::NoMapping("get_filekinds"));
        };
        if let Some(linked) = cell.get() {
            return Ok(linked);
        }
        let linked = make()?;
        // Another thread may have been faster: its rules are the same.
        Ok(cell.get_or_init(|| linked))
    }

    fn load(&self, mappings: &dyn Mappings, name: &str) -> Result<Arc<Mapping>, LoadError> {
        let mapping = mappings.get(name)?;
        if !self.options.ignore_checksum {
            mapping.checksum()?;
        }
        Ok(mapping)
    }

    fn link(&self, mappings: &dyn Mappings, instrument: &Instrument) -> Result<Arc<Linked>, LookupError> {
        let entries = self.entries(mappings, instrument)?;
        Ok(Linked::shared(
            &instrument.linked,
            &self.naming,
            &instrument.keys,
            entries,
        ))
    }

    /// The parameters that an instrument's rules ask for.
    fn keys(&self, mappings: &dyn Mappings, instrument: &Instrument) -> Result<Vec<String>, LookupError> {
        let entries = self.entries(mappings, instrument)?;
        Ok(required_keys(&self.naming, &instrument.keys, &entries))
    }

    /// Loads all rmaps of an instrument: one that cannot be loaded fails every lookup.
    fn entries(
        &self,
        mappings: &dyn Mappings,
        instrument: &Instrument,
    ) -> Result<Vec<(String, LinkedEntry)>, LookupError> {
        let rmaps = instrument.entries.iter().filter_map(|(_, entry)| entry.file());
        mappings.prepare(&rmaps.collect::<Vec<_>>());
        let mut entries = Vec::with_capacity(instrument.entries.len());
        for (filekind, entry) in &instrument.entries {
            let entry = match entry {
                Entry::File(name) => LinkedEntry::Rmap(self.load(mappings, name)?),
                Entry::NotApplicable => LinkedEntry::NotApplicable,
                Entry::Omitted => LinkedEntry::Omitted,
            };
            entries.push((filekind.clone(), entry));
        }
        Ok(entries)
    }
}

/// The key of imaps, which names a reference type.
const REFTYPE: &str = "REFTYPE";

/// Whether names of parameters are looked for as the header has them, or as JWST's rules have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    AsGiven,
    Translated,
}
