//! `crds-fs bestrefs` over a small cache of its own: contexts, comparison, exit status, words.

#![expect(clippy::unwrap_used, reason = "a test: what goes wrong is its failure")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

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

fn bestrefs(root: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crds-fs"))
        .arg("bestrefs")
        .args(args)
        .arg("--cache")
        .arg(root)
        .env_clear()
        .env("CRDS_IGNORE_MAPPING_CHECKSUM", "1")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
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

#[test]
fn wrong_usage_and_failures_differ() {
    let root = tempfile::tempdir().unwrap();
    cache(root.path());
    let status = |args: &[&str]| bestrefs(root.path(), args).status.code();
    assert_eq!(status(&["--context", "hst_0001.pmap"]), Some(2));
    assert_eq!(status(&["--header", "INSTRUME=ACS"]), Some(2));
    assert_eq!(
        status(&["--context", "hst_0001.pmap", "--header", "nothing"]),
        Some(2)
    );
    assert_eq!(
        status(&["--context", "hst_0009.pmap", "--header", "INSTRUME=ACS"]),
        Some(1)
    );
    assert_eq!(
        status(&["--context", "hst_0001.pmap", "--header", "DETECTOR=WFC"]),
        Some(1)
    );
    assert_eq!(
        status(&["--context", "hst_0001.pmap", "--files", "/nonexistent.fits"]),
        Some(1)
    );
    assert_eq!(
        status(&["--context", "hst_0001.pmap", "--header", "INSTRUME=ACS"]),
        Some(0)
    );
}
