//! Wrong usage: the exit status, and the messages with their remedies.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::files::{WFC, fits};
use super::{bestrefs, cache, command, said, words};

/// A value that comes from a variable is refused with the name of the variable: nobody has typed it.
#[test]
fn a_bad_value_of_a_variable_is_told_with_its_name() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let arguments = ["--header", "INSTRUME=ACS,DETECTOR=WFC"];
    for variable in ["CRDS_CONTEXT", "CRDS_FS_CONTEXT"] {
        let mut command = command(env!("CARGO_BIN_EXE_crds-fs"), root.path(), &arguments);
        let output = command.env(variable, "nonsense").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let told = format!("{variable}: 'nonsense' is not a context");
        assert!(said(&output).contains(&told), "{}", said(&output));
    }
    let mut serve = Command::new(env!("CARGO_BIN_EXE_crds-fs"));
    let serve = serve
        .arg("serve")
        .arg(root.path())
        .env("CRDS_FS_LISTEN", "nowhere");
    let output = serve.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("CRDS_FS_LISTEN"), "{}", said(&output));
}

#[test]
fn wrong_usage_and_failures_differ() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    for (arguments, status) in [
        ("--context hst_0001.pmap", 2),
        ("--header INSTRUME=ACS", 2),
        ("--context hst_0001.pmap --header nothing", 2),
        ("--context hst_0009.pmap --header INSTRUME=ACS", 1),
        ("--context hst_0001.pmap --header DETECTOR=WFC", 1),
        ("--context hst_0001.pmap --files /nonexistent.fits", 1),
        ("--context hst_0001.pmap --header INSTRUME=ACS", 0),
    ] {
        let output = bestrefs(root.path(), &words(arguments));
        assert_eq!(output.status.code(), Some(status), "{arguments}");
    }
}

#[test]
fn wrong_usage_is_named_with_its_remedy() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    fs::write(root.path().join("x.fits"), fits(&WFC)).unwrap();
    let header = "--context hst_0001.pmap --header INSTRUME=ACS";
    for (arguments, remedy) in [
        (
            "--update-bestrefs",
            "--update-bestrefs is about dataset files: give them with --files",
        ),
        ("--all-types", "--all-types is about dataset files"),
        ("--skip-types x", "--skip-types is about dataset files"),
        ("--types=", "write --types dark,flat"),
        ("--types a,,b", "write --types dark,flat"),
        ("--compare x.fits", "'x.fits' is not a context"),
        (
            "--context nonsense",
            "'nonsense' is not a context: give a mapping",
        ),
        (
            "--context other.pmap",
            "'other.pmap' is not a context: its name must begin with",
        ),
    ] {
        refused(root.path(), &format!("{header} {arguments}"), remedy);
    }
    for (arguments, remedy) in [
        (
            "--header INSTRUME=ACS",
            "Give --context, or set CRDS_CONTEXT or CRDS_OBSERVATORY",
        ),
        (
            "--context hst_0001.pmap --header INSTRUME",
            "'INSTRUME' is not a list of parameters KEY=VALUE",
        ),
        ("--context hst_0001.pmap --files", "--files"),
        (
            "--context hst_0001.pmap --files x.fits --headers -",
            "cannot be used with",
        ),
        (
            "--context hst_0001.pmap --context hst_0001.pmap --files x.fits --update-bestrefs",
            "needs exactly one context",
        ),
    ] {
        refused(root.path(), arguments, remedy);
    }
    let latest = bestrefs(root.path(), &words("--context latest --header INSTRUME=ACS"));
    assert_eq!(latest.status.code(), Some(1));
    assert!(
        said(&latest).contains("write hst-latest, jwst-latest"),
        "{}",
        said(&latest)
    );
    let mut no_mount = Command::new(env!("CARGO_BIN_EXE_crds-fs"));
    let no_mount = no_mount
        .arg("bestrefs")
        .args(words(header))
        .arg("--mount")
        .arg(root.path())
        .env_clear();
    let output = no_mount.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no crds-fs file system is mounted at"),
        "{}",
        said(&output)
    );
}

/// The command does nothing but say what is wrong with its arguments.
fn refused(root: &Path, arguments: &str, remedy: &str) {
    let output = bestrefs(root, &words(arguments));
    assert_eq!(output.status.code(), Some(2), "{arguments}");
    assert!(said(&output).contains(remedy), "{arguments}: {}", said(&output));
    assert!(output.stdout.is_empty(), "{arguments}");
}
