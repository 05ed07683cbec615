//! `crds-fs context`, `contexts` and `diff`: through a mount, over a cache, with a server alone, and offline.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::library::Library;
use crate::outputs::{out, said};
use crate::rig::{Rig, program};

const OLD: &str = "roman_0001.pmap";
const NEW: &str = "roman_0002.pmap";
const FLAT: &str = "roman_wfi_flat_0002.rmap";

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn told(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every form of a context, with what it means.
const FORMS: [(&str, &str); 8] = [
    ("roman-latest", NEW),
    ("roman-operational", NEW),
    ("roman-edit", NEW),
    ("roman-2026-03-01", OLD),
    ("roman-wfi-flat-latest", FLAT),
    ("roman-wfi-2026-03-01", "roman_wfi_0001.imap"),
    (OLD, OLD),
    ("Roman_0001", OLD),
];

/// `context` prints the name and a newline, and nothing else.
fn check_forms(place: &[&str]) {
    for (form, name) in FORMS {
        let output = run(&[&["context", form], place].concat());
        assert!(output.status.success(), "{form} {place:?}: {}", said(&output));
        assert_eq!(
            (out(&output), said(&output)),
            (format!("{name}\n"), String::new()),
            "{form} {place:?}"
        );
    }
}

#[test]
fn names_of_contexts_through_a_mount_over_a_cache_and_with_a_server_alone() {
    let mut library = Library::demo();
    let server = library.flags().remove(0);
    let rig = Rig::mounted(&[&server], &[]);
    let mountpoint = rig.mountpoint().display().to_string();
    check_forms(&["--mount", &mountpoint]);
    check_forms(&["--server", &server]);
    let cache = tempfile::tempdir().unwrap();
    let directory = cache.path().display().to_string();
    check_forms(&["--server", &server, "--cache", &directory]);
    let variable = program()
        .args(["context", "latest"])
        .env("CRDS_PATH", rig.mountpoint())
        .env("CRDS_OBSERVATORY", "roman")
        // The context that clients are told to use does not change the meaning of 'latest'.
        .env("CRDS_CONTEXT", OLD)
        .output()
        .unwrap();
    assert_eq!(out(&variable), format!("{NEW}\n"), "{}", said(&variable));
    // Without a network by what is here.
    library.stop();
    check_forms(&["--cache", &directory, "--offline"]);
    let stale = run(&[
        "context",
        "roman-latest",
        "--server",
        &server,
        "--cache",
        &directory,
    ]);
    assert_eq!(
        (stale.status.code(), out(&stale)),
        (Some(0), format!("{NEW}\n")),
        "{}",
        said(&stale)
    );
    let nothing = run(&["context", "roman-latest", "--server", &server]);
    assert_eq!((nothing.status.code(), out(&nothing)), (Some(1), String::new()));
    assert!(
        said(&nothing).contains("nobody listens there"),
        "{}",
        said(&nothing)
    );
}

/// A context without an observatory is of the only one of the mount, or of the one that the environment names.
#[test]
fn latest_is_that_of_the_only_observatory() {
    let library = Library::demo();
    let server = library.flags().remove(0);
    let rig = Rig::mounted(&[&server], &[]);
    let dataset = "R0000101001001001001_0001.WFI01";
    let told = |rig: &Rig, arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = program();
        command
            .args(arguments)
            .env("CRDS_PATH", rig.mountpoint())
            .envs(variables.iter().copied());
        command.output().unwrap()
    };
    let only = told(&rig, &["context", "latest"], &[]);
    assert_eq!(out(&only), format!("{NEW}\n"), "{}", said(&only));
    let only = told(&rig, &["diff", "2026-03-01", "latest"], &[]);
    assert!(out(&only).contains(FLAT), "{}", said(&only));
    let only = told(&rig, &["bestrefs", dataset, "--types", "flat"], &[]);
    assert!(out(&only).contains("roman_wfi_flat_0002.asdf"), "{}", said(&only));
    let cache = tempfile::tempdir().unwrap();
    let directory = cache.path().display().to_string();
    check_forms(&["--server", &server, "--cache", &directory]);
    fs::create_dir_all(cache.path().join("config/hst")).unwrap();
    fs::write(cache.path().join("config/hst/ref_cache_subdir_mode"), "flat").unwrap();
    let only = run(&["context", "latest", "--offline", "--cache", &directory]);
    assert_eq!(out(&only), format!("{NEW}\n"), "{}", said(&only));
    let mut two = Rig::of("jwst,roman", &["--server", &server]);
    two.mount();
    for arguments in [&["context", "latest"][..], &["diff", "2026-03-01", "latest"]] {
        let refused = told(&two, arguments, &[]);
        assert_eq!(refused.status.code(), Some(2), "{}", out(&refused));
        let remedy = "or set CRDS_OBSERVATORY";
        assert!(said(&refused).contains(remedy), "{}", said(&refused));
    }
    for variable in [("CRDS_FS_OBSERVATORY", "roman"), ("CRDS_OBSERVATORY", "ROMAN")] {
        let named = told(&two, &["context", "latest"], &[variable]);
        assert_eq!(out(&named), format!("{NEW}\n"), "{}", said(&named));
        let named = told(&two, &["bestrefs", dataset, "--types", "flat"], &[variable]);
        assert!(
            out(&named).contains("roman_wfi_flat_0002.asdf"),
            "{}",
            said(&named)
        );
    }
}

