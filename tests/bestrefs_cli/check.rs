//! `--check`: what headers record, against what is best now.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::files::{WFC, fits};
use super::{bestrefs, cache, lines, out, said};

/// Dataset files that record references in every way.
fn datasets(root: &Path) {
    cache(root);
    let file =
        |name: &str, cards: &[&str]| fs::write(root.join(name), fits(&[&WFC, cards].concat())).unwrap();
    file(
        "same.fits",
        &[
            "DARKFILE= 'jref$new_drk.fits'",
            "PFLTFILE= 'crds://FLAT_pfl.fits'",
        ],
    );
    file(
        "old.fits",
        &[
            "CRDS_CTX= 'hst_0001.pmap'",
            "DARKFILE= 'jref$old_drk.fits'",
            "PFLTFILE= 'N/A'",
        ],
    );
    file("raw.fits", &["DARKFILE= ''"]);
}

#[test]
fn changes_are_a_table_and_a_status_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    datasets(root.path());
    let check = |more: &[&str]| {
        bestrefs(
            root.path(),
            &[&["--check", "--context", "hst_0002.pmap"], more].concat(),
        )
    };
    let changed = check(&["--files", "same.fits", "old.fits", "raw.fits"]);
    assert_eq!(changed.status.code(), Some(3), "{}", said(&changed));
    assert_eq!(
        out(&changed),
        "old.fits  hst_0001.pmap -> hst_0002.pmap\n\
        \x20   darkfile  old_drk.fits  ->  new_drk.fits\n\
        \x20   pfltfile  N/A           ->  flat_pfl.fits\n\
        2 references of 1 dataset changed: 3 datasets, 4 references that they record; 1 dataset without any\n"
    );
    let same = check(&["--files", "same.fits", "raw.fits"]);
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));
    assert_eq!(
        out(&same),
        "nothing changed: 2 datasets, 2 references that they record; 1 dataset without any\n"
    );
    let only = check(&["--types", "pfltfile", "--files", "same.fits", "old.fits"]);
    assert_eq!(only.status.code(), Some(3));
    assert!(!out(&only).contains("darkfile"), "{}", out(&only));
    let skipped = check(&["--skip-types", "darkfile,pfltfile", "--files", "old.fits"]);
    assert_eq!(skipped.status.code(), Some(0), "{}", out(&skipped));
    // A file that cannot be read is a failure, whatever changed.
    let broken = check(&["--files", "old.fits", "missing.fits"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(said(&broken).contains("missing.fits"), "{}", said(&broken));
    assert!(
        out(&broken).contains("darkfile  old_drk.fits  ->  new_drk.fits"),
        "{}",
        out(&broken)
    );
}

#[test]
fn json_has_a_line_for_each_dataset_in_order() {
    let root = tempfile::tempdir().unwrap();
    datasets(root.path());
    let arguments = [
        "--check",
        "--json",
        "--context",
        "hst_0002.pmap",
        "--files",
        "old.fits",
        "raw.fits",
        "same.fits",
    ];
    let output = bestrefs(root.path(), &arguments);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(
        lines(&output),
        [
            json!({"id": "old.fits", "context": "hst_0002.pmap", "recorded_context": "hst_0001.pmap", "compared": 2,
                "changes": {"darkfile": {"recorded": "old_drk.fits", "best": "new_drk.fits"},
                    "pfltfile": {"recorded": "N/A", "best": "flat_pfl.fits"}}, "unrecorded": []}),
            json!({"id": "raw.fits", "context": "hst_0002.pmap", "recorded_context": null, "compared": 0,
                "changes": {}, "unrecorded": ["darkfile", "pfltfile"]}),
            json!({"id": "same.fits", "context": "hst_0002.pmap", "recorded_context": null, "compared": 2,
                "changes": {}, "unrecorded": []}),
        ]
    );
}

#[test]
fn headers_as_lines_are_checked_too() {
    let root = tempfile::tempdir().unwrap();
    datasets(root.path());
    let header = |dark: &str| json!({"INSTRUME": "ACS", "DETECTOR": "WFC", "darkfile": dark});
    let lines: Vec<String> = (0..3000)
        .map(|number| {
            let dark = if number == 2500 {
                "jref$old_drk.fits"
            } else {
                "jref$new_drk.fits"
            };
            json!({"id": number, "header": header(dark)}).to_string()
        })
        .collect();
    fs::write(root.path().join("headers.jsonl"), lines.join("\n")).unwrap();
    let arguments = [
        "--check",
        "--context",
        "hst_0002.pmap",
        "--headers",
        "headers.jsonl",
    ];
    let output = bestrefs(root.path(), &arguments);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(
        out(&output),
        "2500  hst_0002.pmap\n\
        \x20   darkfile  old_drk.fits  ->  new_drk.fits\n\
        1 reference of 1 dataset changed: 3000 datasets, 3000 references that they record\n"
    );
    let wrong = bestrefs(
        root.path(),
        &["--check", "--context", "hst_0002.pmap", "J00000001"],
    );
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        said(&wrong).contains("give dataset files with --files, or headers with --headers"),
        "{}",
        said(&wrong)
    );
}
