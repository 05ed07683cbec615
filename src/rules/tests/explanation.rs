//! Explanations: what an evaluation did.

use super::*;

fn explain(text: &str, header: &[(&str, &str)]) -> Explanation {
    let mapping = Mapping::load("hst_acs_darkfile.rmap", text).unwrap();
    let context = Context::new(Arc::new(mapping), Observatory::Hst, LENIENT).unwrap();
    let header: Header = header.iter().copied().collect();
    let mut explained = context
        .explain(&Cache::default(), &header, Some(&["darkfile"]))
        .unwrap();
    assert_eq!(explained.len(), 1);
    explained.remove(0)
}

fn dated(detector: &str, gain: &str, date: &str) -> Explanation {
    let header = [
        ("DETECTOR", detector),
        ("GAIN", gain),
        ("DATE-OBS", date),
        ("TIME-OBS", "12:00:00"),
    ];
    explain(&rmap_text(DATES, "", SELECTOR), &header)
}

#[test]
fn the_deciding_key_and_date_are_told() {
    assert_eq!(
        dated("wfc", "1", "2005-01-01").to_string(),
        "darkfile  a.fits\n\
        \x20   by hst_acs_darkfile.rmap\n\
        \x20   Match of 4 keys by\n\
        \x20       DETECTOR = WFC\n\
        \x20       GAIN     = 1.0\n\
        \x20   1. matches with weight 2: ('WFC', '1.0|2.0') -> UseAfter of 2 entries\n\
        \x20   2. matches with weight 1, whatever GAIN: ('WFC', 'N/A') -> UseAfter of 1 entry\n\
        \x20   tried: 1\n\
        \x20   USEAFTER 2000-01-01 00:00:00 is the latest not after DATE-OBS=2005-01-01 TIME-OBS=12:00:00 (the next is \
         2010-01-01 00:00:00) -> a.fits\n"
    );
    let fallen = dated("WFC", "1", "1995-01-01");
    assert_eq!(fallen.answer, Some(json!("c.fits")));
    let tried: Vec<&Step> = fallen
        .steps
        .iter()
        .filter(|step| !matches!(step, Step::Match(_)))
        .collect();
    assert!(
        matches!(
            tried[..],
            [
                Step::Tried { weight: 2, .. },
                Step::NoEntry { first: Some(_), .. },
                Step::Tried { weight: 1, .. },
                Step::Entry { .. }
            ]
        ),
        "{tried:?}"
    );
}

#[test]
fn what_would_have_to_be_different_is_told() {
    let none = dated("SBC", "1", "2005-01-01").to_string();
    assert!(none.contains("darkfile  NOT FOUND No match found.\n"), "{none}");
    assert!(none.contains("    no key matches\n"), "{none}");
    assert!(
        none.contains("    would match if GAIN were 4.0 instead of 1.0: ('SBC', '4.0') -> OMIT\n"),
        "{none}"
    );
    let refused = dated("XYZ", "1", "2005-01-01").to_string();
    assert!(
        refused.contains("a value is refused before any key is looked at: parameter='DETECTOR'"),
        "{refused}"
    );
    assert!(
        refused.contains("would match if DETECTOR were WFC instead of XYZ"),
        "{refused}"
    );
    let early = dated("WFC", "1", "1985-01-01").to_string();
    assert!(early.contains("UseAfter has nothing for DATE-OBS=1985-01-01 TIME-OBS=12:00:00; its first entry is 1990-01-01 00:00:00"), "{early}");
    let undated = dated("WFC", "1", "UNDEFINED").to_string();
    assert!(
        undated.contains("(UseAfter parameter 'DATE-OBS' is UNDEFINED.)"),
        "{undated}"
    );
}

#[test]
fn conditions_on_the_header_are_told() {
    let more = "'rmap_relevance': '(DARKCORR != \"OMIT\")', 'extra_keys': ('DARKCORR',),
        'parkey_relevance': {'gain': '(DETECTOR == \"SBC\")'}";
    let text = rmap_text(DATES, more, SELECTOR);
    let header = [
        ("DETECTOR", "WFC"),
        ("GAIN", "99"),
        ("DATE-OBS", "2005-01-01"),
        ("TIME-OBS", "00:00"),
    ];
    let told = explain(&text, &header).to_string();
    assert!(
        told.contains(
            "GAIN does not count here (99.0 is taken for N/A), as this is false: (DETECTOR == \"SBC\")\n"
        ),
        "{told}"
    );
    let omitted: Vec<_> = header.into_iter().chain([("DARKCORR", "omit")]).collect();
    let told = explain(&text, &omitted).to_string();
    assert!(
        told.contains("its rmap_relevance is false, so the type does not apply: (DARKCORR != \"OMIT\")\n"),
        "{told}"
    );
    assert!(told.contains("        DARKCORR = OMIT\n"), "{told}");
    let optional = rmap_text(DATES, "'reffile_required': 'NO'", SELECTOR);
    let told = explain(&optional, &[("DETECTOR", "SBC"), ("GAIN", "1")]).to_string();
    assert!(told.starts_with("darkfile  NOT FOUND n/a\n"), "{told}");
    assert!(
        told.ends_with("this rmap needs no reference: a failed search means not applicable\n"),
        "{told}"
    );
    let omit = rmap_text(DATES, "'rmap_omit': '(DETECTOR == \"WFC\")'", SELECTOR);
    let explained = explain(&omit, &header);
    assert_eq!((explained.answer, explained.steps), (None, vec![Step::Omitted]));
}

#[test]
fn selectors_of_other_kinds_are_told() {
    let versions = "VersionAfter({'1.0.0': 'a.fits', '2.0.0': 'b.fits'})";
    let told = explain(
        &rmap_text("(('CAL_VER',),)", "", versions),
        &[("CAL_VER", "1.5.0")],
    )
    .to_string();
    assert!(
        told.contains(
            "VersionAfter: 1.0.0 is the highest not above CAL_VER=1.5.0 (the next is 2.0.0) -> a.fits\n"
        ),
        "{told}"
    );
    let told = explain(
        &rmap_text("(('CAL_VER',),)", "", versions),
        &[("CAL_VER", "0.1.0")],
    )
    .to_string();
    assert!(
        told.contains("VersionAfter has nothing for CAL_VER=0.1.0; its first entry is 1.0.0"),
        "{told}"
    );
    let nearest = "GeometricallyNearest({1: 'a.fits', 10: 'b.fits'})";
    let told = explain(&rmap_text("(('GAIN',),)", "", nearest), &[("GAIN", "7")]).to_string();
    assert!(
        told.contains("GeometricallyNearest: 10.0 is the nearest to GAIN=7.0 -> b.fits\n"),
        "{told}"
    );
    // Keys of equal weight that merge.
    let merged = "Match({('A', '*'): UseAfter({'2000-01-01 00:00:00': 'a.fits'}),
        ('A', '1'): UseAfter({'2005-01-01 00:00:00': 'b.fits'})})";
    let header = [
        ("DETECTOR", "A"),
        ("GAIN", "1"),
        ("DATE-OBS", "2006-01-01"),
        ("TIME-OBS", "00:00"),
    ];
    let told = explain(&rmap_text(DATES, "", merged), &header).to_string();
    assert!(told.contains("tried: 1, 2\n"), "{told}");
    assert!(
        told.contains("USEAFTER 2005-01-01 00:00:00 is the latest"),
        "{told}"
    );
}
