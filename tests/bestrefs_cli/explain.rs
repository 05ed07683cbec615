//! `--explain`: why.

use std::fs;

use serde_json::json;

use super::archive::{Archive, datasets};
use super::files::{WFC, fits};
use super::{bestrefs, cache, lines, out, said};

const DARK: &str = "    darkfile  old_drk.fits\n\
    \x20       by hst_acs_darkfile_0001.rmap\n\
    \x20       Match of 1 keys by\n\
    \x20           DETECTOR = WFC\n\
    \x20       1. matches with weight 1: ('WFC',) -> old_drk.fits\n\
    \x20       tried: 1\n";

#[test]
fn parameters_files_and_datasets_are_explained() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    fs::write(root.path().join("x.fits"), fits(&WFC)).unwrap();
    let archive = Archive::new();
    for (subject, id) in [
        (
            &["--header", "INSTRUME=ACS,DETECTOR=WFC"][..],
            "INSTRUME=ACS,DETECTOR=WFC",
        ),
        (&["--files", "x.fits"], "x.fits"),
        (&["J00000001"], "J00000001"),
    ] {
        let arguments = [&["--context", "hst_0001.pmap", "--explain=darkfile"], subject].concat();
        let output = archive.bestrefs(root.path(), &arguments);
        assert!(output.status.success(), "{id}: {}", said(&output));
        assert_eq!(out(&output), format!("{id}  hst_0001.pmap\n{DARK}"), "{id}");
    }
    let all = archive.bestrefs(
        root.path(),
        &["--context", "hst_0001.pmap", "--explain", "J00000001"],
    );
    assert!(
        out(&all).contains("    pfltfile  flat_pfl.fits\n"),
        "{}",
        out(&all)
    );
}

/// `--explain dark` is a type, `--explain J00000001` a dataset.
#[test]
fn a_type_behind_explain_is_told_from_a_dataset() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    fs::write(root.path().join("x.fits"), fits(&WFC)).unwrap();
    let archive = Archive::new();
    let explain = |arguments: &[&str]| {
        let arguments = [&["--context", "hst_0001.pmap", "--explain"], arguments].concat();
        archive.bestrefs(root.path(), &arguments)
    };
    for (arguments, id) in [
        (&["darkfile", "--files", "x.fits"][..], "x.fits"),
        (&["DarkFile", "J00000001"], "J00000001"),
        (&["J00000001", "--types", "darkfile"], "J00000001"),
    ] {
        let output = explain(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        assert_eq!(
            out(&output),
            format!("{id}  hst_0001.pmap\n{DARK}"),
            "{arguments:?}"
        );
    }
    for (arguments, told) in [
        (
            &["x.fits", "--files", "x.fits"][..],
            "'x.fits' is not the name of a type",
        ),
        (&["darkfile"], "of which datasets? Give ids, or --files"),
    ] {
        let output = explain(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said(&output).contains(told), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn what_is_not_found_is_explained_as_json() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let arguments = [
        "--context",
        "hst_0001.pmap",
        "--explain",
        "--types",
        "darkfile",
        "--json",
        "--header",
        "INSTRUME=ACS,DETECTOR=HRC",
    ];
    let output = bestrefs(root.path(), &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let told = &lines(&output)[0];
    assert_eq!(told["context"], "hst_0001.pmap");
    let explained = &told["explanations"][0];
    assert_eq!(
        explained["answer"],
        "NOT FOUND  parameter='DETECTOR' value='HRC' is not in ['WFC']"
    );
    assert_eq!(
        explained["steps"][0]["nearest"],
        json!([{"key": ["WFC"], "differing": [{"parameter": "DETECTOR", "value": "HRC", "pattern": "WFC"}], "value": "old_drk.fits"}])
    );
    let unknown = bestrefs(
        root.path(),
        &[
            "--context",
            "hst_0001.pmap",
            "--explain=nosuch",
            "--header",
            "INSTRUME=ACS",
        ],
    );
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        said(&unknown).contains("'nosuch' is no type of references"),
        "{}",
        said(&unknown)
    );
    let both = bestrefs(root.path(), &["--explain", "--check", "--headers", "-"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn an_answer_that_the_rules_do_not_give_is_pointed_out() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let arguments = ["--context", "hst_0001.pmap", "--explain=darkfile", "J00000001"];
    let answers = json!({"hst_0001.pmap": {"darkfile": "other_drk.fits"}});
    let archive = Archive::of(&json!({"J00000001": {"bestrefs": answers}}));
    let unknown = archive.bestrefs(root.path(), &arguments);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        said(&unknown).contains("the server does not tell its parameters"),
        "{}",
        said(&unknown)
    );
    let mut known = datasets();
    known["J00000001"]["bestrefs"] = answers;
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let output = Archive::of(&known).bestrefs(root.path(), &arguments);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains(
            "J00000001: for darkfile the server says \"other_drk.fits\", which these rules do not explain"
        ),
        "{}",
        said(&output)
    );
}
