//! The difference of two contexts.

use std::collections::BTreeMap;

use super::*;

/// Texts of mappings by name.
#[derive(Default)]
struct InMemory(BTreeMap<String, String>);

impl Texts for InMemory {
    type Version = ();

    fn text(&self, name: &str) -> Result<String, LoadError> {
        self.0.get(name).cloned().ok_or_else(|| LoadError::absent(name))
    }
}

impl InMemory {
    fn put(&mut self, name: &str, text: String) {
        self.0.insert(name.to_owned(), text);
    }
}

fn mapping(kind: &str, extra: &str, selector: &str) -> String {
    format!(
        "header = {{'mapping': '{kind}', 'name': 'x', 'derived_from': 'y', 'observatory': 'HST', {extra}}}\n\
         selector = {selector}\n"
    )
}

const OLD: &str = "Match({
    ('WFC', '1|2'): UseAfter({'2000-01-01 00:00:00': 'a.fits', '2010-01-01 00:00:00': 'b.fits'}),
    ('HRC', '4'): UseAfter({'1990-01-01 00:00:00': 'c.fits'}),
    ('SBC', '*'): 'N/A',
})";

const NEW: &str = "Match({
    ('WFC', '1|2'): UseAfter({'2000-01-01 00:00:00': 'a.fits', '2010-01-01 00:00:00': 'B.fits',
                              '2020-01-01 00:00:00': 'd.fits'}),
    ('SBC', '*'): 'e.fits',
    ('SBC', '4'): UseAfter({'1995-01-01 00:00:00': 'f.fits'}),
})";

/// Two contexts that differ in the rules of one type; another type has gone, one has come.
fn contexts() -> InMemory {
    let mut texts = InMemory::default();
    for (number, selector, extra, entries) in [
        (
            "0001",
            OLD,
            "",
            "'BIASFILE': 'hst_acs_biasfile_0001.rmap', 'MDRIZTAB': 'N/A'",
        ),
        (
            "0002",
            NEW,
            "'rmap_relevance': '(DARKCORR != \"OMIT\")'",
            "'MDRIZTAB': 'hst_acs_mdriztab_0001.rmap'",
        ),
    ] {
        let pmap = format!("{{'ACS': 'hst_acs_{number}.imap', 'COS': 'hst_cos_0001.imap'}}");
        texts.put(
            &format!("hst_{number}.pmap"),
            mapping("PIPELINE", "'parkey': ('INSTRUME',)", &pmap),
        );
        let imap = format!(
            "{{'DARKFILE': 'hst_acs_darkfile_{number}.rmap', 'PFLTFILE': 'hst_acs_pfltfile_0001.rmap', {entries}}}"
        );
        let of_acs = "'parkey': ('REFTYPE',), 'instrument': 'ACS'";
        texts.put(
            &format!("hst_acs_{number}.imap"),
            mapping("INSTRUMENT", of_acs, &imap),
        );
        texts.put(
            &format!("hst_acs_darkfile_{number}.rmap"),
            rmap_text(DATES, extra, selector),
        );
    }
    texts.put(
        "hst_cos_0001.imap",
        mapping("INSTRUMENT", "'parkey': ('REFTYPE',), 'instrument': 'COS'", "{}"),
    );
    for (name, file) in [
        ("pfltfile", "c.fits"),
        ("biasfile", "g.fits"),
        ("mdriztab", "h.fits"),
    ] {
        texts.put(
            &format!("hst_acs_{name}_0001.rmap"),
            rmap_text("(('DETECTOR',),)", "", &format!("Match({{'WFC': '{file}'}})")),
        );
    }
    texts
}

