//! `crds-fs bestrefs` over a small cache of its own: contexts, comparison, exit status, words.

#![expect(clippy::unwrap_used, reason = "a test: what goes wrong is its failure")]

#[path = "../common/outputs.rs"]
mod outputs;
#[path = "../common/waiting.rs"]
mod waiting;

mod archive;
mod check;
mod explain;
mod files;
mod people;
mod usage;

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use archive::{Archive, datasets};
use outputs::{out, said};
use serde_json::{Value, json};

fn mapping(kind: &str, extra: &str, selector: &str) -> String {
    format!(
        "header = {{'mapping': '{kind}', 'name': 'x', 'derived_from': 'y', 'observatory': 'HST', {extra}}}\n\
         selector = {selector}\n"
    )
}

/// Two contexts that differ in one file.
fn cache(root: &Path) {
    let directory = root.join("mappings/hst");
    fs::create_dir_all(&directory).unwrap();
    let rmap = |kind: &str, file: &str| {
        let extra = format!("'parkey': (('DETECTOR',),), 'instrument': 'ACS', 'filekind': '{kind}'");
        mapping("REFERENCE", &extra, &format!("Match({{('WFC',): '{file}'}})"))
    };
    let mut files = vec![(
        "hst_acs_pfltfile_0001.rmap".to_owned(),
        rmap("PFLTFILE", "flat_pfl.fits"),
    )];
    for (number, dark) in [("0001", "old_drk.fits"), ("0002", "new_drk.fits")] {
        let pmap = format!("{{'ACS': 'hst_acs_{number}.imap'}}");
        let imap = format!(
            "{{'DARKFILE': 'hst_acs_darkfile_{number}.rmap', 'PFLTFILE': 'hst_acs_pfltfile_0001.rmap'}}"
        );
        files.push((
            format!("hst_{number}.pmap"),
            mapping("PIPELINE", "'parkey': ('INSTRUME',)", &pmap),
        ));
        files.push((
            format!("hst_acs_{number}.imap"),
            mapping("INSTRUMENT", "'parkey': ('REFTYPE',), 'instrument': 'ACS'", &imap),
        ));
        files.push((format!("hst_acs_darkfile_{number}.rmap"), rmap("DARKFILE", dark)));
    }
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
}

/// The command on a cache; files are named relative to it.
fn command(program: impl AsRef<Path>, root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .arg("bestrefs")
        .args(args)
        .arg("--cache")
        .arg(root)
        .env_clear()
        .env("CRDS_IGNORE_MAPPING_CHECKSUM", "1")
        .current_dir(root);
    command
}

fn bestrefs(root: &Path, args: &[&str]) -> Output {
    command(env!("CARGO_BIN_EXE_crds-fs"), root, args)
        .output()
        .unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    out(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn parameters_under_several_contexts() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let contexts = [
        "--context",
        "hst_0001.pmap",
        "--context",
        "hst_0002.pmap",
        "--header",
        "INSTRUME=ACS,DETECTOR=WFC",
    ];
    let output = bestrefs(root.path(), &contexts);
    assert!(output.status.success());
    assert_eq!(
        out(&output),
        "INSTRUME=ACS,DETECTOR=WFC  hst_0001.pmap\n    darkfile  old_drk.fits\n    pfltfile  flat_pfl.fits\n\
         INSTRUME=ACS,DETECTOR=WFC  hst_0002.pmap\n    darkfile  new_drk.fits\n    pfltfile  flat_pfl.fits\n"
    );
}

#[test]
fn types_without_an_answer_are_shown_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let hrc = [
        "--context",
        "hst_0001.pmap",
        "--header",
        "INSTRUME=ACS,DETECTOR=HRC",
    ];
    let output = bestrefs(root.path(), &hrc);
    assert_eq!(out(&output), "INSTRUME=ACS,DETECTOR=HRC  hst_0001.pmap\n");
    assert!(said(&output).contains("--all shows them"), "{}", said(&output));
    let why = "NOT FOUND  parameter='DETECTOR' value='HRC' is not in ['WFC']\n";
    let head = "INSTRUME=ACS,DETECTOR=HRC  hst_0001.pmap\n    darkfile  ";
    let all = bestrefs(root.path(), &[&hrc[..], &["--all"]].concat());
    assert_eq!(
        (out(&all), said(&all)),
        (format!("{head}{why}    pfltfile  {why}"), String::new())
    );
    let named = bestrefs(root.path(), &[&hrc[..], &["--types", "darkfile"]].concat());
    assert_eq!(
        (out(&named), said(&named)),
        (format!("{head}{why}"), String::new())
    );
}

