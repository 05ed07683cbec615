//! Lookups on small mappings.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::crds::Observatory;

mod cases;
mod difference;
mod explanation;
mod provider;
mod remembering;
#[path = "../../tests/common/shared.rs"]
mod shared;
mod units;

const LENIENT: LookupOptions = LookupOptions {
    ignore_checksum: true,
};

/// A cache in memory.
#[derive(Default)]
struct Cache(HashMap<String, Arc<Mapping>>);

impl Cache {
    fn add(&mut self, name: &str, text: &str) {
        let mapping = Mapping::load(name, text).unwrap();
        self.0.insert(name.to_owned(), Arc::new(mapping));
    }
}

impl Mappings for Cache {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        self.0.get(name).cloned().ok_or_else(|| LoadError::absent(name))
    }
}

fn rmap_text(parkey: &str, more: &str, selector: &str) -> String {
    format!(
        "header = {{'mapping': 'REFERENCE', 'observatory': 'HST', 'instrument': 'ACS', 'filekind': 'DARKFILE',
            'name': 'x', 'derived_from': 'y', 'parkey': {parkey}, {more}}}\nselector = {selector}\n"
    )
}

fn ask(text: &str, header: &[(&str, &str)]) -> serde_json::Value {
    let mapping = Mapping::load("hst_acs_darkfile.rmap", text).unwrap();
    let context = Context::new(Arc::new(mapping), Observatory::Hst, LENIENT).unwrap();
    let header: Header = header.iter().copied().collect();
    let answers = context.best_references(
        &mut Memory::none(),
        &Cache::default(),
        &header,
        Some(&["DARKFILE".to_lowercase()]),
    );
    json!(answers.unwrap())["darkfile"].clone()
}

const DATES: &str = "(('DETECTOR', 'GAIN'), ('DATE-OBS', 'TIME-OBS'))";
const SELECTOR: &str = "Match({
    ('WFC', '1|2'): UseAfter({'2000-01-01 00:00:00': 'a.fits', '2010-01-01 00:00:00': 'b.fits'}),
    ('WFC', 'N/A'): UseAfter({'1990-01-01 00:00:00': 'c.fits'}),
    ('HRC', '*'): 'N/A',
    ('SBC', '4'): 'OMIT',
})";

#[test]
fn the_best_key_with_an_early_enough_date_wins() {
    let text = rmap_text(DATES, "", SELECTOR);
    let ask = |detector, gain, date| {
        let header = [
            ("detector", detector),
            ("GAIN", gain),
            ("DATE-OBS", date),
            ("TIME-OBS", "12:00:00"),
        ];
        ask(&text, &header)
    };
    assert_eq!(ask("wfc", "1", "2005-01-01"), "a.fits");
    assert_eq!(ask("WFC", "2.0", "2010-01-01"), "b.fits");
    assert_eq!(
        ask("WFC", "1", "1995-01-01"),
        "c.fits",
        "falls through to the next weight"
    );
    assert_eq!(ask("WFC", "1", "1985-01-01"), "NOT FOUND No match found.");
    assert_eq!(ask("HRC", "7", "bad"), "NOT FOUND n/a");
    assert_eq!(ask("SBC", "4", "bad"), json!(null));
    assert_eq!(
        ask("XYZ", "4", "2005-01-01"),
        "NOT FOUND  parameter='DETECTOR' value='XYZ' is not in ['HRC', 'SBC', 'WFC']"
    );
    assert_eq!(
        ask("WFC", "1", "2005/x"),
        "NOT FOUND UseAfter Invalid date/time format for ('DATE-OBS', 'TIME-OBS') value = '2005/X 12:00:00' \
         exception is \"Unknown numerical date format: '2005/X 12:00:00'\""
    );
}

#[test]
fn relevance_decides_before_matching() {
    let more = "'rmap_relevance': '(DARKCORR != \"OMIT\")', 'extra_keys': ('DARKCORR',),
        'parkey_relevance': {'gain': '(DETECTOR == \"SBC\")'}";
    let text = rmap_text(DATES, more, SELECTOR);
    let header = [
        ("DETECTOR", "WFC"),
        ("GAIN", "99"),
        ("DATE-OBS", "2005-01-01"),
        ("TIME-OBS", "00:00"),
    ];
    assert_eq!(
        ask(&text, &header),
        "a.fits",
        "a gain that is not relevant matches every gain"
    );
    let omitted: Vec<_> = header.into_iter().chain([("DARKCORR", "omit")]).collect();
    assert_eq!(ask(&text, &omitted), "NOT FOUND n/a");
}

