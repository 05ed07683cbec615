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
    match context.best_references(&mut Memory::none(), cache, &header, types) {
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

/// The answer of an rmap whose selector has these parameters, or what keeps it from being loaded.
fn select(parkey: &str, more: &str, selector: &str, header: &[(&str, &str)]) -> String {
    let text = rmap_text(parkey, more, selector);
    match Mapping::load("hst_acs_darkfile.rmap", &text) {
        Ok(_) => ask(&text, header).to_string(),
        Err(error) => error
            .to_string()
            .replace("Can't load file hst_acs_darkfile.rmap : ", "refused: "),
    }
}

#[test]
fn keys_that_python_cannot_compare() {
    let date = [("D", "2005-01-01 00:00:00"), ("P", "A")];
    for (selector, expected) in [
        (
            "UseAfter({'2000-01-01 00:00:00': 'a', 5: 'b', ('x',): 'c'})",
            "refused: '<' not supported between instances of 'int' and 'str'",
        ),
        (
            "UseAfter({2: 'a', True: 'b'})",
            "\"NOT FOUND '>=' not supported between instances of 'str' and 'int'\"",
        ),
        (
            "UseAfter({('2000-01-01', '00:00:00'): 'a'})",
            "\"NOT FOUND '>=' not supported between instances of 'str' and 'tuple'\"",
        ),
        (
            "ClosestTime({None: 'a'})",
            "\"NOT FOUND argument of type 'NoneType' is not iterable\"",
        ),
        (
            "VersionAfter({None: 'a'})",
            "refused: Invalid version string None",
        ),
        (
            "SelectVersion({'=5': 'a', '==5.0': 'b'})",
            "refused: Key VersionRelation('==5.0') appears more than once ",
        ),
        ("SelectVersion({'<[1]': 'a'})", "refused: unhashable type: 'list'"),
    ] {
        assert_eq!(select("(('D',),)", "", selector, &date), expected, "{selector}");
    }
    let number = [("N", "2")];
    for (selector, expected) in [
        (
            "Bracket({1: 'a', 'x': 'b'})",
            "refused: '<' not supported between instances of 'str' and 'int'",
        ),
        (
            "Bracket({'x': 'b'})",
            "\"NOT FOUND '>' not supported between instances of 'float' and 'str'\"",
        ),
    ] {
        assert_eq!(select("(('N',),)", "", selector, &number), expected, "{selector}");
    }
}

#[test]
fn merged_choices_that_python_cannot_compare() {
    let selector = |one: &str, two: &str| {
        format!(
            "Match({{'A|B': UseAfter({{'2000-01-01 00:00:00': {one}}}), 'A|C': UseAfter({{'2000-01-01 00:00:00': {two}}})}})"
        )
    };
    for (one, two, expected) in [
        (
            "['a']",
            "('a',)",
            "NOT FOUND '>=' not supported between instances of 'list' and 'tuple'",
        ),
        (
            "True",
            "'a'",
            "NOT FOUND '>=' not supported between instances of 'bool' and 'str'",
        ),
        (
            "{}",
            "2.5",
            "NOT FOUND '>=' not supported between instances of 'dict' and 'float'",
        ),
    ] {
        let header = [("P", "A"), ("D", "2005-01-01")];
        let answer = select("(('P',), ('D',))", "", &selector(one, two), &header);
        assert_eq!(answer, format!("{expected:?}"), "{one} {two}");
    }
}

#[test]
fn elements_and_keys_of_matches() {
    let header = [("P", "A"), ("SUBARRAY", "")];
    for (parkey, selector, expected) in [
        ("(('P',),)", "Match({'A': None})", "null"),
        ("(('P',),)", "Match({'A': 5})", "5"),
        (
            "(('P', 'SUBARRAY'),)",
            "Match({('A',): 'a'})",
            "refused: tuple index out of range",
        ),
        (
            "(('P', 'Q'),)",
            "Match({('(A)', '(B)'): 'a', ('Z',): 'b'})",
            "refused: ('Match case', \"('Z',)\", 'wrong length for parameter list', \"('P', 'Q')\")",
        ),
        (
            "(('P', 'Q'),)",
            "Match({('A', 'BETWEEN 1'): 'a', ('BETWEEN 2', 'A'): 'b'})",
            "refused: Invalid between relation 'BETWEEN 1'",
        ),
        (
            "(('P',),)",
            "Match({'BETWEEN NAN 1': 'a'})",
            "refused: Invalid between relation 'BETWEEN NAN 1' should be 'between lower_bound upper_bound'",
        ),
        (
            "(('SUBARRAY',),)",
            "Match({(('', ''),): 'a', ('NOT A',): 'b'})",
            r#"["b","a"]"#,
        ),
    ] {
        assert_eq!(select(parkey, "", selector, &header), expected, "{selector}");
    }
}

#[test]
fn fields_of_other_types() {
    let header = [("X", "A"), ("P", "A")];
    for (more, expected) in [
        (
            "'comment_parkeys': None",
            "refused: 'NoneType' object is not iterable",
        ),
        (
            "'comment_parkeys': (('P',),)",
            "refused: 'tuple' object has no attribute 'upper'",
        ),
        (
            "'comment_parkeys': ('P',), 'parkey_relevance': {'p': 'what is never read'}",
            "\"a\"",
        ),
        ("'substitutions': 5", "refused: 'int' object is not iterable"),
        ("'hooks': ()", "\"a\""),
        // A text is taken for the tuple of its letters.
        ("'extra_keys': 'X', 'rmap_relevance': '(x == \"A\")'", "\"a\""),
    ] {
        assert_eq!(
            select("(('P',),)", more, "Match({'A': 'a'})", &header),
            expected,
            "{more}"
        );
    }
    let commented = select(
        "(('P',),)",
        "'comment_parkeys': 'P'",
        "Match({'A': 'a'})",
        &[("P", "B")],
    );
    assert_eq!(commented, "\"a\"");
    for more in [
        "'hooks': ('x',)",
        "'rmap_omit': True",
        "'extra_keys': None",
        "'parkey_relevance': {'p': 1}",
    ] {
        let text = rmap_text("(('P',),)", more, "Match({'A': 'a'})");
        assert!(Mapping::load("hst_acs_darkfile.rmap", &text).is_err(), "{more}");
    }
    let text = format!(
        "'about'\n{}",
        rmap_text("(('P',),)", "'sha1sum': None", "Match({'A': 'a'})")
    );
    let mapping = Mapping::load("hst_acs_darkfile.rmap", &text).unwrap();
    let error = mapping.checksum().unwrap_err().to_string();
    assert_eq!(error, "sha1sum is missing in 'hst_acs_darkfile.rmap'");
}

#[test]
fn dates_beyond_integers() {
    for (text, message) in [
        (
            "2000-01-01 3000000000:00:00",
            "signed integer is greater than maximum",
        ),
        (
            "2000-01-01 0:00:1e300",
            "Python int too large to convert to C long",
        ),
    ] {
        assert_eq!(units::date(text).unwrap_err(), message);
    }
    assert_eq!(units::date("\u{17f}ept 1, 2000").unwrap(), "2000-09-01 00:00:00");
    assert_eq!(units::date("\u{662}000-01-01").unwrap(), "2000-01-01 00:00:00");
}