#[test]
fn changes_are_told_in_the_clients_words() {
    let found = difference(&contexts(), "hst_0001.pmap", "hst_0002.pmap").unwrap();
    let told: Vec<(Option<&str>, String, &str)> = found
        .changes
        .iter()
        .map(|change| {
            let values = change
                .parameters
                .iter()
                .flatten()
                .map(|(_, value)| value.as_str());
            (
                change.reftype.as_deref(),
                values.collect::<Vec<_>>().join(" "),
                change.text.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                None,
                "acs".to_owned(),
                "replaced 'hst_acs_0001.imap' with 'hst_acs_0002.imap'"
            ),
            (
                None,
                "biasfile".to_owned(),
                "deleted 'hst_acs_biasfile_0001.rmap'"
            ),
            (
                None,
                "darkfile".to_owned(),
                "replaced 'hst_acs_darkfile_0001.rmap' with 'hst_acs_darkfile_0002.rmap'"
            ),
            (
                None,
                "mdriztab".to_owned(),
                "replaced 'N/A' with 'hst_acs_mdriztab_0001.rmap'"
            ),
            (
                Some("darkfile"),
                String::new(),
                "header added 'rmap_relevance' = '(DARKCORR != \"OMIT\")'"
            ),
            (
                Some("darkfile"),
                "HRC 4 1990-01-01 00:00:00".to_owned(),
                "deleted Match rule for 'c.fits'"
            ),
            (
                Some("darkfile"),
                "SBC *".to_owned(),
                "replaced 'N/A' with 'e.fits'"
            ),
            (
                Some("darkfile"),
                "SBC 4 1995-01-01 00:00:00".to_owned(),
                "added Match rule for 'f.fits'"
            ),
            (
                Some("darkfile"),
                "WFC 1|2 2010-01-01 00:00:00".to_owned(),
                "replaced 'b.fits' with 'B.fits'"
            ),
            (
                Some("darkfile"),
                "WFC 1|2 2020-01-01 00:00:00".to_owned(),
                "added terminal 'd.fits'"
            ),
        ]
    );
    let pair = |old: &str, new: &str| (old.to_owned(), new.to_owned());
    assert_eq!(
        found.mappings.replaced,
        [
            pair("hst_0001.pmap", "hst_0002.pmap"),
            pair("hst_acs_0001.imap", "hst_acs_0002.imap"),
            pair("hst_acs_darkfile_0001.rmap", "hst_acs_darkfile_0002.rmap"),
        ]
    );
    assert_eq!(found.mappings.added, ["hst_acs_mdriztab_0001.rmap"]);
    assert_eq!(found.mappings.removed, ["hst_acs_biasfile_0001.rmap"]);
    // A reference that another rmap names too has not gone.
    assert_eq!(
        found.references.added,
        ["B.fits", "d.fits", "e.fits", "f.fits", "h.fits"]
    );
    assert_eq!(found.references.removed, ["b.fits", "g.fits"]);
    assert_eq!(found.unread, [""; 0]);
    let same = difference(&contexts(), "hst_0001.pmap", "hst_0001.pmap").unwrap();
    assert_eq!(
        (same.changes, same.mappings),
        (Vec::new(), MappingChanges::default())
    );
}

#[test]
fn rules_that_are_not_there_are_named_level_by_level() {
    let mut texts = contexts();
    let compare = |texts: &InMemory| difference(texts, "hst_0001.pmap", "hst_0002.pmap");
    let absent = |texts: &InMemory| match compare(texts) {
        Err(DifferenceError::Absent(names)) => names,
        other => panic!("{other:?}"),
    };
    let unchanged = texts.0.remove("hst_acs_pfltfile_0001.rmap");
    let dark = texts.0.remove("hst_acs_darkfile_0002.rmap").unwrap();
    let imap = texts.0.remove("hst_acs_0002.imap").unwrap();
    assert_eq!(absent(&texts), ["hst_acs_0002.imap"]);
    texts.put("hst_acs_0002.imap", imap);
    assert_eq!(absent(&texts), ["hst_acs_darkfile_0002.rmap"]);
    texts.put("hst_acs_darkfile_0002.rmap", dark);
    let found = compare(&texts).unwrap();
    assert_eq!((found.unread.len(), unchanged.is_some()), (1, true));
    assert_eq!(found.references.removed, ["b.fits", "c.fits", "g.fits"]);
    let levels = difference(&texts, "hst_0001.pmap", "hst_acs_0002.imap").unwrap_err();
    assert!(levels.to_string().contains("different levels"), "{levels}");
}

#[test]
fn selectors_of_other_kinds_and_parameters_are_not_compared_below() {
    let mut texts = InMemory::default();
    let dated = "Match({'WFC': UseAfter({'2000-01-01 00:00:00': 'a.fits'})})";
    let undated = "Match({'WFC': 'N/A'})";
    let version = "VersionAfter({'1.0.0': 'a.fits'})";
    texts.put(
        "hst_acs_darkfile_0001.rmap",
        rmap_text("(('DETECTOR',), ('DATE-OBS', 'TIME-OBS'))", "", dated),
    );
    texts.put(
        "hst_acs_darkfile_0002.rmap",
        rmap_text("(('CCDAMP',), ('DATE-OBS', 'TIME-OBS'))", "", dated),
    );
    texts.put(
        "hst_acs_darkfile_0003.rmap",
        rmap_text("(('DETECTOR',),)", "", undated),
    );
    texts.put(
        "hst_acs_darkfile_0004.rmap",
        rmap_text("(('DETECTOR',),)", "", version),
    );
    let texts_of = |old: &str, new: &str| {
        let name = |serial: &str| format!("hst_acs_darkfile_{serial}.rmap");
        let found = difference(&texts, &name(old), &name(new)).unwrap();
        let rules = found.changes.into_iter().filter(|change| change.field.is_none());
        rules.map(|change| change.text).collect::<Vec<_>>()
    };
    assert_eq!(
        texts_of("0001", "0002"),
        ["different parameter lists  ('DETECTOR',) : ('CCDAMP',)"]
    );
    assert_eq!(texts_of("0001", "0003"), ["different classes UseAfter : N/A"]);
    assert_eq!(
        texts_of("0003", "0001"),
        ["replaced 'N/A' with UseAfterSelector(('DATE-OBS', 'TIME-OBS'), nselections=1)"]
    );
    assert_eq!(
        texts_of("0003", "0004"),
        ["different classes Match : VersionAfter"]
    );
}
