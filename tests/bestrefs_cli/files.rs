//! Dataset files: read, skipped, written.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use super::{bestrefs, cache, command, lines, mapping, out, said};

/// A FITS file of cards and nothing else.
pub(crate) fn fits(cards: &[&str]) -> Vec<u8> {
    let all = [
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
    ];
    let mut text: String = all
        .iter()
        .chain(cards)
        .chain(&["END"])
        .fold(String::new(), |mut text, card| {
            write!(text, "{card:80}").unwrap();
            text
        });
    let blanks = text.len().next_multiple_of(2880) - text.len();
    text.extend(std::iter::repeat_n(' ', blanks));
    text.into_bytes()
}

pub(crate) const WFC: [&str; 2] = ["INSTRUME= 'ACS     '", "DETECTOR= 'WFC     '"];

#[test]
fn files_that_cannot_be_read_are_named_and_the_rest_is_answered() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let good = fits(&WFC);
    for (name, bytes) in [
        ("good.fits", &good[..]),
        ("cut.fits", &good[..200]),
        ("empty.fits", b""),
        ("text.fits", b"no FITS file"),
        ("mystery", b"\x01\x02"),
        ("nothing.fits", &fits(&["DETECTOR= 'WFC     '"])),
    ] {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    let names = [
        "nothing.fits",
        "missing.fits",
        "good.fits",
        "cut.fits",
        "empty.fits",
        "text.fits",
        "mystery",
        ".",
        "good.fits",
    ];
    let args = [&["--context", "hst_0001.pmap", "--files"][..], &names].concat();
    let output = bestrefs(root.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    let answer = "good.fits  hst_0001.pmap\n    darkfile  old_drk.fits\n    pfltfile  flat_pfl.fits\n";
    assert_eq!(out(&output), answer.repeat(2), "as often as it was asked for");
    for words in [
        "cannot read dataset '.': is a directory",
        "'cut.fits' is not a readable FITS file: a header has no END card",
        "'empty.fits' is not a readable FITS file",
        "cannot open dataset 'missing.fits': No such file",
        "cannot tell what kind of file 'mystery' is",
        "source 'nothing.fits' from 'FileHeaderGenerator' : 'No instrument keyword defined in header.'",
        "'text.fits' is not a readable FITS file: it does not begin with SIMPLE",
    ] {
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
    }
    // As JSON every file has its line, in order of the paths.
    let output = bestrefs(root.path(), &[&args[..], &["--json"]].concat());
    let mut sorted = names;
    sorted.sort_unstable();
    let answers = lines(&output);
    assert_eq!(
        answers
            .iter()
            .map(|line| line["id"].as_str().unwrap())
            .collect::<Vec<_>>(),
        sorted
    );
    for line in &answers {
        assert_eq!(line.get("error").is_none(), line["id"] == "good.fits", "{line}");
    }
}

#[test]
fn what_is_skipped_is_not_written() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let path = root.path().join("x.fits");
    let old = fits(&WFC);
    fs::write(&path, &old).unwrap();
    let update = [
        "--context",
        "hst_0001.pmap",
        "--files",
        "x.fits",
        "--update-bestrefs",
        "--types",
        "darkfile",
    ];
    let nothing = bestrefs(
        root.path(),
        &[&update[..], &["--skip-types", "DARKFILE"]].concat(),
    );
    assert!(nothing.status.success(), "{}", said(&nothing));
    assert!(fs::read(&path).unwrap() == old, "nothing was left to write");
    assert!(bestrefs(root.path(), &update).status.success());
    let new = String::from_utf8(fs::read(&path).unwrap()).unwrap();
    assert!(
        new.contains("DARKFILE= 'jref$old_drk.fits'") && !new.contains("PFLTFILE"),
        "{new}"
    );
}

/// A file that its user may not write stays as it is, though the directory would allow to put another in its place.
#[test]
fn a_read_only_file_is_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let path = root.path().join("x.fits");
    fs::write(&path, fits(&WFC)).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(root.path(), 0o777);
    mode(&path, 0o444);
    let args = [
        "--context",
        "hst_0001.pmap",
        "--files",
        "x.fits",
        "--update-bestrefs",
    ];
    let mut update = command(env!("CARGO_BIN_EXE_crds-fs"), root.path(), &args);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Root may write everything: somebody else has to try, with a program that everybody reaches.
        let program = root.path().join("crds-fs");
        fs::copy(env!("CARGO_BIN_EXE_crds-fs"), &program).unwrap();
        update = command(program, root.path(), &args);
        update.uid(65534);
    }
    let output = update.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("cannot write dataset"),
        "{}",
        said(&output)
    );
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
    assert!(fs::read(&path).unwrap() == fits(&WFC));
    assert_eq!(
        fs::read_dir(root.path())
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with(".crds-fs-")
            })
            .count(),
        0,
        "no scratch file stays"
    );
}

/// A JWST context that says itself which types an exposure needs: that is not looked at, and said.
#[test]
fn default_types_of_a_context_of_its_own_are_pointed_out() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("mappings/jwst");
    fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, kind: &str, extra: &str, selector: &str| {
        let text = mapping(kind, extra, selector).replace("'HST'", "'JWST'");
        fs::write(directory.join(name), text).unwrap();
    };
    let pipeline = "'parkey': ('META.INSTRUMENT.NAME',)";
    write(
        "jwst_0001.pmap",
        "PIPELINE",
        pipeline,
        "{'MIRI': 'jwst_miri_0001.imap', 'SYSTEM': 'jwst_system_0001.imap'}",
    );
    write(
        "jwst_0002.pmap",
        "PIPELINE",
        pipeline,
        "{'MIRI': 'jwst_miri_0001.imap'}",
    );
    let instrument = |name: &str| format!("'parkey': ('REFTYPE',), 'instrument': '{name}'");
    write(
        "jwst_miri_0001.imap",
        "INSTRUMENT",
        &instrument("MIRI"),
        "{'DARK': 'N/A'}",
    );
    write(
        "jwst_system_0001.imap",
        "INSTRUMENT",
        &instrument("SYSTEM"),
        "{'CRDSCFG': 'jwst_system_crdscfg_0001.rmap'}",
    );
    fs::write(
        root.path().join("x.fits"),
        fits(&[
            "INSTRUME= 'MIRI    '",
            "CAL_VER = '1.0.0'",
            "EXP_TYPE= 'MIR_DARK'",
        ]),
    )
    .unwrap();
    let ask = |context: &str, more: &[&str]| {
        let output = bestrefs(
            root.path(),
            &[&["--context", context, "--files", "x.fits"], more].concat(),
        );
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    assert!(
        ask("jwst_0001.pmap", &[])
            .contains("jwst_system_crdscfg_0001.rmap, which are not looked at: give --types")
    );
    assert_eq!(ask("jwst_0001.pmap", &["--types", "dark"]), "");
    assert_eq!(ask("jwst_0002.pmap", &["--all"]), "");
}
