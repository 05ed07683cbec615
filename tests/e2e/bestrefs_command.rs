//! `crds-fs bestrefs --mount`: the command beside a mount.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::library::Library;
use crate::outputs::said;
use crate::rig::{Rig, program};

const ID: &str = "R0000101001001001001_0001.WFI01";
const HEADER: &str = "ROMAN.META.INSTRUMENT.NAME=WFI,ROMAN.META.INSTRUMENT.DETECTOR=WFI01,ROMAN.META.EXPOSURE.TYPE=WFI_IMAGE,\
                      ROMAN.META.EXPOSURE.START_TIME=2027-01-01 00:00:00";

fn bestrefs(rig: &Rig, args: &[&str]) -> Output {
    let mut command = program();
    command
        .arg("bestrefs")
        .args(args)
        .arg("--mount")
        .arg(rig.mountpoint());
    command.env("CRDS_IGNORE_MAPPING_CHECKSUM", "1").output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The server's answer for the dataset [`ID`] under a context.
fn expected(library: &Library, context: &str) -> Value {
    let text = fs::read(library.cache.join("datasets.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()[ID]["bestrefs"][context].clone()
}

#[test]
fn datasets_by_id_and_by_parameters() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let (lower, answers) = (ID.to_lowercase(), expected(&library, "roman_0002.pmap"));
    let output = bestrefs(
        &rig,
        &[
            "--json",
            "--context",
            "roman-latest",
            ID,
            &lower,
            "NOSUCH",
            ID,
            HEADER,
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = lines(&output);
    assert_eq!(told.len(), 5);
    for (line, id) in told.iter().zip([ID, &lower, "NOSUCH", ID, HEADER]) {
        assert_eq!(line["id"], id);
        if id == "NOSUCH" {
            assert_eq!(
                line["error"],
                "there is no dataset 'NOSUCH': NOT FOUND dataset ID does not exist 'NOSUCH'"
            );
        } else {
            assert_eq!(
                (&line["context"], &line["result"]),
                (&json!("roman_0002.pmap"), &answers),
                "{id}"
            );
        }
    }
    assert!(
        library.counters().calls("get_best_references_by_ids") <= 3,
        "asked together, and remembered"
    );
    let compared = bestrefs(&rig, &["--context", "roman_0001.pmap", "--compare", "latest", ID]);
    assert_eq!(
        String::from_utf8(compared.stdout).unwrap(),
        format!(
            "instrument='WFI' type='FLAT' data='{ID}' ::  New best reference: 'roman_wfi_flat_0001.asdf' --> 'roman_wfi_flat_0002.asdf'\n"
        )
    );
    let wrong = bestrefs(&rig, &["--context", "roman_0001.pmap", "../x"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
    assert!(
        said(&wrong).contains("'../x' is not a dataset id"),
        "{}",
        said(&wrong)
    );
}

#[test]
fn references_are_fetched_through_the_mount() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let ask = |more: &[&str]| bestrefs(&rig, &[&["--context", "roman_0002.pmap", ID], more].concat());
    assert!(ask(&[]).status.success());
    let references = |rig: &Rig| {
        let stored = rig.stored().into_iter();
        stored
            .filter(|path| path.components().any(|part| part.as_os_str() == "references"))
            .count()
    };
    assert_eq!(references(&rig), 0, "an answer brings no file");
    let one = ask(&["--fetch", "--types", "dark"]);
    assert_eq!(
        (said(&one).as_str(), references(&rig)),
        ("1/1 fetched roman/roman_wfi_dark_0001.asdf\n", 1)
    );
    let all = ask(&["--fetch"]);
    assert!(all.status.success(), "{}", said(&all));
    // The data half of a GEIS image comes along, and what is here already is not told.
    let files = expected(&library, "roman_0002.pmap").as_object().unwrap().len() + 1;
    assert_eq!((said(&all).lines().count(), references(&rig)), (files - 1, files));
    for (reftype, name) in expected(&library, "roman_0002.pmap").as_object().unwrap() {
        let name = name.as_str().unwrap();
        let original = fs::read(library.cache.join("references/roman").join(name)).unwrap();
        assert!(
            fs::read(rig.store().join("references/roman").join(name)).unwrap() == original,
            "{reftype}"
        );
    }
    // A file that cannot be fetched is named, and the others are brought.
    fs::remove_file(rig.store().join("references/roman/roman_wfi_dark_0001.asdf")).unwrap();
    drop(library);
    let missing = ask(&["--fetch", "--types", "dark,mask"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        said(&missing).contains("roman/roman_wfi_dark_0001.asdf: "),
        "{}",
        said(&missing)
    );
    assert!(
        said(&missing).contains("not every reference could be fetched"),
        "{}",
        said(&missing)
    );
}

#[test]
fn files_are_updated_by_the_rules_of_the_mount() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x_uncal.asdf");
    let tree = "#ASDF 1.0.0\n%YAML 1.1\n---\nroman:\n  meta:\n    telescope: ROMAN\n    instrument: {name: WFI, detector: WFI01}\n    \
                exposure: {type: WFI_IMAGE, start_time: '2027-01-01 00:00:00'}\n...\n";
    fs::write(&path, tree).unwrap();
    let file = path.to_str().unwrap();
    let output = bestrefs(
        &rig,
        &[
            "--context",
            "roman_0002.pmap",
            "--update-bestrefs",
            "--json",
            "--files",
            file,
        ],
    );
    assert!(output.status.success(), "{}", said(&output));
    let answers = expected(&library, "roman_0002.pmap");
    assert_eq!(lines(&output)[0]["result"], answers);
    for (reftype, name) in answers.as_object().unwrap() {
        let recorded = format!("{reftype}: crds://{}", name.as_str().unwrap());
        assert!(
            fs::read_to_string(&path).unwrap().contains(&recorded),
            "{recorded}"
        );
    }
    let header = crds_fs::dataset::read(Path::new(file), None).unwrap();
    assert_eq!(
        header.get("ROMAN.META.REF_FILE.CRDS.CONTEXT"),
        Some("roman_0002.pmap")
    );
}

#[test]
fn an_explanation_of_a_dataset_brings_the_rules() {
    let library = Library::demo();
    let cache = tempfile::tempdir().unwrap();
    let explain = |id: &str| {
        program()
            .args([
                "bestrefs",
                "--explain=flat",
                "--context",
                "roman-latest",
                id,
                "--cache",
            ])
            .arg(cache.path())
            .env("CRDS_FS_SERVER", &library.flags()[0])
            .env("CRDS_OBSERVATORY", "roman")
            .output()
            .unwrap()
    };
    let output = explain(ID);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        text.starts_with(&format!(
            "{ID}  roman_0002.pmap\n    flat  roman_wfi_flat_0002.asdf\n        by roman_wfi_flat_0002.rmap\n"
        )),
        "{text}"
    );
    assert_eq!(said(&output), "");
    assert!(
        cache
            .path()
            .join("mappings/roman/roman_wfi_flat_0002.rmap")
            .is_file()
    );
    let unknown = explain("NOSUCH");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        said(&unknown).contains("NOSUCH: there is no dataset 'NOSUCH'"),
        "{}",
        said(&unknown)
    );
}
