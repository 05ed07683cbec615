//! A tier: a directory that files are looked for in first, and that is given what came from elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::origin::{Behaviour, Origin};
use crate::readonly::Unwritable;
use crate::rig::{Rig, equal, eventually, program};
use crate::small_disk::{fill, inside, shrink};
use crate::{DARK, FLAT, PMAP, content, reference, server_flag};

/// A directory for a tier.
fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("crds-fs-tier-")
        .tempdir()
        .unwrap()
}

/// A mount of this server with a tier.
fn mounted(origin: &Origin, tier: &Path) -> Rig {
    let tier = tier.display().to_string();
    Rig::mounted(&[&server_flag(origin)], &["--tier", &tier])
}

/// The tier as the status describes it.
fn tier(rig: &Rig) -> Value {
    rig.json(".crds-fs/status.json").unwrap()["tier"].clone()
}

fn number(rig: &Rig, field: &str) -> u64 {
    tier(rig)[field].as_u64().unwrap()
}

/// Waits until nothing waits to be written.
fn settle(rig: &Rig) -> Value {
    eventually("all is written", || {
        let told = tier(rig);
        if told["queued_files"] == 0 {
            Ok(told)
        } else {
            Err(told)
        }
    })
}

/// The files below a directory, by their paths.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

fn read_all(rig: &Rig, origin: &Origin) {
    for name in [DARK, FLAT] {
        assert!(rig.read(reference(name)).unwrap() == origin.contents(name));
    }
    assert!(rig.read(format!("mappings/roman/{PMAP}")).unwrap() == origin.contents(PMAP));
}

#[test]
fn a_second_mount_costs_the_origin_nothing() {
    let (origin, tier_dir) = (Origin::start(content()), directory());
    let mut rig = mounted(&origin, tier_dir.path());
    read_all(&rig, &origin);
    assert_eq!(origin.all_asked(), 3);
    // The end waits for what is not written yet.
    rig.umount();
    let expected: Vec<_> = [format!("mappings/roman/{PMAP}"), reference(DARK), reference(FLAT)]
        .map(|path| tier_dir.path().join(path))
        .to_vec();
    assert_eq!(files(tier_dir.path()), expected, "{}", rig.log());
    for name in [DARK, FLAT] {
        assert!(fs::read(tier_dir.path().join(reference(name))).unwrap() == origin.contents(name));
    }

    let mut rig = mounted(&origin, tier_dir.path());
    read_all(&rig, &origin);
    assert_eq!(origin.all_asked(), 3, "{}", rig.log());
    let told = settle(&rig);
    assert_eq!(
        (&told["served_files"], &told["written_files"]),
        (&3.into(), &0.into()),
        "{told}"
    );
    assert_eq!(told["state"], "ready");
    let source = rig
        .json(format!(".crds-fs/files/references/roman/{DARK}"))
        .unwrap();
    let url = source["source"].as_str().unwrap();
    assert_eq!(
        url,
        format!("file://{}/{}", tier_dir.path().display(), reference(DARK))
    );
    rig.umount();
}

#[test]
fn a_tier_that_lies_is_found_out_and_left_as_it_is() {
    let (origin, tier_dir) = (Origin::start(content()), directory());
    let mut rig = mounted(&origin, tier_dir.path());
    read_all(&rig, &origin);
    rig.umount();
    let wrong = tier_dir.path().join(reference(DARK));
    let mut bytes = fs::read(&wrong).unwrap();
    bytes[100] ^= 1;
    fs::write(&wrong, &bytes).unwrap();

    let mut rig = mounted(&origin, tier_dir.path());
    assert!(rig.read(reference(DARK)).unwrap() == origin.contents(DARK));
    // It is left alone for a while.
    assert!(rig.read(reference(FLAT)).unwrap() == origin.contents(FLAT));
    assert_eq!((origin.asked(DARK).len(), origin.asked(FLAT).len()), (2, 2));
    let told = settle(&rig);
    assert_eq!(
        (&told["wrong_files"], &told["written_files"]),
        (&1.into(), &0.into()),
        "{told}"
    );
    let status = rig.json(".crds-fs/status.json").unwrap();
    let source = &status["observatories"][0]["sources"][0];
    assert_eq!(
        (&source["tier"], &source["state"]),
        (&true.into(), &"wrong".into()),
        "{source}"
    );
    assert!(source["error"].as_str().unwrap().contains(DARK), "{source}");
    assert!(
        rig.log().contains(&format!("remove file://{}", wrong.display())),
        "{}",
        rig.log()
    );
    rig.umount();
    assert!(fs::read(&wrong).unwrap() == bytes, "it is not replaced");
}

#[test]
fn a_tier_that_is_not_there_is_no_trouble() {
    let (origin, root) = (Origin::start(content()), directory());
    let absent = root.path().join("not mounted");
    let mut rig = mounted(&origin, &absent);
    read_all(&rig, &origin);
    eventually("the tier is missed", || tier(&rig)["state"] != "ready");
    let told = tier(&rig);
    assert_eq!(told["state"], "failing", "{told}");
    assert!(told["error"].as_str().unwrap().contains("is not there"), "{told}");
    rig.umount();
    assert!(!absent.exists(), "a directory that is not mounted is not made");
    assert!(rig.log().contains("3 files with"), "{}", rig.log());
    assert_eq!(
        rig.log().matches("the tier cannot be written to").count(),
        1,
        "{}",
        rig.log()
    );
}