#[test]
fn wrong_names_of_contexts_are_refused_with_a_remedy() {
    let library = Library::demo();
    let server = library.flags().remove(0);
    let rig = Rig::mounted(&[&server], &[]);
    let mountpoint = rig.mountpoint().display().to_string();
    for (status, arguments, remedy) in [
        (1, &["roman_0009.pmap"][..], "the roman catalog does not list it"),
        (
            1,
            &["roman-2020-01-01"],
            "the history of roman contexts has none in use at 2020-01-01",
        ),
        (
            1,
            &["roman-versions"],
            "the roman server names no context for 'roman-versions'",
        ),
        (1, &["roman-nisp-latest"], "has no rules for 'nisp'"),
        (1, &["jwst-latest"], "the default context of jwst"),
        (2, &["newest"], "'newest' is not a context: give a mapping"),
        (2, &["roman-build"], "crds-fs context roman-build-1.18.0"),
        (
            1,
            &["roman-build-1.18.0"],
            "there is no context 'roman-build-1.18.0': OtherError: no such context is known",
        ),
    ] {
        let output = run(&[&["context", "--mount", &mountpoint], arguments].concat());
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(said(&output).contains(remedy), "{arguments:?}: {}", said(&output));
        assert_eq!(out(&output), "");
    }
    let output = run(&["context", "roman-build-1.18.0", "--server", &server]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output)
            .contains("there is no context 'roman-build-1.18.0': OtherError: no such context is known"),
        "{}",
        said(&output)
    );
    let nowhere = run(&["context", "roman-latest", "--cache", "/nonexistent"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(
        said(&nowhere)
            .contains("there is no directory '/nonexistent'; give that of a CRDS cache or of a mount"),
        "{}",
        said(&nowhere)
    );
}

/// One order for all commands: the working directory's mount before `CRDS_PATH`, and `CRDS_FS_CACHE` before both.
#[test]
fn a_place_that_is_not_named_is_found_in_one_order() {
    let library = Library::demo();
    let server = library.flags().remove(0);
    let rig = Rig::mounted(&[&server], &[]);
    // By what is in it the mount is told from other places.
    fs::read(rig.path("mappings/roman").join(OLD)).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let cached = |directory: &Path, variables: &[(&str, &Path)], more: &[&str]| {
        let output = program()
            .args(["contexts", "roman", "--json"])
            .args(more)
            .current_dir(directory)
            .env("CRDS_FS_SERVER", &server)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{variables:?}: {}", said(&output));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["totals"]["cached"].as_u64().unwrap()
    };
    let (inside, outside) = (rig.path("references/roman"), cache.path());
    let mount = rig.mountpoint();
    assert_eq!(cached(&inside, &[], &[]), 1);
    assert_eq!(cached(&inside, &[("CRDS_PATH", outside)], &[]), 1);
    assert_eq!(cached(&inside, &[("CRDS_FS_CACHE", outside)], &[]), 0);
    assert_eq!(cached(outside, &[("CRDS_PATH", &mount)], &[]), 1);
    assert_eq!(cached(outside, &[("CRDS_FS_CACHE", &rig.store())], &[]), 1);
    assert_eq!(
        cached(
            outside,
            &[("CRDS_PATH", &mount)],
            &["--cache", outside.to_str().unwrap()]
        ),
        0
    );
    // A mount has servers of its own: one that is named leaves it out, and cannot be asked in its place.
    assert_eq!(
        cached(&inside, &[("CRDS_PATH", &mount)], &["--server", &server]),
        0
    );
    for flags in [&["--server", &server][..], &["--offline"]] {
        for command in [&["contexts"][..], &["verify"], &["fetch", OLD]] {
            let mount = ["--mount", mount.to_str().unwrap()];
            let refused = run(&[command, &mount, flags].concat());
            assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
            assert!(
                said(&refused).contains("is an option of mounting"),
                "{}",
                said(&refused)
            );
        }
    }
}

/// A directory that another process has open can be read all the same.
#[test]
fn a_directory_in_use_is_read_as_it_lies_there() {
    let library = Library::demo();
    let server = library.flags().remove(0);
    let cache = tempfile::tempdir().unwrap();
    let directory = cache.path().display().to_string();
    check_forms(&["--server", &server, "--cache", &directory]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let in_use = crds_fs::cache::Cache::builder(cache.path()).open().unwrap();
    let output = run(&[
        "context",
        "roman-latest",
        "--cache",
        &directory,
        "--server",
        &server,
    ]);
    assert_eq!(
        (output.status.code(), out(&output)),
        (Some(0), format!("{NEW}\n")),
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains("this is what the roman server said"),
        "{}",
        said(&output)
    );
    runtime.block_on(in_use.close());
}

fn context<'a>(told: &'a Value, name: &str) -> &'a Value {
    let files = told["files"].as_array().unwrap();
    files.iter().find(|file| file["name"] == name).unwrap()
}