#[test]
fn only_what_changes() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let args = [
        "--context",
        "hst_0001.pmap",
        "--compare",
        "hst_0002.pmap",
        "--header",
        "INSTRUME=ACS,DETECTOR=WFC",
    ];
    assert_eq!(
        out(&bestrefs(root.path(), &args)),
        "instrument='ACS' type='DARKFILE' data='INSTRUME=ACS,DETECTOR=WFC' ::  New best reference: 'old_drk.fits' --> \
         'new_drk.fits'\n"
    );
    let output = bestrefs(root.path(), &[&args[..], &["--json"]].concat());
    assert_eq!(
        lines(&output),
        [json!({
            "id": "INSTRUME=ACS,DETECTOR=WFC", "old": "hst_0001.pmap", "new": "hst_0002.pmap",
            "changes": {"darkfile": {"old": "old_drk.fits", "new": "new_drk.fits"}},
        })]
    );
}

#[test]
fn lines_keep_their_order_ids_and_errors() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let (mut input, mut expected) = (String::new(), Vec::new());
    for number in 0..5000 {
        let (detector, dark) = match number % 2 {
            0 => ("WFC", json!("old_drk.fits")),
            _ => (
                "HRC",
                json!("NOT FOUND  parameter='DETECTOR' value='HRC' is not in ['WFC']"),
            ),
        };
        let header = json!({"INSTRUME": "ACS", "DETECTOR": detector});
        let record = json!({"id": {"number": number}, "header": header, "reftypes": ["darkfile"]});
        writeln!(input, "{record}").unwrap();
        let result = json!({"darkfile": dark});
        expected.push(json!({"id": {"number": number}, "context": "hst_0001.pmap", "result": result}));
    }
    input.push_str("{\"id\": 1, \"header\": {\"INSTRUME\": \"NOSUCH\"}}\n");
    expected.push(json!({"id": 1, "error": "Unknown instrument 'nosuch' for context 'hst_0001.pmap'"}));
    let path = root.path().join("headers.jsonl");
    fs::write(&path, &input).unwrap();
    let args = [
        "--context",
        "hst_0001.pmap",
        "--json",
        "--headers",
        path.to_str().unwrap(),
    ];
    let output = bestrefs(root.path(), &args);
    assert!(output.status.success());
    assert!(lines(&output) == expected);
    // A line that is no record is told in its place, and in the exit status.
    fs::write(&path, format!("{{\"id\": 7}}\nnonsense\n{input}")).unwrap();
    let output = bestrefs(root.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    let answers = lines(&output);
    assert_eq!((&answers[0]["id"], &answers[1]["id"]), (&json!(7), &Value::Null));
    assert!(answers[1]["error"].as_str().unwrap().contains("line 2"));
    assert!(answers[2..] == expected);
}

fn words(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}

#[test]
fn a_comparison_takes_absence_and_omission_for_the_same() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    // In the second context there are no rules for flats, and dark ones have become particular.
    let mappings = root.path().join("mappings/hst");
    fs::write(
        mappings.join("hst_acs_0002.imap"),
        mapping(
            "INSTRUMENT",
            "'parkey': ('REFTYPE',), 'instrument': 'ACS'",
            "{'DARKFILE': 'hst_acs_darkfile_0002.rmap', 'PFLTFILE': 'OMIT', 'NEWTAB': 'N/A'}",
        ),
    )
    .unwrap();
    let extra = "'parkey': (('DETECTOR',),), 'instrument': 'ACS', 'filekind': 'DARKFILE'";
    fs::write(
        mappings.join("hst_acs_darkfile_0002.rmap"),
        mapping("REFERENCE", extra, "Match({('HRC',): 'x_drk.fits'})"),
    )
    .unwrap();
    let args = [
        "--context",
        "hst_0001.pmap",
        "--compare",
        "hst_0002.pmap",
        "--header",
        "INSTRUME=ACS,DETECTOR=WFC",
    ];
    let output = bestrefs(root.path(), &args);
    assert!(output.status.success());
    assert_eq!(
        out(&output),
        "instrument='ACS' type='DARKFILE' data='INSTRUME=ACS,DETECTOR=WFC' ::  New: Bestref FAILED:   parameter='DETECTOR' \
         value='WFC' is not in ['HRC']\n\
         instrument='ACS' type='PFLTFILE' data='INSTRUME=ACS,DETECTOR=WFC' ::  New best reference: 'flat_pfl.fits' --> 'n/a'\n"
    );
    // JSON tells the answers themselves.
    let changes = &lines(&bestrefs(root.path(), &[&args[..], &["--json"]].concat()))[0]["changes"];
    assert_eq!(changes["pfltfile"], json!({"old": "flat_pfl.fits", "new": null}));
    assert_eq!(changes["newtab"], json!({"old": null, "new": "NOT FOUND n/a"}));
}

