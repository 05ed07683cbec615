//! The special rules of JWST: which of the two names of a parameter counts, and the types it computes by default
//! (spec/crds-rules 17 and 19). The table is in `data/`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use regex::Regex;
use rustc_hash::FxHashMap;

use crate::rules::values::header::{Header, HeaderValue};
use crate::rules::values::python::is_upper;

mod keywords;

pub(crate) use keywords::annotate;
pub(crate) use keywords::{SYNONYMS, by_path, keywords};

/// Calibration versions with their tables, and the tables: `table`, `section`, `key`, `type`, `values` (a list joined
/// by `|`).
const DEFAULT_TYPES: &str = include_str!("data/jwst-default-reftypes.tsv");

/// The value of a parameter when the names of a header are translated to data-model paths: of several names of it that
/// counts which comes later for the first time.
pub(crate) fn translated_value<'h>(header: &'h Header, wanted: &str) -> Option<&'h HeaderValue> {
    let names = names_of(wanted);
    let mut seen: Vec<(&str, &HeaderValue)> = Vec::new();
    for (name, value) in header.iter() {
        let Some(name) = names.iter().find(|own| is_upper(name, own)) else {
            continue;
        };
        match seen.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => seen.push((name, value)),
        }
    }
    seen.pop().map(|(_, value)| value)
}

/// The names in headers that mean a parameter.
fn names_of(wanted: &str) -> Cow<'_, [&str]> {
    static NAMES: OnceLock<FxHashMap<&'static str, Vec<&'static str>>> = OnceLock::new();
    let by_path = NAMES.get_or_init(|| {
        let mut by_path: FxHashMap<&str, Vec<&str>> = FxHashMap::default();
        for (keyword, path) in keywords() {
            let names = by_path.entry(path).or_default();
            names.push(keyword);
            if !keywords().contains_key(path) && !names.contains(path) {
                names.push(path);
            }
        }
        by_path
    });
    match by_path.get(wanted) {
        Some(names) => Cow::Borrowed(names),
        None if keywords().contains_key(wanted) => Cow::default(),
        None => Cow::Owned(vec![wanted]),
    }
}

#[derive(Debug, Default)]
struct Table {
    pipelines_of_exposure: FxHashMap<&'static str, Vec<&'static str>>,
    steps_of_pipeline: FxHashMap<&'static str, Vec<&'static str>>,
    types_of_step: FxHashMap<&'static str, Vec<&'static str>>,
    exceptions: Vec<Exceptions>,
}

/// The change that one parameter makes to pipelines.
#[derive(Debug)]
struct Exceptions {
    /// In upper case.
    parameter: String,
    default: Option<&'static str>,
    /// A value that none of these match changes the pipeline.
    dont_replace: Vec<Regex>,
    /// A value that one of these matches changes the pipeline.
    do_replace: Vec<Regex>,
    replacements: FxHashMap<&'static str, &'static str>,
}

#[derive(Debug, Default)]
struct Tables {
    versions: Vec<([u64; 3], &'static str)>,
    tables: FxHashMap<&'static str, Table>,
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| {
        let mut all = Tables::default();
        for line in DEFAULT_TYPES.lines().skip(1) {
            let fields: Vec<&'static str> = line.split('\t').collect();
            match fields[..] {
                ["version", version, table, ..] => all
                    .versions
                    .extend(release(version).map(|version| (version, table))),
                [table, section, key, kind, values] => {
                    all.tables
                        .entry(table)
                        .or_default()
                        .add(section, key, kind, values);
                }
                _ => {}
            }
        }
        all
    })
}

impl Table {
    fn add(&mut self, section: &'static str, key: &'static str, kind: &str, values: &'static str) {
        let list = || {
            values
                .split('|')
                .filter(|value| !value.is_empty())
                .collect::<Vec<_>>()
        };
        match section {
            "exptypes_to_pipelines" => {
                self.pipelines_of_exposure.insert(key, list());
            }
            "pipeline_cfgs_to_steps" => {
                self.steps_of_pipeline.insert(key, list());
            }
            "steps_to_reftypes" => {
                self.types_of_step.insert(key, list());
            }
            _ => {
                if let Some(parameter) = section.strip_prefix("pipeline_exceptions:") {
                    self.exceptions_of(parameter).add(key, kind, values);
                }
            }
        }
    }

    fn exceptions_of(&mut self, parameter: &str) -> &mut Exceptions {
        let parameter = parameter.to_uppercase();
        let place = self
            .exceptions
            .iter()
            .position(|exceptions| exceptions.parameter == parameter)
            .unwrap_or_else(|| {
                self.exceptions.push(Exceptions {
                    parameter,
                    default: None,
                    dont_replace: Vec::new(),
                    do_replace: Vec::new(),
                    replacements: FxHashMap::default(),
                });
                self.exceptions.len() - 1
            });
        &mut self.exceptions[place]
    }
}

