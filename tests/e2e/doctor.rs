//! The findings of `crds-fs doctor` on a machine where all is well, and where it is not. Every test names its mount point:
//! the mounts of others are not to be looked at while they are unmounted.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, program};
use crate::{PMAP, content, server_flag};

/// A doctor with this environment.
fn doctor(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = program();
    command.arg("doctor").args(arguments);
    for (name, value) in environment {
        command.env(name, value);
    }
    command.output().unwrap()
}

/// Its findings, by their names, and the exit status.
fn findings(arguments: &[&str], environment: &[(&str, &str)]) -> (BTreeMap<String, Value>, i32) {
    let output = doctor(&[arguments, &["--json"]].concat(), environment);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let checks = all["checks"].as_array().unwrap().iter();
    let by_name: BTreeMap<String, Value> = checks
        .map(|check| (check["name"].as_str().unwrap().to_owned(), check.clone()))
        .collect();
    let wrong = by_name.values().filter(|check| check["state"] == "wrong").count();
    assert_eq!(all["totals"]["wrong"], wrong, "{all}");
    (by_name, output.status.code().unwrap())
}

/// The finding of this name has this state, and these words in its message and its remedy.
#[track_caller]
fn finds(found: &BTreeMap<String, Value>, name: &str, state: &str, words: &[&str]) {
    let check = found
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {found:#?}"));
    assert_eq!(check["state"], state, "{check:#}");
    for word in words {
        assert!(check.to_string().contains(word), "'{word}' is not in {check:#}");
    }
}

#[test]
fn a_mount_that_is_well_has_nothing_to_mend() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let path = rig.mountpoint().display().to_string();
    let server = server_flag(&origin);
    let environment = [
        ("CRDS_PATH", path.as_str()),
        ("CRDS_OBSERVATORY", "roman"),
        ("CRDS_CONTEXT", PMAP),
        ("CRDS_FS_SERVER", server.as_str()),
        ("CRDS_FS_KEEP_FREE", "0"),
    ];
    let called = origin.all_called();
    let (found, status) = findings(&[&path], &environment);
    for (name, state) in [
        ("/dev/fuse", "ok"),
        ("directory", "ok"),
        ("room", "ok"),
        // The double tells no time.
        ("clock", "note"),
    ] {
        finds(&found, name, state, &[]);
    }
    finds(&found, &path, "ok", &["answers"]);
    finds(&found, "roman", "ok", &[&origin.url(), "3 files", PMAP]);
    finds(&found, "CRDS_PATH", "ok", &["a mount of crds-fs"]);
    finds(&found, "CRDS_CONTEXT", "ok", &[PMAP]);
    let wrong: Vec<_> = found.values().filter(|check| check["state"] == "wrong").collect();
    let own = wrong.iter().filter(|check| check["group"] != "machine");
    assert_eq!(own.count(), 0, "{wrong:#?}");
    assert_eq!(status, i32::from(!wrong.is_empty()));
    // The server was asked for its description, and for no data of files.
    assert!(origin.all_called() > called);
    assert_eq!(origin.all_asked(), 0);

    let text = String::from_utf8(doctor(&[&path], &environment).stdout).unwrap();
    for heading in [
        "machine\n",
        "mounts\n",
        "cache\n",
        "network\n",
        "servers\n",
        "environment\n",
    ] {
        assert!(text.contains(heading), "{text}");
    }
    assert!(text.contains("  ok     /dev/fuse "), "{text}");
    assert!(
        !text.contains('\x1b'),
        "plain text where no terminal reads it: {text}"
    );
}

#[test]
fn a_mount_whose_process_has_died_is_to_be_taken_away() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let path = rig.mountpoint().display().to_string();
    rig.kill_shared();
    rig.reap();
    let (found, status) = findings(&[&path, "--offline"], &[]);
    finds(
        &found,
        &path,
        "wrong",
        &["has died", &format!("crds-fs umount {path}")],
    );
    assert_eq!(status, 1);
}