#[test]
fn contexts_tell_when_why_and_how_much_is_here() {
    let library = Library::demo();
    let server = library.flags().remove(0);
    let rig = Rig::mounted(&[&server], &[]);
    let mountpoint = rig.mountpoint().display().to_string();
    let list = || told(&["contexts", "roman", "--json", "--mount", &mountpoint]);
    let before = list();
    let (old, new) = (context(&before, OLD), context(&before, NEW));
    assert_eq!(old["tags"], json!([]));
    assert_eq!(new["tags"], json!(["latest", "edit"]));
    assert_eq!(old["since"], "2026-01-01 00:00:00");
    assert_eq!(new["description"], "A flat of 64 MiB");
    assert_eq!(
        (&old["state"], &old["rules"], &old["complete"]),
        (&json!("remote"), &Value::Null, &json!(false))
    );
    assert_eq!(
        before["totals"],
        json!({"contexts": 2, "cached": 0, "complete": 0})
    );
    assert_eq!(rig.stored().len(), 0, "a listing fetches nothing");

    // All rules, then all references.
    for entry in fs::read_dir(rig.path("mappings/roman")).unwrap() {
        fs::read(entry.unwrap().path()).unwrap();
    }
    let rules = list();
    let old = context(&rules, OLD);
    assert_eq!(
        (&old["state"], &old["rules"]),
        (&json!("cached"), &json!({"held": 11, "total": 11}))
    );
    assert_eq!(old["references"]["held"], 0);
    for entry in fs::read_dir(rig.path("references/roman")).unwrap() {
        fs::File::open(entry.unwrap().path()).unwrap();
    }
    let all = list();
    for name in [OLD, NEW] {
        assert_eq!(context(&all, name)["complete"], true, "{}", context(&all, name));
    }
    assert_eq!(all["totals"]["complete"], 2);

    let output = run(&["contexts", "--mount", &mountpoint, "roman"]);
    let lines: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "roman_0001.pmap  2026-01-01               complete  The first rules",
            "roman_0002.pmap  2026-06-01  latest edit  complete  A flat of 64 MiB",
        ]
    );
    // The same over the cache itself, which the mount has, and of a server alone.
    let store = rig.store().display().to_string();
    let beside = run(&["contexts", "roman", "--cache", &store]);
    assert!(beside.status.success(), "{}", said(&beside));
    assert_eq!((out(&beside), said(&beside)), (out(&output), String::new()));
    let alone = out(&run(&["contexts", "roman", "--server", &server]));
    assert_eq!(
        alone.lines().nth(1),
        Some("roman_0002.pmap  2026-06-01  latest edit  -  A flat of 64 MiB")
    );

    let unknown = run(&["contexts", "kepler"]);
    assert_eq!(unknown.status.code(), Some(2));
    let missing = run(&["contexts", "hst", "--mount", &mountpoint]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing).contains("hst"), "{}", said(&missing));
}