/// The archive may have no answer for a type that the rules know.
#[test]
fn a_type_without_an_answer_is_named() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let mut known = datasets();
    for (context, dark) in [
        ("hst_0001.pmap", "old_drk.fits"),
        ("hst_0002.pmap", "new_drk.fits"),
    ] {
        known["J00000001"]["bestrefs"][context] = json!({"darkfile": dark});
    }
    let archive = Archive::of(&known);
    let args = ["--context", "hst_0001.pmap", "--types", "DarkFile,PfltFile"];
    let without = "no answer for the type 'pfltfile': unknown, or omitted by the rules";
    let output = archive.bestrefs(root.path(), &[&args[..], &["--json", "J00000001"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        lines(&output)[0]["result"],
        json!({"darkfile": "old_drk.fits", "pfltfile": format!("NOT FOUND {without}")})
    );
    let compared = [&args[..], &["--compare", "hst_0002.pmap", "J00000001"]].concat();
    let output = archive.bestrefs(root.path(), &compared);
    assert_eq!(
        out(&output),
        "instrument='ACS' type='DARKFILE' data='J00000001' ::  New best reference: 'old_drk.fits' --> 'new_drk.fits'\n"
    );
    assert_eq!(said(&output), format!("CRDS - WARNING -  J00000001: {without}\n"));
}

#[test]
fn broken_lines_are_told_in_their_places() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let good = r#"{"id": "a", "header": {"INSTRUME": "ACS", "DETECTOR": "WFC"}, "reftypes": ["darkfile"]}"#;
    let broken = [
        (
            r#"{"id": "b", "header": {"INS"#,
            Value::Null,
            "line 2: column 27: EOF while parsing",
        ),
        (
            r#"{"id": "c", "header": 5}"#,
            json!("c"),
            "line 3: column 23: invalid type: integer `5`, expected an object of parameters",
        ),
        (
            "[1, {}]",
            Value::Null,
            r#"line 4: expected an object {"id": ..., "header": {...}}"#,
        ),
        (
            r#"{"id": "d"}"#,
            json!("d"),
            "line 5: column 11: missing field `header`",
        ),
        (
            r#"{"id": "e", "header": {}, "context": "nonsense"}"#,
            json!("e"),
            "'nonsense' is not a context: give a mapping",
        ),
    ];
    let mut input = format!("{good}\n");
    for (line, _, _) in &broken {
        writeln!(input, "{line}").unwrap();
    }
    input += good;
    fs::write(root.path().join("headers.jsonl"), input).unwrap();
    let output = bestrefs(
        root.path(),
        &[
            "--context",
            "hst_0001.pmap",
            "--json",
            "--headers",
            "headers.jsonl",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let answers = lines(&output);
    let dark = json!({"id": "a", "context": "hst_0001.pmap", "result": {"darkfile": "old_drk.fits"}});
    assert_eq!(
        (answers.first(), answers.last(), answers.len()),
        (Some(&dark), Some(&dark), 7)
    );
    for ((_, id, words), answer) in broken.iter().zip(&answers[1..]) {
        assert_eq!(answer["id"], *id);
        assert!(answer["error"].as_str().unwrap().starts_with(words), "{answer}");
    }
}

/// `| head`: who has seen enough is not told that he has.
#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let line = r#"{"id": "a", "header": {"INSTRUME": "ACS", "DETECTOR": "WFC"}}"#;
    fs::write(
        root.path().join("headers.jsonl"),
        format!("{line}\n").repeat(20_000),
    )
    .unwrap();
    let args = ["--context", "hst_0001.pmap", "--headers", "headers.jsonl"];
    let mut child = command(env!("CARGO_BIN_EXE_crds-fs"), root.path(), &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"a  hst_0001.pmap");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(1), ""));
    // Any other error of writing is told.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(env!("CARGO_BIN_EXE_crds-fs"), root.path(), &args)
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("writing to standard output: No space left"),
        "{}",
        said(&output)
    );
    // With standard input closed there is nothing to answer.
    let output = bestrefs(root.path(), &["--context", "hst_0001.pmap", "--headers", "-"]);
    assert!(output.status.success() && output.stdout.is_empty());
}
