//! `crds-fs fetch`: files brought into a cache directory, and through a mount.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::library::{Library, dataset_file};
use crate::origin::{Behaviour, Origin};
use crate::outputs::{done, failed, said};
use crate::rig::{Rig, at_least, eventually, program, wait};
use crate::{DARK, FLAT, PMAP, content, server_flag};

const ID: &str = "R0000101001001001001_0001.WFI01";

/// A cache directory, and the server that it is filled from.
struct Place {
    directory: TempDir,
    server: String,
}

impl Place {
    fn new(server: &str) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            server: server.to_owned(),
        }
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .arg("fetch")
            .args(arguments)
            .current_dir(self.directory.path())
            .env("CRDS_FS_SERVER", &self.server)
            .env("CRDS_FS_OBSERVATORY", "roman")
            .env("CRDS_IGNORE_MAPPING_CHECKSUM", "1");
        command
    }

    /// Straight into the directory.
    fn fetch(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.arg("--cache").arg(self.cache()).output().unwrap()
    }

    /// The names of all files of an area, with their contents compared.
    fn names(&self, area: &str, source: &Path) -> BTreeSet<String> {
        let directory = self.cache().join(area).join("roman");
        let entries = fs::read_dir(directory).into_iter().flatten();
        let names: BTreeSet<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        for name in &names {
            let path = Path::new(area).join("roman").join(name);
            let (here, there) = (self.cache().join(&path), source.join(&path));
            assert!(fs::read(here).unwrap() == fs::read(there).unwrap(), "{name}");
        }
        names
    }
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn names_and_globs_into_a_cache_directory() {
    let library = Library::demo();
    let place = Place::new(&library.flags()[0]);
    let output = place.fetch(&[
        "--json",
        "roman_wfi_dark_*.rmap",
        "ROMAN_0002.pmap",
        "references/roman/*.text",
    ]);
    done(&output);
    let told = report(&output);
    assert_eq!(
        told["totals"]["states"]["fetched"]["files"], told["totals"]["files"],
        "{told}"
    );
    assert_eq!(
        (&told["files"][0]["observatory"], &told["files"][0]["name"]),
        (&json!("roman"), &json!("roman_0002.pmap"))
    );
    assert_eq!(
        place.names("references", &library.cache),
        set(&["roman_wfi_photom_0001.text"])
    );
    let rules = place.names("mappings", &library.cache);
    assert!(
        rules.contains("roman_0002.pmap") && rules.contains("roman_wfi_dark_0001.rmap"),
        "{rules:?}"
    );
    // It is a cache as clients make it.
    for file in ["server_config", "ref_cache_subdir_mode", "bad_files.txt"] {
        assert!(place.cache().join("config/roman").join(file).is_file(), "{file}");
    }
    let asked = library.counters().downloads();
    let again = place.fetch(&["roman_wfi_dark_*.rmap", "crds://roman_wfi_photom_0001.text"]);
    assert!(done(&again).contains("cached"), "{}", said(&again));
    assert_eq!(
        library.counters().downloads(),
        asked,
        "what is here does not come again"
    );
}

/// Caches that other programs have filled may hold anything.
#[test]
fn a_file_that_is_there_and_wrong_comes_anew() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    let references = place.cache().join("references/roman");
    fs::create_dir_all(&references).unwrap();
    fs::write(references.join(FLAT), vec![7; 20_000]).unwrap();
    fs::write(references.join(DARK), origin.contents(DARK)).unwrap();
    done(&place.fetch(&[FLAT, DARK]));
    assert!(fs::read(references.join(FLAT)).unwrap() == origin.contents(FLAT));
    assert_eq!(origin.asked(DARK), [], "what is right stays");
}

