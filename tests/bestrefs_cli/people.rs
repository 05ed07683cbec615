//! Arguments as people type them, and the messages that they get.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::json;

use super::archive::Archive;
use super::files::{WFC, fits};
use super::{bestrefs, cache, command, lines, out, said, words};

const DARK: &str = "    darkfile  old_drk.fits\n";

/// Makes a context the default of HST in this cache.
fn make_default(root: &Path, context: &str) {
    let directory = root.join("config/hst");
    fs::create_dir_all(&directory).unwrap();
    let text = format!(
        "{{'observatory': 'hst', 'latest_context': '{context}', 'operational_context': '{context}'}}\n"
    );
    fs::write(directory.join("server_config"), text).unwrap();
}

fn make_pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

/// The output of a command, which must come to its end by itself.
fn ended(mut command: Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(crate::waiting::ended(&mut child).is_some(), "it hangs");
    child.wait_with_output().unwrap()
}

#[test]
fn the_default_context_follows_from_the_file_or_the_parameters() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    make_default(root.path(), "hst_0001.pmap");
    fs::write(root.path().join("x.fits"), fits(&WFC)).unwrap();
    let archive = Archive::new();
    for arguments in [
        "--files x.fits",
        "--header INSTRUME=ACS,DETECTOR=WFC",
        "J00000001",
    ] {
        let mut command = archive.command(root.path(), &words(arguments));
        // It is for what does not tell its own.
        command.env("CRDS_OBSERVATORY", "jwst");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", said(&output));
        assert!(
            out(&output).contains("  hst_0001.pmap\n") && out(&output).contains(DARK),
            "{arguments}: {}",
            out(&output)
        );
    }
    // The archive's server has told another one.
    make_default(root.path(), "hst_0001.pmap");
    let line = json!({"id": 1, "header": {"INSTRUME": "ACS", "DETECTOR": "WFC"}});
    fs::write(root.path().join("headers.jsonl"), line.to_string()).unwrap();
    let output = bestrefs(
        root.path(),
        &words("--json --types darkfile --headers headers.jsonl"),
    );
    assert_eq!(
        lines(&output),
        [json!({"id": 1, "context": "hst_0001.pmap", "result": {"darkfile": "old_drk.fits"}})]
    );
    // Without a default context the remedy is told.
    fs::remove_file(root.path().join("config/hst/server_config")).unwrap();
    let output = bestrefs(root.path(), &words("--files x.fits"));
    assert_eq!(output.status.code(), Some(1));
    for words in [
        "x.fits: under which context? Give --context",
        "hst",
        "server_config",
    ] {
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
    }
}

#[test]
fn names_are_read_as_people_have_them() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let archive = Archive::new();
    for context in ["hst_0001", "HST_0001.PMAP", "Hst_0001", " hst_0001.pmap "] {
        let output = bestrefs(
            root.path(),
            &[
                "--context",
                context,
                "--header",
                " INSTRUME = ACS , DETECTOR= WFC ",
            ],
        );
        assert!(output.status.success(), "{context}: {}", said(&output));
        assert!(out(&output).contains("  hst_0001.pmap\n"), "{}", out(&output));
        assert!(out(&output).contains(DARK), "{}", out(&output));
    }
    let output = archive.bestrefs(root.path(), &words("--context hst_0001 j00000001_raw.fits"));
    assert!(
        out(&output).contains("old_drk.fits"),
        "{}{}",
        out(&output),
        said(&output)
    );
    let output = bestrefs(
        root.path(),
        &words("--context hst_0001 ./data/j00000001_raw.fits"),
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("dataset files are given with --files"),
        "{}",
        said(&output)
    );
}