#[test]
fn a_difference_brings_the_rules_that_it_needs() {
    let library = Library::demo();
    let server = library.flags().remove(0);
    let rig = Rig::mounted(&[&server], &[]);
    let mountpoint = rig.mountpoint().display().to_string();
    let expected = "roman_0001.pmap -> roman_0002.pmap\n\
        mappings    3 replaced, 0 added, 0 removed\n\
        references  1 added, 1 removed\n\
        \n\
        roman_0001.pmap -> roman_0002.pmap\n\
        \x20     [ROMAN.META.INSTRUMENT.NAME]\n\
        \x20   ~ wfi  roman_wfi_0001.imap -> roman_wfi_0002.imap\n\
        \n\
        wfi: roman_wfi_0001.imap -> roman_wfi_0002.imap\n\
        \x20     [REFTYPE]\n\
        \x20   ~ flat  roman_wfi_flat_0001.rmap -> roman_wfi_flat_0002.rmap\n\
        \n\
        wfi flat: roman_wfi_flat_0001.rmap -> roman_wfi_flat_0002.rmap\n\
        \x20     [ROMAN.META.INSTRUMENT.DETECTOR, ROMAN.META.EXPOSURE.TYPE; ROMAN.META.EXPOSURE.START_TIME]\n\
        \x20   ~ WFI01|WFI16, WFI_IMAGE; 2020-01-01 00:00:00  roman_wfi_flat_0001.asdf -> roman_wfi_flat_0002.asdf\n\
        \n\
        references added\n\
        \x20   roman_wfi_flat_0002.asdf\n\
        \n\
        references removed\n\
        \x20   roman_wfi_flat_0001.asdf\n";
    let cache = tempfile::tempdir().unwrap();
    let directory = cache.path().display().to_string();
    for place in [
        &["--mount", &mountpoint][..],
        &["--server", &server],
        &["--server", &server, "--cache", &directory],
        &["--offline", "--cache", &directory],
    ] {
        let output = run(&[&["diff", "roman-2026-03-01", "roman-latest"], place].concat());
        assert!(output.status.success(), "{place:?}: {}", said(&output));
        assert_eq!(
            (out(&output), said(&output)),
            (expected.to_owned(), String::new()),
            "{place:?}"
        );
    }
    assert!(
        Path::new(&directory)
            .join("mappings/roman/roman_wfi_flat_0002.rmap")
            .is_file()
    );
    let found = told(&["diff", OLD, NEW, "--json", "--mount", &mountpoint]);
    assert_eq!(
        found["totals"],
        json!({"changes": 3, "added": 0, "deleted": 0, "replaced": 3})
    );
    let rule = &found["changes"][2];
    assert_eq!(
        (&rule["instrument"], &rule["reftype"]),
        (&json!("wfi"), &json!("flat"))
    );
    assert_eq!(
        rule["text"],
        "replaced 'roman_wfi_flat_0001.asdf' with 'roman_wfi_flat_0002.asdf'"
    );
    assert_eq!(found["references"]["added"], json!(["roman_wfi_flat_0002.asdf"]));
    let same = run(&["diff", NEW, "roman-latest", "--mount", &mountpoint]);
    assert_eq!(out(&same), "roman_0002.pmap -> roman_0002.pmap\nno differences\n");
}

#[test]
fn what_cannot_be_compared_is_named_with_a_remedy() {
    let library = Library::demo();
    let server = library.flags().remove(0);
    let empty = tempfile::tempdir().unwrap();
    let directory = empty.path().display().to_string();
    let unknown = run(&["diff", OLD, "roman_0009.pmap", "--server", &server]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        said(&unknown).contains("roman/roman_0009.pmap"),
        "{}",
        said(&unknown)
    );
    assert!(
        said(&unknown).contains("cannot be compared without roman_0009.pmap"),
        "{}",
        said(&unknown)
    );
    let offline = run(&["diff", OLD, NEW, "--offline", "--cache", &directory]);
    assert_eq!(offline.status.code(), Some(1));
    assert!(
        said(&offline).contains("name a cache that has them with --cache DIR"),
        "{}",
        said(&offline)
    );
    let levels = run(&["diff", OLD, "roman_wfi_0002.imap", "--server", &server]);
    assert_eq!(levels.status.code(), Some(2), "{}", said(&levels));
    assert!(
        said(&levels).contains("compare two of .pmap, two of .imap or two of .rmap"),
        "{}",
        said(&levels)
    );
    let other = run(&["diff", OLD, "hst-latest", "--server", &server]);
    assert_eq!(other.status.code(), Some(2), "{}", said(&other));
    assert!(
        said(&other).contains("only contexts of one observatory"),
        "{}",
        said(&other)
    );
    let nonsense = run(&["diff", OLD, "newest", "--server", &server]);
    assert_eq!(nonsense.status.code(), Some(2), "{}", said(&nonsense));
}
