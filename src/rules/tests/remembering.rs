//! A memory never changes an answer.

use super::*;

/// Rules of every kind that plans know: relevance, omission, parameters that count only sometimes, transforms before and
/// after (of their dates' eras too), groups of equal weight, special words, entries without dates, a selector of dates alone.
fn cache() -> Cache {
    let mut cache = Cache::default();
    let header = |kind: &str, parkey: &str, more: &str| {
        format!(
            "header = {{'mapping': 'REFERENCE', 'observatory': 'HST', 'instrument': 'ACS', 'filekind': '{kind}',
                'name': 'n', 'derived_from': 'd', 'parkey': {parkey}, {more}}}\n"
        )
    };
    let dates = "('DATE-OBS', 'TIME-OBS')";
    let use_after = |file: &str| {
        format!(
            "UseAfter({{'2000-01-01 00:00:00': '{file}0', '2005-05-05 05:05:05': '{file}1', '2010-01-01 00:00:00': '{file}2'}})"
        )
    };
    let (a, b, c) = (use_after("a"), use_after("b"), use_after("c"));
    let matching = format!(
        "Match({{('WFC', '1.0|2.0'): {a}, ('WFC', 'N/A'): {b}, ('WFC', '2.0'): {c}, ('HRC', '*'): 'N/A', ('SBC', '4.0'): 'OMIT',
            ('HRC', '5.0'): ('x', 'y')}})"
    );
    let parkey = format!("(('DETECTOR', 'CCDGAIN'), {dates})");
    let mut add = |kind: &str, parkey: &str, more: &str, selector: &str| {
        cache.add(
            &format!("{kind}.rmap"),
            &(header(kind, parkey, more) + "selector = " + selector),
        );
    };
    add("plain", &parkey, "", &matching);
    add(
        "relevant",
        &parkey,
        "'rmap_relevance': '(DETECTOR != \"SBC\" and X > \"3\")', 'extra_keys': ('X',)",
        &matching,
    );
    add(
        "omitted",
        &parkey,
        "'rmap_omit': '(X == \"4.0\")', 'extra_keys': ('X',), 'reffile_required': 'no'",
        &matching,
    );
    add(
        "conditional",
        &parkey,
        "'parkey_relevance': {'ccdgain': '(X == \"4.0\")'}, 'extra_keys': ('X',)",
        &matching,
    );
    add("dates", &format!("({dates},)"), "", &a);
    add("optional", &format!("({dates},)"), "'reffile_required': 'no'", &a);
    add("unmerged", &parkey, "'merge_overlaps': 'false'", &matching);
    let corners = "('XCORNER', 'YCORNER', 'CCDCHIP')";
    let bias = format!(
        "Match({{('WFC', '2.0', 'AD', 'N/A', '4144.0', '2068.0', '24.0', '0.0'): {a},
            ('WFC', '*', 'A', 'X', '*', '*', '*', '*'): {b}, ('*', '4.0', 'A|AD', '*', '1024.0', '*', '*', '*'): {c}}})"
    );
    add(
        "biasfile",
        &format!(
            "(('DETECTOR', 'CCDGAIN', 'CCDAMP', 'APERTURE', 'NAXIS1', 'NAXIS2', 'LTV1', 'LTV2'), {dates})"
        ),
        &format!(
            "'extra_keys': {corners}, 'hooks': {{'precondition_header': 'precondition_header_acs_biasfile_v2',
                'fallback_header': 'fallback_header_acs_biasfile_v2'}}"
        ),
        &bias,
    );
    let common = "'observatory': 'HST', 'name': 'n', 'derived_from': 'd'";
    let kinds = [
        "plain",
        "relevant",
        "omitted",
        "conditional",
        "dates",
        "optional",
        "unmerged",
        "biasfile",
    ];
    let mut entries = String::new();
    for kind in kinds {
        write!(entries, "'{kind}': '{kind}.rmap',").unwrap();
    }
    cache.add(
        "o.imap",
        &format!(
            "header = {{'mapping': 'INSTRUMENT', 'instrument': 'ACS', {common}, 'parkey': ('REFTYPE',)}}\nselector = {{{entries}}}"
        ),
    );
    cache
}

type Drawn = (
    &'static str,
    &'static str,
    &'static str,
    (&'static str, &'static str),
    &'static str,
);

fn headers() -> impl Strategy<Value = Vec<Drawn>> {
    let some = |values: &'static [&'static str]| prop::sample::select(values);
    let date = prop::sample::select(
        &[
            ("1999-01-01", "00:00:00"),
            ("2001-01-01", "00:00:00"),
            ("2003-01-01", "12:34:56.789"),
            ("2005-05-05", "05:05:05"),
            ("2011-01-01", "00:00:00"),
            ("UNDEFINED", "00:00:00"),
            ("2001-01-01", "UNDEFINED"),
            ("nonsense", "00:00:00"),
            ("", ""),
        ][..],
    );
    let header = (
        some(&["WFC", "HRC", "SBC", "stranger", "UNDEFINED", "N/A"]),
        some(&["1", "2.0", "4", "5", "0.5", "9.25", "N/A"]),
        some(&["1", "4.0", "5", ""]),
        date,
        some(&["A", "AD", "B", "X"]),
    );
    prop::collection::vec(header, 1..60)
}

proptest! {
    #[test]
    fn answers_are_those_without_a_memory(headers in headers()) {
        let cache = cache();
        let context = Context::new(cache.get("o.imap").unwrap(), Observatory::Hst, LENIENT).unwrap();
        let mut memory = Memory::new();
        for (detector, gain, x, (date, time), amplifier) in headers {
            let entries = [
                ("DETECTOR", detector), ("CCDGAIN", gain), ("X", x), ("DATE-OBS", date), ("TIME-OBS", time),
                ("CCDAMP", amplifier), ("APERTURE", "Y"), ("NAXIS1", "1024"), ("NAXIS2", "1024"), ("LTV1", "0"),
                ("LTV2", "0"), ("XCORNER", "0"), ("YCORNER", "0"), ("CCDCHIP", "1"),
            ];
            let header: Header = entries.into_iter().collect();
            let ask = |memory: &mut Memory| {
                let answers = context.best_references::<&str>(memory, &cache, &header, Some(&[]));
                json!(answers.unwrap())
            };
            let remembered = ask(&mut memory);
            prop_assert_eq!(&remembered, &ask(&mut memory));
            prop_assert_eq!(remembered, ask(&mut Memory::none()));
        }
    }
}