impl Exceptions {
    fn add(&mut self, key: &'static str, kind: &str, values: &'static str) {
        let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$")).ok();
        // A list written as a text acts as a list of its characters.
        let patterns = || -> Vec<Regex> {
            if kind == "str" {
                values
                    .chars()
                    .filter_map(|letter| whole(letter.encode_utf8(&mut [0; 4])))
                    .collect()
            } else {
                values.split('|').filter_map(whole).collect()
            }
        };
        match key {
            "default_missing" => self.default = Some(values),
            "dont_replace" => self.dont_replace = patterns(),
            "do_replace" => self.do_replace = patterns(),
            _ => {
                self.replacements.insert(key, values);
            }
        }
    }

    fn adjust(&self, pipeline: &'static str, header: &Header) -> &'static str {
        let value = header.get(&self.parameter).map_or_else(
            || self.default.unwrap_or("UNDEFINED").to_owned(),
            |value| value.text().into_owned(),
        );
        let replaced = |pipeline| self.replacements.get(pipeline).copied().unwrap_or(pipeline);
        let mut pipeline = pipeline;
        if !self.dont_replace.is_empty() && !self.dont_replace.iter().any(|pattern| pattern.is_match(&value))
        {
            pipeline = replaced(pipeline);
        }
        for pattern in &self.do_replace {
            if pattern.is_match(&value) {
                pipeline = replaced(pipeline);
            }
        }
        pipeline
    }
}

/// The types that JWST computes for a header when none are asked for; nothing means all types. The header is taken as
/// it is: conditioned, or raw where the caller is `bestrefs`.
pub fn default_reftypes(header: &Header) -> BTreeSet<&'static str> {
    find_default_types(header).unwrap_or_default()
}

/// The parameters that name the version of the calibration software, without which there are no default types.
const VERSIONS: [&str; 2] = ["META.CALIBRATION_SOFTWARE_VERSION", "CAL_VER"];

/// [`default_reftypes`] of the header in normal form.
pub(crate) fn conditioned_default_reftypes(header: &Header) -> BTreeSet<&'static str> {
    let is_version = |(name, _): (&str, _)| VERSIONS.iter().any(|version| is_upper(name, version));
    if header.iter().any(is_version) {
        default_reftypes(&header.conditioned())
    } else {
        BTreeSet::new()
    }
}

fn find_default_types(header: &Header) -> Option<BTreeSet<&'static str>> {
    let version = VERSIONS.iter().find_map(|name| header.get(name))?;
    let exposure = header
        .get("META.EXPOSURE.TYPE")
        .or_else(|| header.get("EXP_TYPE"))
        .map_or_else(|| "UNDEFINED".to_owned(), |value| value.text().into_owned());
    let version = release(&version.text())?;
    let all = tables();
    let (_, name) = all
        .versions
        .iter()
        .enumerate()
        .take_while(|(place, (own, _))| *place == 0 || *own <= version)
        .last()?
        .1;
    let table = all.tables.get(name)?;
    let mut types = BTreeSet::new();
    for pipeline in table.pipelines_of_exposure.get(exposure.as_str())? {
        let pipeline = table.exceptions.iter().fold(*pipeline, |pipeline, exceptions| {
            exceptions.adjust(pipeline, header)
        });
        for step in table.steps_of_pipeline.get(pipeline)? {
            types.extend(table.types_of_step.get(step)?.iter().copied());
        }
    }
    Some(types)
}

/// The first three numbers of the release part of a version by PEP 440.
fn release(text: &str) -> Option<[u64; 3]> {
    static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| {
        let pattern = r"(?ix)^\s* v? (?:[0-9]+!)? (?<release>[0-9]+(?:\.[0-9]+)*)
            (?: [-_.]? (?:alpha|a|beta|b|preview|pre|c|rc) [-_.]? [0-9]* )?
            (?: -[0-9]+ | [-_.]? (?:post|rev|r) [-_.]? [0-9]* )?
            (?: [-_.]? dev [-_.]? [0-9]* )?
            (?: \+ [a-z0-9]+ (?: [-_.][a-z0-9]+ )* )? \s*$";
        Regex::new(pattern).ok()
    });
    let found = pattern.as_ref()?.captures(text)?;
    let mut numbers = found
        .name("release")?
        .as_str()
        .split('.')
        .map(|number| number.parse().ok());
    let mut next = || numbers.next().unwrap_or(Some(0));
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_complete() {
        let all = tables();
        assert_eq!(all.versions.len(), 11);
        for (_, name) in &all.versions {
            let table = &all.tables[name];
            for pipelines in table.pipelines_of_exposure.values() {
                assert!(!pipelines.is_empty());
            }
        }
    }

    #[test]
    fn versions_and_exposures_choose_the_types() {
        let header = |entries: &[(&str, &str)]| entries.iter().copied().collect::<Header>();
        assert!(default_reftypes(&header(&[("EXP_TYPE", "FGS_DARK")])).is_empty());
        let types = default_reftypes(&header(&[("CAL_VER", "0.7.0"), ("EXP_TYPE", "FGS_DARK")]));
        assert!(types.contains("superbias"), "{types:?}");
        assert!(default_reftypes(&header(&[("CAL_VER", "x"), ("EXP_TYPE", "FGS_DARK")])).is_empty());
        assert_eq!(release("1.2rc1.dev3+abc"), Some([1, 2, 0]));
        assert_eq!(release("v1!2.3.4.5"), Some([2, 3, 4]));
        assert_eq!(release("1..2"), None);
    }
}