#[test]
fn a_pmap_finds_instrument_and_types() {
    let mut cache = Cache::default();
    cache.add(
        "hst.pmap",
        "header = {'mapping': 'PIPELINE', 'observatory': 'HST', 'name': 'n', 'derived_from': 'd',
            'parkey': ('INSTRUME',)}\nselector = {'ACS': 'hst_acs.imap', 'COS': 'N/A'}",
    );
    let context = Context::new(cache.get("hst.pmap").unwrap(), Observatory::Hst, LENIENT).unwrap();
    let header: Header = [("INSTRUME", "ACS"), ("DETECTOR", "HRC"), ("GAIN", "1")]
        .into_iter()
        .collect();
    assert_eq!(context.missing(&cache, &header), ["hst_acs.imap"]);
    cache.add(
        "hst_acs.imap",
        "header = {'mapping': 'INSTRUMENT', 'observatory': 'HST', 'instrument': 'ACS', 'name': 'n',
            'derived_from': 'd', 'parkey': ('REFTYPE',)}; selector = {'darkfile': 'hst_acs_darkfile.rmap', 'biasfile': 'N/A', 'badfile': 'OMIT'}",
    );
    assert_eq!(context.missing(&cache, &header), ["hst_acs_darkfile.rmap"]);
    let error = context
        .best_references::<&str>(&mut Memory::none(), &cache, &header, None)
        .unwrap_err();
    assert!(error.is_absent_mapping(), "{error}");
    cache.add("hst_acs_darkfile.rmap", &rmap_text(DATES, "", SELECTOR));
    assert!(context.missing(&cache, &header).is_empty());
    let answers = context
        .best_references::<&str>(&mut Memory::none(), &cache, &header, None)
        .unwrap();
    assert_eq!(
        json!(answers),
        json!({"darkfile": "NOT FOUND n/a", "biasfile": "NOT FOUND n/a"})
    );
    let answers = context
        .best_references(&mut Memory::none(), &cache, &header, Some(&["NoSuch"]))
        .unwrap();
    assert_eq!(
        json!(answers),
        json!({"nosuch": "NOT FOUND Unknown reference type 'nosuch'"})
    );
    let fails = |entries: &[(&str, &str)]| {
        let header: Header = entries.iter().copied().collect();
        context
            .best_references::<&str>(&mut Memory::none(), &cache, &header, None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        fails(&[]),
        "Missing 'INSTRUME' keyword in header for determining instrument."
    );
    assert_eq!(
        fails(&[("INSTRUME", "XYZ")]),
        "Unknown instrument 'xyz' for context 'hst.pmap'"
    );
    assert_eq!(
        fails(&[("INSTRUME", "COS")]),
        "'str' object has no attribute 'get_filekinds'"
    );
}

#[test]
fn troubles_of_loading_name_the_place() {
    let load = |text: &str| {
        Mapping::load("dir/hst_acs_darkfile.rmap", text)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        load("header = {\n'a': 1,\n'b' 2}"),
        "Can't load file dir/hst_acs_darkfile.rmap : hst_acs_darkfile.rmap:3: expected ':', found the number 2 (column 5)"
    );
    assert_eq!(
        load("header = {}"),
        "Can't load file dir/hst_acs_darkfile.rmap : 'selector'"
    );
    assert_eq!(
        load(&rmap_text("(('P',),)", "", "Match({('A', 'B'): 'x'})")),
        "Can't load file dir/hst_acs_darkfile.rmap : Match key=('A', 'B') is wrong length for parameters ('P',)"
    );
    let jwst = rmap_text("(('META.EXPOSURE.TYPE',),)", "", "Match({('A', 'B'): 'x'})").replace("HST", "JWST");
    assert_eq!(
        load(&jwst),
        "Can't load file dir/hst_acs_darkfile.rmap : Match key=('A', 'B') is wrong length for parameters \
         ('META.EXPOSURE.TYPE [EXP_TYPE]',)"
    );
    // As in a Python dict, a replaced key is the last one: so it is not the one that is repeated first.
    assert_eq!(
        load(&rmap_text(
            "(('SUBARRAY',),)",
            "",
            "Match({'N/A': 'x', ('GENERIC',): 'x', '1': 'x', '1.0': 'x'})"
        )),
        "Can't load file dir/hst_acs_darkfile.rmap : Key ('1.0',) appears more than once "
    );
    let text = rmap_text("(('P',),)", "'sha1sum': 'no'", "Match({'A': 'x'})");
    let mapping = Mapping::load("hst_acs_darkfile.rmap", &text).unwrap();
    let error = Context::new(Arc::new(mapping), Observatory::Hst, LookupOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "sha1sum mismatch in 'hst_acs_darkfile.rmap'");
}

