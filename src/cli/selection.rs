//! Files of the catalogs of a target, chosen by names and globs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Failure;
use super::target::Opened;
use crate::crds::{Catalog, CatalogEntry, FileKey, FileKind, Observatory};
use crate::rules::Glob;

/// The number of similar names that a message suggests.
const SUGGESTED: usize = 3;

/// Names that are less similar are no suggestion.
const SIMILAR: f64 = 0.88;

/// Files of catalogs, by observatory and name, with what the catalogs say of them.
pub(super) type Selected = BTreeMap<FileKey, CatalogEntry>;

/// A name or glob as it was written: `NAME`, `OBS/NAME`, `crds://NAME`, or a path in a cache.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    name: String,
    /// Nothing for a plain name.
    glob: Option<Glob>,
    observatory: Option<Observatory>,
    /// Whether only mappings, or only references, are meant.
    mappings: Option<bool>,
}

impl Pattern {
    /// Reads a pattern; what stands before the name restricts it to an observatory or to mappings or references.
    pub(super) fn new(text: &str) -> Self {
        let path = text.strip_prefix("crds://").unwrap_or(text);
        let mut parts = path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        let (mut observatory, mut mappings) = (None, None);
        for part in parts {
            let known = Observatory::ALL.into_iter().find(|known| known.as_str() == part);
            observatory = observatory.or(known);
            mappings = mappings.or(match part {
                "mappings" => Some(true),
                "references" => Some(false),
                _ => None,
            });
        }
        let glob = Glob::new(name);
        Self {
            text: text.to_owned(),
            name: name.to_owned(),
            observatory: observatory.or_else(|| Observatory::of_name(name)),
            glob: glob.plain().is_none().then_some(glob),
            mappings,
        }
    }

    /// Adds what it means in a catalog; false if that is nothing.
    pub(super) fn select(
        &self,
        observatory: Observatory,
        catalog: &Catalog,
        selected: &mut Selected,
    ) -> bool {
        let mut found = false;
        let mut add = |name: &str, entry: CatalogEntry| {
            let is_meant = self
                .mappings
                .is_none_or(|mappings| mappings == FileKind::of(name).is_mapping());
            // Names of a catalog are valid.
            if let (true, Ok(name)) = (is_meant, name.parse()) {
                found = true;
                selected.insert(FileKey { observatory, name }, entry);
            }
        };
        match &self.glob {
            Some(glob) => {
                let matching = catalog.iter().filter(|item| glob.matches(item.name));
                matching.for_each(|item| add(item.name, item.entry));
            }
            None => {
                if let Some(item) = catalog.find_ignoring_case(&self.name) {
                    add(item.name, item.entry);
                }
            }
        }
        found
    }
}

/// Files with what the catalogs of a target say of them, the data halves of GEIS references with them. Those that the
/// catalogs do not have are without size and digest.
pub(super) async fn with_entries(target: &Opened, keys: impl IntoIterator<Item = FileKey>) -> Selected {
    let mut catalogs = BTreeMap::new();
    let mut selected = Selected::new();
    for key in keys {
        let observatory = key.observatory;
        let info = match catalogs.entry(observatory) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(target.catalog(observatory).await.ok()),
        };
        let half = key.name.geis_data_half();
        let half = half.map(|name| FileKey { observatory, name });
        for key in std::iter::once(key).chain(half) {
            let entry = info
                .as_ref()
                .and_then(|info| info.catalog().get(key.name.as_str()));
            selected.insert(key, entry.unwrap_or_default());
        }
    }
    selected
}

/// The files of a target's catalogs that names and globs mean. Each must mean something; what does not is told with names
/// that are similar.
pub(super) async fn select(target: &Opened, patterns: &[String]) -> Result<Selected, Failure> {
    let mut selected = Selected::new();
    let mut unknown = Vec::new();
    for text in patterns {
        let pattern = Pattern::new(text);
        if let Err(why) = one(target, &pattern, &mut selected).await? {
            unknown.push(why);
        }
    }
    if unknown.is_empty() {
        Ok(selected)
    } else {
        Err(Failure::new(unknown.join("\n")))
    }
}