#[test]
fn servers_that_do_not_answer_as_they_should() {
    let origin = Origin::start(content());
    let url = origin.url();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().display().to_string();
    let check = |server: &str, words: &[&str]| {
        let observatory = server.split_once('=').unwrap().0;
        let (found, status) = findings(&[&path, "--observatory", observatory, "--server", server], &[]);
        finds(&found, observatory, "wrong", words);
        assert_eq!(status, 1);
    };
    let secure = url.replace("http://", "https://");
    check(
        &format!("roman={secure}"),
        &[
            "no https is spoken there",
            &format!("export CRDS_FS_SERVER=roman={url}"),
        ],
    );
    check(
        &format!("jwst={url}"),
        &[
            "the server of roman",
            &format!("export CRDS_FS_SERVER=roman={url}"),
        ],
    );
    origin.set_calls(Behaviour::Status(503));
    check(&server_flag(&origin), &["503", "curl"]);
    origin.set_calls(Behaviour::StallBeforeHead);
    check(&server_flag(&origin), &["for 6s", "https_proxy"]);
    origin.mend();
    origin.refuse();
    check(&server_flag(&origin), &["nobody listens there"]);
    check("roman=http://nowhere.invalid/roman", &["nobody knows that host"]);
    let secret = url.replace("http://", "http://me:verysecret@");
    let output = doctor(
        &[
            &path,
            "--observatory",
            "roman",
            "--server",
            &format!("roman={secret}"),
        ],
        &[],
    );
    assert!(!format!("{output:?}").contains("verysecret"));
}

#[test]
fn variables_that_fight_each_other() {
    let origin = Origin::start(Content {
        observatory: "roman",
        ..content()
    });
    let server = server_flag(&origin);
    let cache = tempfile::tempdir().unwrap();
    let path = cache.path().display().to_string();
    let (found, status) = findings(
        &[&path],
        &[
            ("CRDS_PATH", &path),
            ("CRDS_OBSERVATORY", "roman"),
            ("CRDS_FS_SERVER", &server),
            ("CRDS_CONTEXT", "roman_7777.pmap"),
            ("CRDS_MODE", "lokal"),
            ("CRDS_READONLY_CACHE", "yes"),
            ("SSL_CERT_FILE", "/nowhere/at/all.pem"),
            ("CRDS_REFERENCE_URI", "file:///nowhere/at/all"),
            ("CRDS_FS_KEEP_FREE", "500P"),
            ("https_proxy", "socks5://me:verysecret@proxy.invalid"),
        ],
    );
    assert_eq!(status, 1);
    let latest = format!("export CRDS_CONTEXT={PMAP}");
    finds(
        &found,
        "CRDS_CONTEXT",
        "wrong",
        &["does not list 'roman_7777.pmap'", &latest],
    );
    finds(&found, "CRDS_MODE", "wrong", &["unset CRDS_MODE"]);
    finds(
        &found,
        "CRDS_READONLY_CACHE",
        "wrong",
        &["unset CRDS_READONLY_CACHE"],
    );
    finds(
        &found,
        "certificates",
        "wrong",
        &["/nowhere/at/all.pem", "unset SSL_CERT_FILE"],
    );
    finds(
        &found,
        "CRDS_REFERENCE_URI",
        "wrong",
        &["unset CRDS_REFERENCE_URI"],
    );
    finds(
        &found,
        "room",
        "wrong",
        &["--keep-free", "export CRDS_FS_KEEP_FREE="],
    );
    finds(&found, "https_proxy", "wrong", &["unset https_proxy"]);
    finds(
        &found,
        "CRDS_PATH",
        "wrong",
        &["config/roman/server_config", "crds-fs mount"],
    );
    assert!(!format!("{found:?}").contains("verysecret"));
    assert_eq!(
        fs::read_dir(cache.path()).unwrap().count(),
        0,
        "nothing is changed"
    );
    assert_eq!(origin.all_asked(), 0);
}

#[test]
fn it_works_without_network_home_and_settings() {
    let mut command = program();
    command
        .args(["doctor", "--json", "--offline", "/nonexistent/mount"])
        .env_remove("HOME")
        .env_remove("PATH");
    let output = command.output().unwrap();
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = all["checks"].as_array().unwrap();
    let offline = checks.iter().filter(|check| check["group"] == "servers");
    assert_eq!(
        offline.filter(|check| check["state"] == "ok").count(),
        3,
        "{all:#}"
    );
    assert!(output.stderr.is_empty(), "{output:?}");

    let refused = doctor(&["--cache-size", "0"], &[]);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "a flag that makes no sense is wrong usage"
    );
}