#[test]
fn a_context_brings_its_rules_and_those_references_that_are_wanted() {
    let library = Library::demo();
    let place = Place::new(&library.flags()[0]);
    done(&place.fetch(&["--context", "roman-latest"]));
    let rules = place.names("mappings", &library.cache);
    assert!(
        rules.contains("roman_0002.pmap") && rules.contains("roman_wfi_flat_0002.rmap"),
        "{rules:?}"
    );
    assert!(
        !rules.contains("roman_0001.pmap") && !rules.contains("roman_wfi_flat_0001.rmap"),
        "{rules:?}"
    );
    assert_eq!(place.names("references", &library.cache), set(&[]));

    let some = [
        "--context",
        "roman_0001.pmap",
        "--references",
        "--types",
        "readnoise,FLAT",
    ];
    done(&place.fetch(&some));
    assert_eq!(
        place.names("references", &library.cache),
        set(&[
            "roman_wfi_flat_0001.asdf",
            "roman_wfi_readnoise_0001.r4d",
            "roman_wfi_readnoise_0001.r4h"
        ])
    );
    let wrong = ["--context", "roman_0001.pmap", "--references", "--types", "flut"];
    failed(&place.fetch(&wrong), 1, &["no rules for the type 'flut'", "flat"]);
    let wrong = [
        "--context",
        "roman_0001.pmap",
        "--references",
        "--instrument",
        "miri",
    ];
    failed(&place.fetch(&wrong), 1, &["no instrument 'miri'", "wfi"]);
    failed(
        &place.fetch(&["--context", "roman_0077.pmap"]),
        1,
        &["there is no context 'roman_0077.pmap'"],
    );
    failed(
        &place.fetch(&["--context", "nonsense"]),
        2,
        &["--context", "is not a context"],
    );
    failed(&place.fetch(&["--references"]), 2, &["--context"]);
}

/// The references of a dataset of the demonstration.
fn of_dataset() -> BTreeSet<String> {
    set(&[
        "roman_wfi_apcorr_0001.yaml",
        "roman_wfi_area_0001.fits",
        "roman_wfi_dark_0001.asdf",
        "roman_wfi_distortion_0001.asdf",
        "roman_wfi_flat_0001.asdf",
        "roman_wfi_gain_0001.json",
        "roman_wfi_mask_0001.fits",
        "roman_wfi_photom_0001.text",
        "roman_wfi_readnoise_0001.r4d",
        "roman_wfi_readnoise_0001.r4h",
    ])
}

#[test]
fn best_references_of_datasets_and_of_files() {
    let library = Library::demo();
    let by_id = Place::new(&library.flags()[0]);
    done(&by_id.fetch(&["--context", "roman_0001.pmap", "--bestrefs", ID]));
    assert_eq!(by_id.names("references", &library.cache), of_dataset());

    let by_file = Place::new(&library.flags()[0]);
    let file = dataset_file(by_file.directory.path());
    let file = file.to_str().unwrap();
    let mut command = by_file.command(&["--cache", "cache", "--files", file]);
    let output = command.env("CRDS_CONTEXT", "roman_0001.pmap").output().unwrap();
    done(&output);
    assert_eq!(by_file.names("references", &library.cache), of_dataset());

    let unknown = by_id.fetch(&[
        "--json",
        "--bestrefs",
        "NOSUCH.WFI01",
        ID,
        "--context",
        "roman_0001.pmap",
    ]);
    failed(
        &unknown,
        1,
        &["NOSUCH.WFI01: ", "1 of the datasets have no answer"],
    );
    assert_eq!(report(&unknown)["totals"]["files"], 10, "the rest is brought");
    failed(
        &by_file.fetch(&["--files", "nothing.fits"]),
        1,
        &["'nothing.fits'", "No such file"],
    );
    failed(
        &by_file.fetch(&["--bestrefs", file]),
        2,
        &[&format!("--files {file}")],
    );
}

#[test]
fn a_name_that_is_not_there_is_told_with_similar_ones_and_nothing_is_brought() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    failed(
        &place.fetch(&["roman_wfi_dark_0002.asdf", FLAT, "*.imap"]),
        1,
        &[
            "'roman_wfi_dark_0002.asdf' is in no catalog; similar: roman_wfi_dark_0001.asdf",
            "'*.imap' matches no file",
        ],
    );
    assert_eq!(origin.all_asked(), 0);
    failed(
        &place.fetch(&["jwst_0001.pmap"]),
        1,
        &["is of jwst, and only roman is shown"],
    );
    failed(&place.fetch(&[]), 2, &["required"]);
    let mut nowhere = place.command(&["--dry-run", "--cache", "mistyped", FLAT]);
    failed(
        &nowhere.output().unwrap(),
        1,
        &["there is no directory 'mistyped'"],
    );
}

#[test]
fn a_dry_run_tells_files_and_bytes() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    done(&place.fetch(&[FLAT]));
    assert_eq!(
        done(&place.fetch(&["--dry-run", "roman_wfi_*"])),
        format!(
            "remote  293.0 KiB  roman/{DARK}\ncached   19.5 KiB  roman/{FLAT}\n2 files, 312.5 KiB: 1 cached (19.5 KiB), 1 \
             remote (293.0 KiB)\n"
        )
    );
    assert!(origin.asked(DARK).is_empty());
}