/// The answer of the rules, computed row by row: the choice of the heaviest matching rows.
fn row_by_row(rows: &[(String, String)], values: [&str; 2]) -> Option<Vec<usize>> {
    let verdicts = rows.iter().enumerate().filter_map(|(place, (one, two))| {
        let one = units::match_pattern(one, values[0]).unwrap();
        let two = units::match_pattern(two, values[1]).unwrap();
        (one >= 0 && two >= 0).then_some((one + two, place))
    });
    let verdicts: Vec<(i8, usize)> = verdicts.collect();
    let best = verdicts.iter().map(|(weight, _)| *weight).max()?;
    Some(
        verdicts
            .into_iter()
            .filter(|(weight, _)| *weight == best)
            .map(|(_, place)| place)
            .collect(),
    )
}

proptest! {
    #[test]
    fn the_index_agrees_with_judging_every_row(
        rows in prop::collection::btree_map(
            ("(A|B|C|N/A|\\*|A\\|B|F\\*|NOT A|BETWEEN 1 3)", "(A|1\\.0|N/A|2\\.0\\|3\\.0|>1|# >1 AND <3 #)"), 0..1u8, 1..90),
        one in "(A|B|C|D|FX|N/A|\\*|2\\.0|UNDEFINED)",
        two in "(A|1\\.0|2\\.0|5\\.0|N/A|\\*|X)",
    ) {
        // An esoteric key in each column switches the check of valid values off.
        let mut rows: Vec<(String, String)> = rows.into_keys().collect();
        rows.push(("NOT ZZ".to_owned(), "#>999#".to_owned()));
        rows.sort();
        rows.dedup();
        let mut selector = String::from("Match({");
        for (place, (one, two)) in rows.iter().enumerate() {
            write!(selector, "('{one}', '{two}'): 'f{place}',").unwrap();
        }
        selector.push_str("})");
        let answer = ask(&rmap_text("(('P', 'Q'),)", "", &selector), &[("P", &one), ("Q", &two)]);
        let expected = match row_by_row(&rows, [&one, &two]).as_deref() {
            None => json!("NOT FOUND No match found."),
            Some([only]) => json!(format!("f{only}")),
            Some(several) => json!(several.iter().map(|place| format!("f{place}")).collect::<Vec<_>>()),
        };
        prop_assert_eq!(answer, expected);
    }

    #[test]
    fn any_text_is_a_mapping_or_refused(text in any::<String>(), tail in r#"[\[\](){},:'"=# \nA-Za-z0-9|*]{0,80}"#) {
        for name in ["a.pmap", "a.imap", "a.rmap"] {
            let _ = Mapping::load(name, &text);
            let _ = Mapping::load(name, rmap_text(DATES, "", &tail));
        }
    }

    #[test]
    fn any_date_is_read_or_refused(text in "[0-9/:. TAPMjanfeb-]{0,30}") {
        if let Ok(date) = units::date(&text) {
            prop_assert_eq!(units::date(&date), Ok(date));
        }
    }
}

proptest! {
    /// Dates are compared as texts, whatever their form.
    #[test]
    fn the_latest_date_that_is_not_after_wins(
        keys in proptest::collection::btree_set("199[89]-0[12]-1[01][ T]0[01]:00:0[01](|[.]5|[.]500000|[.]000001|x)", 1..12),
        date in "199[89]-0[12]-1[01]",
        // Fractions that are what they seem: of others the client cuts off a microsecond.
        time in "0[01]:00:0[01](|[.]5|[.]75|[.]25)",
    ) {
        let entries: Vec<String> = keys.iter().zip(0..).map(|(key, number)| format!("'{key}': 'f{number}'")).collect();
        let selector = format!("Match({{('WFC', '*'): UseAfter({{{}}})}})", entries.join(", "));
        let header = [("DETECTOR", "WFC"), ("GAIN", "1"), ("DATE-OBS", &*date), ("TIME-OBS", &*time)];
        let found = ask(&rmap_text(DATES, "", &selector), &header);
        let whole = time.len() == "00:00:00".len();
        let wanted = format!("{date} {}", if whole { time } else { format!("{time:0<15}") });
        match keys.iter().rposition(|key| **key <= *wanted) {
            Some(place) => prop_assert_eq!(found, format!("f{place}")),
            None => prop_assert!(found.as_str().unwrap().starts_with("NOT FOUND"), "{}", found),
        }
    }
}