#[test]
fn a_tier_that_cannot_be_written_is_read() {
    if !inside("tier::a_tier_that_cannot_be_written_is_read") {
        return;
    }
    let (origin, tier_dir) = (Origin::start(content()), directory());
    let mut rig = mounted(&origin, tier_dir.path());
    assert!(rig.read(reference(DARK)).is_ok());
    rig.umount();
    let unwritable = Unwritable::by_mount(tier_dir.path());
    refuses(&origin, tier_dir.path());
    drop(unwritable);
}

#[test]
fn a_full_tier_takes_what_it_can() {
    if !inside("tier::a_full_tier_takes_what_it_can") {
        return;
    }
    let (origin, tier_dir) = (Origin::start(content()), directory());
    let small = shrink(tier_dir.path(), 1 << 20);
    fill(tier_dir.path());
    let mut rig = mounted(&origin, tier_dir.path());
    read_all(&rig, &origin);
    eventually("the tier is full", || equal(tier(&rig)["state"].clone(), "full"));
    rig.umount();
    let names: Vec<_> = files(tier_dir.path())
        .into_iter()
        .filter_map(|path| path.file_name().map(ToOwned::to_owned))
        .collect();
    assert_eq!(names, ["filler"], "nothing is left of what did not fit");
    assert_eq!(rig.log().matches("the tier is full").count(), 1, "{}", rig.log());
    drop(small);
}

fn refuses(origin: &Origin, tier_dir: &Path) {
    let mut rig = mounted(origin, tier_dir);
    assert!(rig.read(reference(DARK)).is_ok());
    assert!(rig.read(reference(FLAT)).is_ok());
    let told = settle(&rig);
    assert_eq!(
        (&told["state"], &told["served_files"]),
        (&"read-only".into(), &1.into()),
        "{told}"
    );
    assert!(rig.read(format!("mappings/roman/{PMAP}")).is_ok());
    eventually("the second one is given up", || {
        equal(number(&rig, "unwritten_files"), 2)
    });
    rig.umount();
    let told = rig
        .log()
        .matches("the tier cannot be written to, and is only read from")
        .count();
    assert_eq!(told, 1, "{}", rig.log());
}

#[test]
fn a_tier_that_makes_no_sense_is_refused_with_the_remedy() {
    let directory = directory();
    let cache = directory.path().display().to_string();
    for (tier, status, told) in [
        (
            "https://mirror/crds",
            2,
            "--tier: 'https://mirror/crds' cannot be written to",
        ),
        ("s3://bucket/{name}", 2, "--tier: 's3://bucket/{name}' is no root"),
        (cache.as_str(), 1, "which is mounted over: name another directory"),
    ] {
        let output = program()
            .args(["mount", "--tier", tier])
            .arg(directory.path())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert!(error.contains(told), "{error}");
    }
    let (origin, mountpoint) = (Origin::start(content()), tempfile::tempdir().unwrap());
    let output = program()
        .args([
            "mount",
            "--tier",
            &cache,
            "--cache",
            &cache,
            "--server",
            &server_flag(&origin),
        ])
        .arg(mountpoint.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("is the cache itself"), "{error}");
}

#[test]
fn a_missing_file_of_the_tier_is_no_fault_of_the_mount() {
    let (origin, tier_dir) = (Origin::start(content()), directory());
    let mut rig = mounted(&origin, tier_dir.path());
    origin.set(DARK, Behaviour::Status(404));
    assert_eq!(rig.read(reference(DARK)), Err(libc::ENODATA));
    let told = rig
        .json(format!(".crds-fs/files/references/roman/{DARK}"))
        .unwrap();
    let url = told["error"]["url"].as_str().unwrap();
    assert!(url.starts_with(&origin.url()), "{told}");
    origin.refuse();
    assert_eq!(rig.read(reference(FLAT)), Err(libc::EHOSTUNREACH));
    rig.umount();
}

/// A mount as the tier of another: it hangs as a network file system does.
#[test]
fn a_tier_that_hangs_keeps_nobody_from_what_the_server_has() {
    let origin = Origin::start(content());
    let mut below = Rig::mounted(&[&server_flag(&origin)], &[]);
    assert!(below.read(reference(DARK)).is_ok());
    let mut rig = mounted(&origin, &below.mountpoint());
    assert!(rig.read(reference(DARK)).unwrap() == origin.contents(DARK));
    assert_eq!((origin.asked(DARK).len(), number(&rig, "served_files")), (1, 1));
    // From here on nothing that it is asked for comes back.
    below.signal(rustix::process::Signal::STOP);
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        assert!(rig.read(reference(FLAT)).unwrap() == origin.contents(FLAT));
        assert!(rig.read(format!("mappings/roman/{PMAP}")).unwrap() == origin.contents(PMAP));
        let status = rig.json(".crds-fs/status.json").unwrap();
        let source = &status["observatories"][0]["sources"][0];
        assert_eq!(source["state"], "failing", "{source}");
        assert!(
            source["error"].as_str().unwrap().contains("no byte has come"),
            "{source}"
        );
    }));
    below.signal(rustix::process::Signal::CONT);
    read.unwrap();
    rig.umount();
    below.umount();
}