#[test]
fn what_cannot_be_had_stands_in_a_table_and_the_rest_is_brought() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    origin.set(FLAT, Behaviour::Status(404));
    let output = place.fetch(&[FLAT, DARK, PMAP]);
    failed(
        &output,
        1,
        &["1 of 3 files could not be had", &format!("roman/{FLAT}  "), "404"],
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 fetched"));
    assert!(place.cache().join("references/roman").join(DARK).is_file());
    origin.refuse();
    let other = Place::new(&server_flag(&origin));
    failed(&other.fetch(&[FLAT]), 1, &["refused"]);
}

#[test]
fn an_inherited_url_that_means_no_server_is_named() {
    let place = Place::new("");
    let mut command = place.command(&["--cache", "cache", FLAT]);
    let output = command
        .env_remove("CRDS_FS_SERVER")
        .env("CRDS_SERVER_URL", "https://crds-serverless-mode.stsci.edu")
        .output()
        .unwrap();
    failed(
        &output,
        1,
        &["CRDS_SERVER_URL is https://crds-serverless-mode.stsci.edu: unset it"],
    );
}

/// Ends it as Ctrl-C does.
fn interrupt(child: Child) -> i32 {
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    wait(child).code().unwrap()
}

/// The bytes that the record of a partial file has noted as here.
pub(crate) fn received(record: &Path) -> u64 {
    let record: Value = fs::read(record)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let number = |part: &Value, name: &str| part[name].as_u64().unwrap_or_default();
    let parts = record["parts"].as_array().into_iter().flatten();
    parts
        .map(|part| number(part, "done") - number(part, "start"))
        .sum()
}

#[test]
fn an_interrupted_fetch_goes_on_where_it_stopped() {
    const LARGE: &str = "roman_wfi_large_0001.asdf";
    let origin = Origin::start(content().file(LARGE, 20_000_000));
    let place = Place::new(&server_flag(&origin));
    origin.set(LARGE, Behaviour::StallAfter(1_500_000));
    let mut command = place.command(&[LARGE, FLAT, "--cache", "cache"]);
    let running = command.stderr(Stdio::piped()).spawn().unwrap();
    let record = place
        .cache()
        .join(format!(".crds-fs/partial/roman/{LARGE}~record"));
    eventually("a part of it is noted", || at_least(received(&record), 1_000_000));
    assert_eq!(interrupt(running), 130);
    origin.mend();
    let before = origin.asked(LARGE).len();
    done(&place.fetch(&[LARGE, FLAT]));
    let large = place.cache().join("references/roman").join(LARGE);
    assert!(fs::read(large).unwrap() == origin.contents(LARGE));
    let asked = origin.asked(LARGE).split_off(before);
    // The first request of a transfer that begins anew has no validator.
    assert!(asked[0].if_range.is_some(), "from the beginning: {asked:?}");
}

#[test]
fn through_the_mount_that_is_named_or_stood_in_or_has_the_store() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = Place::new("roman=http://127.0.0.1:1/roman");
    let mount = rig.mountpoint().display().to_string();
    done(&place.command(&["--mount", &mount, FLAT]).output().unwrap());
    assert_eq!(rig.stored().len(), 1);
    let plan = place
        .command(&["--mount", &mount, "--dry-run", "roman_wfi_*"])
        .output()
        .unwrap();
    let plan = done(&plan);
    assert!(
        plan.contains(&format!("cached   19.5 KiB  roman/{FLAT}")),
        "{plan}"
    );
    assert!(
        plan.contains(&format!("remote  293.0 KiB  roman/{DARK}")),
        "{plan}"
    );
    let mut inside = place.command(&[PMAP]);
    done(&inside.current_dir(rig.path("references")).output().unwrap());
    let store = rig.store().display().to_string();
    let output = place
        .command(&["--json", "--cache", &store, "roman_*"])
        .output()
        .unwrap();
    done(&output);
    let states = &report(&output)["totals"]["states"];
    assert_eq!(
        (&states["cached"]["files"], &states["fetched"]["files"]),
        (&json!(2), &json!(1)),
        "{states}"
    );
    assert_eq!(rig.stored().len(), 3);
    failed(
        &place.command(&["--mount", &store, FLAT]).output().unwrap(),
        1,
        &["is not mounted", "--cache"],
    );
}

