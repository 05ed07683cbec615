//! The fuzz targets (fuzz/README.md) on a few seeds: what changes here must leave them compiling and true. Needs neither
//! libFuzzer nor another toolchain.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test: what goes wrong is its failure"
)]

// From here the targets import the macro that makes them functions.
extern crate self as libfuzzer_sys;

#[path = "../fuzz/fuzz_targets/dataset.rs"]
mod dataset;
#[path = "../fuzz/fuzz_targets/evaluate.rs"]
mod evaluate;
#[path = "../fuzz/fuzz_targets/literal.rs"]
mod literal;
#[path = "../fuzz/fuzz_targets/mapping.rs"]
mod mapping;
#[path = "../fuzz/fuzz_targets/update.rs"]
mod update;

/// A target as a function. Defined behind the targets: before them their import would be unused.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: $kind:ty| $body:block) => {
        pub(super) fn run($input: $kind) $body
    };
}

#[test]
fn every_target_is_here() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let here = [
        "dataset.rs",
        "evaluate.rs",
        "literal.rs",
        "mapping.rs",
        "update.rs",
    ];
    assert_eq!(found, here, "a target is to be named and seeded in this file");
}

fn fits() -> Vec<u8> {
    let cards = [
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
        "INSTRUME= 'ACS     '           / the camera",
        "DARKFILE= 'jref$old_drk.fits'  / dark",
        "LONG    = 'first &'",
        "CONTINUE  'second' / note",
        "END",
    ];
    let mut file = Vec::new();
    for card in cards {
        file.extend(format!("{card:80}").into_bytes());
    }
    file.resize(2880, b' ');
    file
}

const ASDF: &[u8] =
    b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n\
    roman:\n  meta:\n    instrument: {name: WFI, detector: WFI01}\n    ref_file: {dark: old.asdf}\n...\n";

const GEIS: &[u8] = b"SIMPLE  =                    F /\nINSTRUME= 'WFPC2   '           / camera\n\
    DARKFILE= 'uref$old.r0h'\nEND\n";

#[test]
fn datasets() {
    let json = br#"{"INSTRUME": "ACS", "parameters": [1, {"x": null}]}"#;
    let yaml = b"meta:\n  instrument: {name: MIRI}\n  exposure: [1, 2.5, ~]\n";
    let formats: [&[u8]; 6] = [&fits(), ASDF, GEIS, json, yaml, b"anything"];
    for (which, bytes) in (0..).zip(formats) {
        dataset::run((which, bytes));
        dataset::run((which, &bytes[..bytes.len() / 2]));
    }
}

#[test]
fn updates() {
    let formats: [&[u8]; 3] = [&fits(), ASDF, GEIS];
    for (which, bytes) in (0..).zip(formats) {
        update::run((which, bytes));
        update::run((which, &bytes[..bytes.len() / 2]));
        update::run((which, b""));
    }
}

#[test]
fn evaluations() {
    let wfc = [
        (0, "WFC"),
        (1, "1.0"),
        (2, "1024"),
        (3, "N/A"),
        (4, "2003-01-01"),
        (5, "12:00:00"),
    ];
    evaluate::run(wfc.to_vec());
    let hrc = [
        (0, "HRC"),
        (1, "2.5"),
        (0x62, "12"),
        (3, "WFC1"),
        (4, "2003-01-01"),
        (5, "x"),
    ];
    evaluate::run(hrc.to_vec());
    evaluate::run(vec![(0x40, ""), (0x41, "1"), (11, "3.0")]);
}

#[test]
fn literals() {
    for text in [
        "{'a': (1, -2.5e300, 0x1_0), \"b\": [True, None, ''], 3: {}}",
        "r'\\d' 'joined' u'\\u00e9\\N{DEGREE SIGN}'",
        "123456789012345678901234567890",
        "[1,",
    ] {
        literal::run(text);
    }
}

#[test]
fn mappings() {
    let header = "header = {'mapping': 'REFERENCE', 'name': 'x', 'derived_from': 'y', 'observatory': 'HST', \
                  'instrument': 'ACS', 'filekind': 'BIASFILE', 'parkey': (('DETECTOR',), ('DATE-OBS', 'TIME-OBS')),\n\
                  'rmap_relevance': '(DETECTOR != \"SBC\")'}\n";
    let rules =
        "selector = Match({'WFC|HRC': UseAfter({'2002-03-01 00:00:00': 'a.fits'}), '# >1 #': 'N/A'})\n";
    for rest in [
        "\0DETECTOR=WFC\nDATE-OBS=2003-01-01\nTIME-OBS=00:00:00",
        "\0DETECTOR=5",
        "",
        "x",
    ] {
        mapping::run(&format!("{header}{rules}{rest}"));
    }
    mapping::run(&format!(
        "{header}selector = {{'acs': 'hst_acs.imap', 'cos': 'N/A'}}\0INSTRUME=ACS"
    ));
}
