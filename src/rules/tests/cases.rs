//! The smallest cases of details that random mappings and headers, given to the client and to these rules, once showed
//! to differ (`tests/clients/vectors.py`).

use super::*;

/// A pmap, imaps with one type each, and their rmaps, which answer with the instrument's name.
fn pipeline(observatory: &str, parkey: &str, instruments: &[&str]) -> Cache {
    let mut cache = Cache::default();
    let common = format!("'observatory': '{observatory}', 'name': 'n', 'derived_from': 'd'");
    let mut imaps = String::new();
    for instrument in instruments {
        write!(imaps, "'{instrument}': '{instrument}.imap',").unwrap();
        let text = format!(
            "header = {{'mapping': 'INSTRUMENT', 'instrument': '{instrument}', {common}, 'parkey': ('REFTYPE',)}}
selector = {{'dark': '{instrument}.rmap'}}"
        );
        cache.add(&format!("{instrument}.imap"), &text);
        let text = format!(
            "header = {{'mapping': 'REFERENCE', 'instrument': '{instrument}', 'filekind': 'DARK', {common},
    'parkey': (('{parkey}',),)}}\nselector = Match({{'*': '{instrument}'}})"
        );
        cache.add(&format!("{instrument}.rmap"), &text);
    }
    let text = format!(
        "header = {{'mapping': 'PIPELINE', {common}, 'parkey': ('{parkey}',)}}\nselector = {{{imaps}}}"
    );
    cache.add("o.pmap", &text);
    cache
}

fn answer(
    cache: &Cache,
    observatory: Observatory,
    header: &[(&str, &str)],
    types: Option<&[&str]>,
) -> String {
    let context = Context::new(cache.get("o.pmap").unwrap(), observatory, LENIENT).unwrap();
    let header: Header = header.iter().copied().collect();
    match context.best_references(cache, &header, types) {
        Ok(answers) => json!(answers).to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_later_name_of_a_jwst_instrument_counts() {
    let cache = pipeline("JWST", "META.INSTRUMENT.NAME", &["miri", "fgs"]);
    for (header, expected) in [
        (
            [("META.INSTRUMENT.NAME", "MIRI"), ("INSTRUME", "FGS")],
            r#"{"dark":"fgs"}"#,
        ),
        (
            [("INSTRUME", "FGS"), ("meta.instrument.name", "MIRI")],
            r#"{"dark":"miri"}"#,
        ),
        (
            [("META.INSTRUMENT.NAME", "MIRI"), ("INSTRUME", "UNDEFINED")],
            "Missing 'META.INSTRUMENT.NAME' keyword in header for determining instrument.",
        ),
    ] {
        assert_eq!(
            answer(&cache, Observatory::Jwst, &header, Some(&["dark"])),
            expected
        );
    }
    // Without types the name as given must be known as well.
    let header = [("META.INSTRUMENT.NAME", "X"), ("INSTRUME", "FGS")];
    assert_eq!(
        answer(&cache, Observatory::Jwst, &header, None),
        "Unknown instrument 'x' for context 'o.pmap'"
    );
}

#[test]
fn a_name_keeps_the_place_of_its_first_spelling() {
    let cache = pipeline("ROMAN", "ROMAN.META.INSTRUMENT.NAME", &["wfi"]);
    let header = [
        ("META.INSTRUMENT.NAME", "A"),
        ("meta.instrument.name", "WFI"),
        ("ROMAN.META.INSTRUMENT.NAME", "B"),
    ];
    assert_eq!(
        answer(&cache, Observatory::Roman, &header, None),
        r#"{"dark":"wfi"}"#
    );
}