#[test]
fn a_kill_in_the_middle_leaves_no_wrong_name() {
    const SIZE: usize = 48 << 20;
    let origin = Origin::start(
        crate::origin::Content {
            observatory: "roman",
            context: PMAP.to_owned(),
            ..crate::origin::Content::default()
        }
        .file(PMAP, 2_000)
        .file(DARK, SIZE),
    );
    let tier_dir = directory();
    let there = tier_dir.path().join("references/roman");
    let mut killed = 0;
    for part in [0, 1, 2, 3] {
        let mut rig = mounted(&origin, tier_dir.path());
        assert!(rig.read(reference(DARK)).is_ok());
        let under_way = || {
            let lengths = fs::read_dir(&there).into_iter().flatten().flatten();
            lengths
                .filter_map(|entry| entry.metadata().ok())
                .map(|data| data.len())
                .max()
        };
        // In the middle of the copy, which other rounds may have left a part of; or after it, if it was too quick.
        eventually("a part is copied", || {
            under_way().is_some_and(|most| most >= (SIZE / 4 * part) as u64) || there.join(DARK).exists()
        });
        rig.kill_shared();
        rig.reap();
        if let Ok(found) = fs::read(there.join(DARK)) {
            assert!(found == origin.contents(DARK));
            fs::remove_file(there.join(DARK)).unwrap();
        } else {
            killed += 1;
        }
        for left in files(&there) {
            fs::remove_file(left).unwrap();
        }
    }
    assert!(killed > 0, "it was too quick to be killed");
    let mut rig = mounted(&origin, tier_dir.path());
    assert!(rig.read(reference(DARK)).is_ok());
    rig.umount();
    assert_eq!(files(&there), [there.join(DARK)]);
    assert!(fs::read(there.join(DARK)).unwrap() == origin.contents(DARK));
}

#[test]
fn commands_on_a_cache_directory_know_it() {
    let (origin, tier_dir) = (Origin::start(content()), directory());
    let run = |arguments: &[&str]| {
        let cache = tempfile::tempdir().unwrap();
        let output = program()
            .args(arguments)
            .args(["--server", &server_flag(&origin), "--cache"])
            .arg(cache.path())
            .env("CRDS_OBSERVATORY", "roman")
            .env("CRDS_FS_TIER", tier_dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        (cache, String::from_utf8(output.stderr).unwrap())
    };
    let (_, told) = run(&["fetch", DARK, FLAT]);
    assert!(!told.contains("not written"), "{told}");
    assert_eq!(files(&tier_dir.path().join("references")).len(), 2, "{told}");
    let asked = origin.all_asked();
    let (cache, _) = run(&["fetch", DARK, FLAT]);
    assert_eq!(origin.all_asked(), asked);
    // A wrong copy is fetched anew, from the tier.
    let copy = cache.path().join(reference(DARK));
    fs::write(&copy, b"wrong").unwrap();
    let output = program()
        .args(["verify", "--repair", "--tier"])
        .arg(tier_dir.path())
        .args(["--server", &server_flag(&origin), "--cache"])
        .arg(cache.path())
        .env("CRDS_OBSERVATORY", "roman")
        .output()
        .unwrap();
    assert!(fs::read(&copy).unwrap() == origin.contents(DARK), "{output:?}");
    assert_eq!(origin.all_asked(), asked);
    // A mount has its own.
    let mut rig = mounted(&origin, tier_dir.path());
    let output = program()
        .args(["fetch", DARK, "--tier", "/tmp", "--mount"])
        .arg(rig.mountpoint())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("--tier is an option of mounting"), "{told}");
    rig.umount();
}

#[test]
fn the_status_tells_of_it() {
    let (origin, tier_dir) = (Origin::start(content()), directory());
    let mut rig = mounted(&origin, tier_dir.path());
    read_all(&rig, &origin);
    let told = settle(&rig);
    assert_eq!(
        (&told["written_files"], &told["state"]),
        (&3.into(), &"ready".into()),
        "{told}"
    );
    let output = program().arg("status").arg(rig.mountpoint()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let url = format!("file://{}", tier_dir.path().display());
    assert!(
        text.contains(&format!("{url}: gave 0 files with 0 B, was given 3 files")),
        "{text}"
    );
    assert!(
        text.contains(&format!("from {url} (the tier): answers")),
        "{text}"
    );
    let metrics = String::from_utf8(rig.read(".crds-fs/metrics").unwrap()).unwrap();
    assert!(
        metrics.contains("crds_fs_tier_written_files_total 3\n"),
        "{metrics}"
    );
    assert!(metrics.contains("crds_fs_tier_writable 1\n"), "{metrics}");
    rig.umount();
}