/// Adds what a pattern means, or says why that is nothing. Where the observatory is not told all are looked at; one that has
/// no catalog is an error only where no other knows the name.
async fn one(
    target: &Opened,
    pattern: &Pattern,
    selected: &mut Selected,
) -> Result<Result<(), String>, Failure> {
    let shown = target.observatories();
    if let Some(observatory) = pattern.observatory
        && !shown.contains(&observatory)
    {
        let shown: Vec<&str> = shown.iter().map(|shown| shown.as_str()).collect();
        return Ok(Err(format!(
            "'{}' is of {observatory}, and only {} is shown: name {observatory} in CRDS_FS_OBSERVATORY, or mount with it",
            pattern.text,
            shown.join(",")
        )));
    }
    let searched = shown
        .iter()
        .filter(|shown| pattern.observatory.is_none_or(|own| own == **shown));
    let (mut found, mut failure, mut catalogs) = (false, None, Vec::new());
    for observatory in searched {
        match target.catalog(*observatory).await {
            Ok(info) => {
                found |= pattern.select(*observatory, info.catalog(), selected);
                catalogs.push(info);
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        _ if found => Ok(Ok(())),
        Some(failure) => Err(failure),
        None => {
            let catalogs: Vec<&Catalog> = catalogs.iter().map(|info| &**info.catalog()).collect();
            Ok(Err(nothing(pattern, &catalogs)))
        }
    }
}

/// The message that a pattern means nothing in any of these catalogs.
fn nothing(pattern: &Pattern, catalogs: &[&Catalog]) -> String {
    let text = &pattern.text;
    if pattern.glob.is_some() {
        return format!(
            "'{text}' matches no file of the catalog; quote it for the shell, and try a wider one, as in 'jwst_miri_*.rmap'"
        );
    }
    if std::path::Path::new(text).is_file() && FileKind::of(text) == FileKind::Reference {
        return format!(
            "'{text}' is in no catalog; if it is a dataset whose references are wanted, write --files {text}"
        );
    }
    let all = catalogs.iter();
    let mut similar: Vec<_> = all
        .flat_map(|catalog| similar_names(catalog, &pattern.name))
        .collect();
    similar.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let names: Vec<String> = similar
        .into_iter()
        .take(SUGGESTED)
        .map(|(_, name)| name)
        .collect();
    if names.is_empty() {
        format!("'{text}' is in no catalog")
    } else {
        format!("'{text}' is in no catalog; similar: {}", names.join(", "))
    }
}

/// The names of a catalog that are like one, with how much they are.
fn similar_names(catalog: &Catalog, name: &str) -> Vec<(f64, String)> {
    let mut best: Vec<(f64, String)> = Vec::new();
    for item in catalog.iter() {
        let likeness = strsim::jaro_winkler(name, item.name);
        let last = best.last().map_or(SIMILAR, |(least, _)| *least);
        if likeness > last || (likeness >= SIMILAR && best.len() < SUGGESTED) {
            let place = best.partition_point(|(other, _)| *other >= likeness);
            best.insert(place, (likeness, item.name.to_owned()));
            best.truncate(SUGGESTED);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(names: &[&str]) -> Catalog {
        let entry = CatalogEntry {
            size: Some(1),
            sha1: None,
        };
        Catalog::new(names.iter().map(|name| (name.parse().unwrap(), entry)))
    }

    #[test]
    fn names_globs_and_paths() {
        let catalog = catalog(&[
            "jwst_0001.pmap",
            "jwst_miri_0002.imap",
            "jwst_miri_dark_0001.fits",
            "jwst_miri_dark_0002.rmap",
        ]);
        for (pattern, expected) in [
            ("jwst_0001.pmap", &["jwst_0001.pmap"][..]),
            ("JWST_0001.PMAP", &["jwst_0001.pmap"]),
            ("crds://jwst_0001.pmap", &["jwst_0001.pmap"]),
            ("/crds/references/jwst/jwst_0001.pmap", &[]),
            (
                "jwst_miri_dark_*",
                &["jwst_miri_dark_0001.fits", "jwst_miri_dark_0002.rmap"],
            ),
            (
                "references/jwst/miri/jwst_miri_dark_*",
                &["jwst_miri_dark_0001.fits"],
            ),
            ("mappings/jwst/*dark*", &["jwst_miri_dark_0002.rmap"]),
            ("jwst_000[12].pmap", &["jwst_0001.pmap"]),
            ("*.asdf", &[]),
        ] {
            let mut selected = Selected::new();
            let found = Pattern::new(pattern).select(Observatory::Jwst, &catalog, &mut selected);
            let names: Vec<&str> = selected.keys().map(|key| key.name.as_str()).collect();
            assert_eq!(names, expected, "{pattern}");
            assert_eq!(found, !expected.is_empty(), "{pattern}");
        }
    }

    #[test]
    fn a_name_tells_its_observatory() {
        for (pattern, observatory) in [
            ("jwst_*", Some(Observatory::Jwst)),
            ("references/hst/*", Some(Observatory::Hst)),
            ("roman/x_dark.fits", Some(Observatory::Roman)),
            ("u451251ej_bpx.fits", None),
        ] {
            assert_eq!(Pattern::new(pattern).observatory, observatory, "{pattern}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_similar() {
        let catalog = catalog(&["jwst_miri_dark_0001.fits", "jwst_miri_dark_0002.fits", "x.fits"]);
        let told = |pattern: &str| nothing(&Pattern::new(pattern), &[&catalog]);
        assert_eq!(
            told("jwst_miri_dark_001.fits"),
            "'jwst_miri_dark_001.fits' is in no catalog; similar: jwst_miri_dark_0001.fits, jwst_miri_dark_0002.fits"
        );
        assert_eq!(told("nothing"), "'nothing' is in no catalog");
        assert!(told("*.imap").contains("matches no file"));
    }
}