#[test]
fn through_a_mount_failures_have_their_reasons_and_ctrl_c_works() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = Place::new("roman=http://127.0.0.1:1/roman");
    let mount = rig.mountpoint().display().to_string();
    origin.set(FLAT, Behaviour::Status(404));
    let output = place.command(&["--mount", &mount, FLAT, PMAP]).output().unwrap();
    failed(&output, 1, &["404", &format!("roman/{FLAT}  ")]);
    let output = place
        .command(&["--mount", &mount, FLAT, "--json"])
        .output()
        .unwrap();
    let error = report(&output)["files"][0]["error"].clone();
    let error = error.as_str().unwrap();
    assert!(
        error.starts_with("the server answered 404"),
        "as of a directory: {error}"
    );
    origin.set(DARK, Behaviour::StallAt(200_000));
    let running = place
        .command(&["--mount", &mount, DARK])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    origin.wait_for_stalled(1);
    assert_eq!(interrupt(running), 130);
    origin.mend();
    done(&place.command(&["--mount", &mount, DARK]).output().unwrap());
    assert_eq!(rig.stored().len(), 2);
}

/// A file of the user's in place of a catalogued one stays, and is not told to be the catalogued one.
#[test]
fn what_is_the_users_is_told_to_be_local() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let references = rig.path("references/roman");
    fs::write(references.join("mine"), "mine").unwrap();
    fs::rename(references.join("mine"), references.join(FLAT)).unwrap();
    let place = Place::new("roman=http://127.0.0.1:1/roman");
    let mount = rig.mountpoint().display().to_string();
    let output = place
        .command(&["--mount", &mount, FLAT, "--json"])
        .output()
        .unwrap();
    done(&output);
    let told = &report(&output)["files"][0];
    assert_eq!((&told["state"], &told["size"]), (&json!("local"), &json!(4)));
    assert_eq!(fs::read(references.join(FLAT)).unwrap(), b"mine");
}

fn lock_text(name: &str, size: usize, sha1: &str) -> String {
    json!({"version": 1, "contexts": {"roman": PMAP},
        "files": [{"observatory": "roman", "name": name, "size": size, "sha1": sha1}]})
    .to_string()
}

#[test]
fn a_lock_file_brings_exactly_its_files() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    let lock = place.directory.path().join("lock.json");
    fs::write(&lock, lock_text(FLAT, 20_000, origin.blob(FLAT).sha1())).unwrap();
    let lock_flag = ["--json", "--lock", lock.to_str().unwrap()];
    let output = place.fetch(&lock_flag);
    done(&output);
    assert_eq!(report(&output)["files"][0]["name"], FLAT);
    assert_eq!(origin.all_asked(), 1);
    fs::write(&lock, lock_text(FLAT, 20_000, origin.blob(DARK).sha1())).unwrap();
    failed(&place.fetch(&lock_flag[1..]), 1, &["other contents", FLAT]);
    fs::write(
        &lock,
        lock_text("roman_wfi_dark_0009.asdf", 1, origin.blob(DARK).sha1()),
    )
    .unwrap();
    failed(&place.fetch(&lock_flag[1..]), 1, &["does not have it"]);
    fs::write(&lock, "{\"version\": 7}").unwrap();
    failed(&place.fetch(&lock_flag[1..]), 1, &["version 7", "lock.json"]);
}

#[test]
fn on_a_terminal_it_shows_what_is_on_its_way() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    origin.set(DARK, Behaviour::StallAt(200_000));
    let fetch = format!(
        "{} fetch --cache {} {DARK} {FLAT}",
        env!("CARGO_BIN_EXE_crds-fs"),
        place.cache().display()
    );
    let mut terminal = Command::new("script");
    terminal
        .args(["--quiet", "--return", "--command", &fetch, "/dev/null"])
        .env("CRDS_FS_SERVER", &place.server)
        .env("CRDS_FS_OBSERVATORY", "roman")
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut running = terminal.spawn().expect("script, of bsdutils, is there");
    let mut shown = Vec::new();
    let mut screen = running.stdout.take().unwrap();
    origin.wait_for_stalled(1);
    // Until the part that has come is shown.
    while !String::from_utf8_lossy(&shown).contains("195.3") {
        let mut part = [0; 4096];
        let count = screen.read(&mut part).unwrap();
        assert!(count > 0, "it has ended: {}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&part[..count]);
    }
    origin.mend();
    screen.read_to_end(&mut shown).unwrap();
    let status = wait(running);
    let shown = String::from_utf8_lossy(&shown);
    assert!(status.success(), "{shown}");
    for words in [DARK, "of 2 files", "/s", "2 fetched"] {
        assert!(shown.contains(words), "no '{words}' in: {shown}");
    }
}