#[test]
fn types_that_the_rules_do_not_know_are_refused() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    for flag in ["--types", "--skip-types"] {
        fs::write(root.path().join("x.fits"), fits(&WFC)).unwrap();
        let list = format!("--context hst_0001.pmap {flag} DarkFile,dakrfile --files x.fits");
        let output = bestrefs(root.path(), &words(&list));
        assert_eq!(output.status.code(), Some(2), "{flag}");
        let told = "'dakrfile' is no type of references under hst_0001.pmap, which has: darkfile, pfltfile";
        assert!(said(&output).contains(told), "{flag}: {}", said(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_comparison_reads_the_same_whatever_it_is_of_and_says_when_nothing_differs() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let archive = Archive::new();
    fs::write(root.path().join("x.fits"), fits(&WFC)).unwrap();
    let line = json!({"id": "it", "header": {"INSTRUME": "ACS", "DETECTOR": "WFC"}});
    fs::write(root.path().join("headers.jsonl"), line.to_string()).unwrap();
    for (subject, id) in [
        ("J00000001", "J00000001"),
        ("--files x.fits", "x.fits"),
        ("--headers headers.jsonl", "it"),
        ("--header INSTRUME=ACS,DETECTOR=WFC", "INSTRUME=ACS,DETECTOR=WFC"),
    ] {
        let arguments = format!("--context hst_0001.pmap --compare hst_0002.pmap {subject}");
        let output = archive.bestrefs(root.path(), &words(&arguments));
        let line = format!(
            "instrument='ACS' type='DARKFILE' data='{id}' ::  New best reference: 'old_drk.fits' --> 'new_drk.fits'\n"
        );
        assert_eq!((out(&output), said(&output)), (line, String::new()));
        let arguments = format!("--context hst_0001.pmap --compare hst_0001.pmap {subject}");
        let output = archive.bestrefs(root.path(), &words(&arguments));
        assert!(output.status.success());
        assert_eq!(out(&output), "");
        assert!(
            said(&output).contains("no differences under hst_0001.pmap"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn an_update_says_what_it_writes_and_a_dry_run_what_it_would() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let path = root.path().join("x.fits");
    let old = fits(&[
        "INSTRUME= 'ACS     '",
        "DETECTOR= 'WFC     '",
        "DARKFILE= 'N/A     '",
    ]);
    fs::write(&path, &old).unwrap();
    let update = words("--context hst_0001.pmap --files x.fits --update-bestrefs");
    let dry = bestrefs(root.path(), &[&update[..], &["--dry-run"]].concat());
    assert!(dry.status.success(), "{}", said(&dry));
    assert!(fs::read(&path).unwrap() == old, "nothing is written");
    let changed = [
        ("DARKFILE", "'N/A' --> 'jref$old_drk.fits'"),
        ("PFLTFILE", "nothing --> 'jref$flat_pfl.fits'"),
    ];
    let told = |output: &Output, verb: &str| {
        let out = out(output);
        assert!(
            out.starts_with(&format!("x.fits  hst_0001.pmap  {verb}\n")),
            "{out}"
        );
        for (keyword, change) in changed {
            let told = |line: &str| line.trim_start().starts_with(keyword) && line.ends_with(change);
            assert!(out.lines().any(told), "{keyword}: {out}");
        }
    };
    told(&dry, "would be updated");
    let written = bestrefs(root.path(), &update);
    assert!(written.status.success(), "{}", said(&written));
    told(&written, "updated");
    assert!(fs::read(&path).unwrap() != old);
    let again = bestrefs(root.path(), &update);
    assert_eq!(
        out(&again),
        "x.fits  hst_0001.pmap  has the best references recorded already\n"
    );
    // As JSON the answers stay as they are, and the rest is beside them.
    let as_json = bestrefs(root.path(), &[&update[..], &["--json"]].concat());
    assert_eq!(lines(&as_json)[0]["result"]["darkfile"], "old_drk.fits");
    assert!(said(&as_json).contains("recorded already"));
    let output = bestrefs(
        root.path(),
        &words("--context hst_0001.pmap --files x.fits --dry-run"),
    );
    assert_eq!(output.status.code(), Some(2), "it is about updates");
}

#[test]
fn failures_are_told_beside_the_answers_and_counted() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let archive = Archive::new();
    fs::write(root.path().join("x.fits"), fits(&WFC)).unwrap();
    let line = |instrument: &str| {
        json!({"id": "it", "header": {"INSTRUME": instrument, "DETECTOR": "WFC"}}).to_string()
    };
    fs::write(
        root.path().join("headers.jsonl"),
        [line("ACS"), line("NOSUCH"), "nonsense".to_owned()].join("\n"),
    )
    .unwrap();
    for (subjects, summary) in [
        ("J00000001 NOSUCH1 NOSUCH2", "2 of 3 datasets failed"),
        ("--files x.fits missing.fits", "1 of 2 datasets failed"),
        ("--headers headers.jsonl", "2 of 3 datasets failed"),
        ("--header INSTRUME=NOSUCH", "1 of 1 datasets failed"),
    ] {
        let output = archive.bestrefs(
            root.path(),
            &words(&format!("--context hst_0001.pmap {subjects}")),
        );
        assert_eq!(output.status.code(), Some(1), "{subjects}");
        let said = said(&output);
        assert!(said.contains(summary), "{subjects}: {said}");
        assert!(!out(&output).contains("error"), "{subjects}: {}", out(&output));
        let count: usize = summary.split(' ').next().unwrap().parse().unwrap();
        let errors = said
            .lines()
            .filter(|line| line.starts_with("CRDS - ERROR -  "))
            .count();
        assert_eq!(errors, count, "{subjects}: {said}");
    }
}

#[test]
fn a_pipe_where_a_file_belongs_is_an_error_and_a_stream_of_headers_is_none() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    make_pipe(&root.path().join("pipe.fits"));
    let run = |arguments: &str| {
        ended(command(
            env!("CARGO_BIN_EXE_crds-fs"),
            root.path(),
            &words(arguments),
        ))
    };
    for more in ["", " --update-bestrefs"] {
        let output = run(&format!("--context hst_0001.pmap --files pipe.fits{more}"));
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said(&output).contains("'pipe.fits'") && said(&output).contains("it is a pipe"),
            "{}",
            said(&output)
        );
    }
    let rules = root.path().join("mappings/hst/hst_acs_darkfile_0002.rmap");
    fs::remove_file(&rules).unwrap();
    make_pipe(&rules);
    let output = run("--context hst_0002.pmap --header INSTRUME=ACS,DETECTOR=WFC");
    let all = said(&output) + &out(&output);
    assert!(
        all.contains("hst_acs_darkfile_0002.rmap") && all.contains("it is a pipe"),
        "{all}"
    );
    make_default(root.path(), "hst_0001.pmap");
    let config = root.path().join("config/hst/server_config");
    fs::remove_file(&config).unwrap();
    make_pipe(&config);
    let output = run("--context hst-latest --header INSTRUME=ACS,DETECTOR=WFC");
    assert!(said(&output).contains("it is a pipe"), "{}", said(&output));
    // Headers may come through a pipe.
    let headers = root.path().join("headers");
    make_pipe(&headers);
    let writer = thread::spawn(move || {
        let line = r#"{"id": "it", "header": {"INSTRUME": "ACS", "DETECTOR": "WFC"}}"#;
        fs::write(headers, line).unwrap();
    });
    let output = run("--context hst_0001.pmap --headers headers");
    writer.join().unwrap();
    assert!(
        output.status.success() && out(&output).contains(DARK),
        "{}",
        said(&output)
    );
}

#[test]
fn a_directory_without_rules_is_told_before_anything_is_asked() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("x.fits"), fits(&WFC)).unwrap();
    for subject in ["--header INSTRUME=ACS", "--files x.fits", "--headers -"] {
        let output = bestrefs(root.path(), &words(&format!("--context hst_0001.pmap {subject}")));
        assert_eq!(output.status.code(), Some(1), "{subject}");
        let said = said(&output);
        assert!(said.contains("mappings is no directory"), "{said}");
        assert!(
            said.contains("--cache DIR") && said.contains("CRDS_PATH"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // A cache whose default context nobody has told.
    cache(root.path());
    let output = bestrefs(root.path(), &words("--context hst-latest --header INSTRUME=ACS"));
    assert!(
        said(&output).contains("name a context, as in hst_0001.pmap"),
        "{}",
        said(&output)
    );
}
