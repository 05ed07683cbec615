//! `crds-fs hold`, `release`, `verify` and `evict`, through a mount and on a plain cache.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, program};
use crate::{DARK, FLAT, PMAP, content, server_flag};

const NEW: &str = "roman_wfi_new_0001.asdf";
const OTHER: &str = "roman_0002.pmap";
const IMAP: &str = "roman_wfi_0001.imap";
const RMAP: &str = "roman_wfi_dark_0001.rmap";

/// The mount of a rig, or its store when nothing is mounted.
struct Place<'a> {
    rig: &'a Rig,
    origin: &'a Origin,
    mounted: bool,
}

impl Place<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let (command, rest) = arguments.split_first().unwrap();
        let mut program = program();
        program.arg(command);
        if self.mounted {
            program.arg("--mount").arg(self.rig.mountpoint());
        } else {
            program.arg("--cache").arg(self.rig.store());
        }
        program
            .args(rest)
            .env("CRDS_FS_SERVER", server_flag(self.origin))
            .env("CRDS_FS_OBSERVATORY", "roman")
            .env("CRDS_IGNORE_MAPPING_CHECKSUM", "1")
            .current_dir("/");
        program.output().unwrap()
    }

    /// The output of a command that succeeds.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// State and error of each file that a command tells in JSON.
    fn states(&self, arguments: &[&str]) -> Vec<(String, String, Option<String>)> {
        let told = self.json(arguments);
        let line = |file: &Value| {
            let of = |field: &str| file[field].as_str().map(str::to_owned);
            (of("name").unwrap(), of("state").unwrap(), of("error"))
        };
        told["files"].as_array().unwrap().iter().map(line).collect()
    }

    /// Runs what is asked of a cache directory without a mount, and of a mount.
    fn each(content: impl Fn() -> Content, arguments: &[&str], test: impl Fn(&Place<'_>)) {
        for mounted in [false, true] {
            let origin = Origin::start(content());
            let mut rig = Rig::new(&[&server_flag(&origin)], arguments);
            if mounted {
                rig.mount();
            }
            test(&Place {
                rig: &rig,
                origin: &origin,
                mounted,
            });
        }
    }

    /// Brings files here.
    fn fetch(&self, names: &[&str]) {
        let fetched = self.run(&[&["fetch"], names].concat());
        assert!(fetched.status.success(), "{fetched:?}");
    }

    fn is_here(&self, name: &str) -> bool {
        if self.mounted {
            self.rig.settle();
        }
        self.rig.store().join(path(name)).exists()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn path(name: &str) -> PathBuf {
    let area = if name.ends_with("map") {
        "mappings"
    } else {
        "references"
    };
    Path::new(area).join("roman").join(name)
}

fn names(states: &[(String, String, Option<String>)], state: &str) -> Vec<String> {
    let in_state = states.iter().filter(|(_, known, _)| known == state);
    in_state.map(|(name, ..)| name.clone()).collect()
}

/// Rules in two contexts, which share all but the context itself.
fn rules() -> Content {
    let head = |kind: &str, parkey: &str, more: &str| {
        format!(
            "header = {{'mapping': '{kind}', 'parkey': {parkey}, 'name': 'x', 'derived_from': 'y', 'observatory': \
             'ROMAN'{more}}}\n"
        )
    };
    let pmap = head("PIPELINE", "('ROMAN.META.INSTRUMENT.NAME',)", "")
        + &format!("selector = {{'WFI': '{IMAP}'}}\n");
    let imap = head("INSTRUMENT", "('REFTYPE',)", ", 'instrument': 'WFI'")
        + &format!("selector = {{'DARK': '{RMAP}'}}\n");
    let parkey = "(('ROMAN.META.INSTRUMENT.DETECTOR',),)";
    let rmap = head("REFERENCE", parkey, ", 'instrument': 'WFI', 'filekind': 'DARK'")
        + &format!("selector = Match({{('WFI01',): '{DARK}'}})\n");
    let texts = [(PMAP, &pmap), (OTHER, &pmap), (IMAP, &imap), (RMAP, &rmap)];
    texts.into_iter().fold(content(), |content, (name, text)| {
        content.share(name, &text.as_bytes().to_vec().into())
    })
}

#[test]
fn what_is_held_is_listed_with_its_state_and_released() {
    Place::each(content, &[], |place| {
        place.fetch(&[DARK]);
        let told = place.told(&["hold", DARK, "roman_wfi_fl*"]);
        assert!(
            told.contains("2 files more are held, 2 in all; 1 of them (19.5 KiB) is not here"),
            "{told}"
        );
        assert!(told.contains("not complete for offline work"), "{told}");
        let states = place.states(&["hold", "--list"]);
        assert_eq!(names(&states, "cached"), [DARK]);
        assert_eq!(names(&states, "missing"), [FLAT]);
        place.fetch(&[FLAT]);
        let told = place.told(&["hold", "--list"]);
        assert!(
            told.contains("2 in all, and here: complete for offline work"),
            "{told}"
        );
        let told = place.told(&["release", FLAT]);
        assert_eq!(told, "1 file is released, 1 is held\n");
        let unknown = place.run(&["release", FLAT]);
        assert_eq!(unknown.status.code(), Some(1));
        assert!(
            text(&unknown.stderr).contains("nothing that is held is"),
            "{unknown:?}"
        );
        place.told(&["release", "--all"]);
        assert_eq!(place.states(&["hold", "--list"]), []);
    });
}

#[test]
fn what_cannot_be_held_is_refused_in_words() {
    Place::each(content, &[], |place| {
        let unknown = place.run(&["hold", "roman_wfi_drak_0001.asdf"]);
        assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
        assert!(text(&unknown.stderr).contains("is in no catalog"), "{unknown:?}");
        let nothing = place.run(&["hold"]);
        assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
        assert!(
            text(&nothing.stderr).contains("what is to be held?"),
            "{nothing:?}"
        );
        assert_eq!(place.states(&["hold", "--list"]), []);
    });
}

#[test]
fn a_context_stands_for_its_rules_and_on_request_their_references() {
    Place::each(rules, &[], |place| {
        place.told(&["hold", PMAP]);
        let held = |place: &Place<'_>| -> Vec<String> {
            let states = place.states(&["hold", "--list"]);
            states.into_iter().map(|(name, ..)| name).collect()
        };
        assert_eq!(held(place), [PMAP, IMAP, RMAP]);
        place.told(&["hold", "roman-latest", "--references"]);
        assert_eq!(held(place), [PMAP, IMAP, DARK, RMAP]);
        let lock = tempfile::NamedTempFile::new().unwrap();
        let files = format!(r#"[{{"observatory": "roman", "name": "{FLAT}", "size": 20000, "sha1": null}}]"#);
        write!(&lock, r#"{{"version": 1, "contexts": {{}}, "files": {files}}}"#).unwrap();
        place.told(&["hold", "--lock", lock.path().to_str().unwrap()]);
        assert_eq!(held(place).len(), 5);
        place.told(&["release", PMAP]);
        assert_eq!(held(place), [DARK, FLAT]);
    });
}

/// The quota asks for room that is only in a file that is held: that one stays, also after a restart.
#[test]
fn what_is_held_survives_eviction_and_restarts() {
    let origin = Origin::start(content().file(NEW, 300_000));
    let mut rig = Rig::mounted(
        &[&server_flag(&origin)],
        &["--cache-size", "500000", "--keep-free", "0"],
    );
    rig.read(path(DARK)).unwrap();
    rig.settle();
    let hold = rig.path(".crds-fs/hold");
    fs::write(&hold, format!("hold roman/{DARK}\n")).unwrap();
    for _ in 0..2 {
        assert_eq!(rig.read(path(NEW)), Err(libc::ENOSPC), "{}", rig.log());
        assert!(rig.store().join(path(DARK)).exists());
        rig.umount();
        rig.mount();
    }
    assert!(
        rig.log().contains("300000 bytes are held: 'crds-fs release'"),
        "{}",
        rig.log()
    );
    assert_eq!(fs::read_to_string(&hold).unwrap(), format!("hold roman/{DARK}\n"));
    fs::write(&hold, format!("release roman/{DARK}\n")).unwrap();
    let begun = std::time::Instant::now();
    while rig.read(path(NEW)).is_err() {
        assert!(begun.elapsed() < crate::rig::PATIENCE, "{}", rig.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    rig.settle();
    assert!(!rig.store().join(path(DARK)).exists());
}

#[test]
fn the_file_that_takes_holds_has_defined_errors() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let hold = rig.path(".crds-fs/hold");
    let errno = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error());
    assert_eq!(fs::metadata(&hold).unwrap().len(), 0);
    let written = fs::write(&hold, format!("hold roman/{FLAT}\nnonsense\n"));
    assert_eq!(errno(written), Some(libc::EINVAL));
    assert_eq!(
        fs::read_to_string(&hold).unwrap(),
        "",
        "all lines of a write or none"
    );
    // What is written are changes, wherever; emptying the file changes nothing.
    fs::write(&hold, format!("hold roman/{FLAT}\n")).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&hold).unwrap();
    write!(file, "hold roman/{DARK}\nrelease ").unwrap();
    let both = format!("hold roman/{DARK}\nhold roman/{FLAT}\n");
    assert_eq!(fs::read_to_string(&hold).unwrap(), both);
    write!(file, "roman/{FLAT}").unwrap();
    drop(file);
    let one = format!("hold roman/{DARK}\n");
    assert_eq!(
        fs::read_to_string(&hold).unwrap(),
        one,
        "a last line counts at close"
    );
    assert_eq!(
        fs::metadata(&hold).unwrap().len(),
        u64::try_from(one.len()).unwrap()
    );
    assert_eq!(errno(fs::remove_file(&hold)), Some(libc::EROFS));
    let file = fs::OpenOptions::new().write(true).open(&hold).unwrap();
    assert_eq!(errno(file.set_len(0)), None);
    assert_eq!(errno(file.set_len(5)), Some(libc::EINVAL));
    assert_eq!(fs::read_to_string(&hold).unwrap(), one);
    drop(file);
    rig.umount();
    assert_eq!(
        fs::read_to_string(rig.store().join(".crds-fs/hold")).unwrap(),
        one
    );
    rig.add_argument("--read-only");
    rig.mount();
    assert_eq!(errno(fs::write(&hold, "")), Some(libc::EROFS));
    assert_eq!(fs::read_to_string(&hold).unwrap(), one);
}

#[test]
fn a_cache_that_a_mount_uses_is_reached_through_the_mount() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = Place {
        rig: &rig,
        origin: &origin,
        mounted: false,
    };
    place.told(&["hold", DARK]);
    let held = fs::read_to_string(rig.path(".crds-fs/hold")).unwrap();
    assert_eq!(held, format!("hold roman/{DARK}\n"));
}

#[test]
fn verify_tells_what_is_wrong_and_repairs_it() {
    Place::each(content, &[], |place| {
        place.fetch(&[PMAP, DARK, FLAT]);
        place.told(&["hold", "*"]);
        let told = place.told(&["verify"]);
        assert!(told.starts_with("3 files, 314.5 KiB: 3 cached"), "{told}");
        if place.mounted {
            return;
        }
        let file = |name: &str| place.rig.store().join(path(name));
        fs::write(file(DARK), vec![7; 300_000]).unwrap();
        fs::write(file(FLAT), "short").unwrap();
        fs::remove_file(file(PMAP)).unwrap();
        let verified = place.run(&["verify"]);
        assert_eq!(verified.status.code(), Some(1), "{verified:?}");
        let told = text(&verified.stdout);
        for expected in [
            "it is held and not here",
            "it has 5 bytes instead of 20000",
            "its SHA-1 is",
            "3 files, 314.5 KiB: 1 missing (2.0 KiB), 1 truncated (19.5 KiB), 1 wrong (293.0 KiB)",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        assert!(text(&verified.stderr).contains("--repair"), "{verified:?}");
        assert_eq!(fs::read(file(FLAT)).unwrap(), b"short", "nothing is moved");
        let told = place.told(&["verify", "--repair"]);
        assert!(told.contains("3 files, 314.5 KiB: 3 repaired"), "{told}");
        assert!(told.contains("quarantine: 2 files"), "{told}");
        for name in [PMAP, DARK, FLAT] {
            assert!(
                fs::read(file(name)).unwrap() == place.origin.contents(name),
                "{name}"
            );
        }
        let states = place.states(&["verify"]);
        assert_eq!(names(&states, "cached").len(), 3);
        assert_eq!(place.json(&["verify"])["totals"]["quarantined"]["files"], 2);
    });
}

/// What is wrong and cannot be had is told with the reason, and is not lost.
#[test]
fn what_cannot_be_repaired_is_told() {
    let origin = Origin::start(content());
    let rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = Place {
        rig: &rig,
        origin: &origin,
        mounted: false,
    };
    place.fetch(&[FLAT]);
    fs::write(rig.store().join(path(FLAT)), "short").unwrap();
    origin.set(FLAT, Behaviour::Status(403));
    let repaired = place.run(&["verify", "--repair", "roman_wfi_*"]);
    assert_eq!(repaired.status.code(), Some(1), "{repaired:?}");
    let told = text(&repaired.stdout);
    assert!(
        told.contains("it cannot be repaired: ") && told.contains("403"),
        "{told}"
    );
    let quarantine = fs::read_dir(rig.store().join(".crds-fs/quarantine")).unwrap();
    assert_eq!(quarantine.count(), 1);
}

#[test]
fn what_is_held_and_missing_is_fetched_by_a_repair() {
    Place::each(content, &[], |place| {
        place.told(&["hold", FLAT]);
        let verified = place.run(&["verify"]);
        assert_eq!(verified.status.code(), Some(1), "{verified:?}");
        assert!(
            text(&verified.stdout).contains("it is held and not here"),
            "{verified:?}"
        );
        let told = place.told(&["verify", "--repair"]);
        assert!(told.contains("1 file, 19.5 KiB: 1 repaired"), "{told}");
        assert!(place.is_here(FLAT));
    });
}

/// Without a catalog nothing of an observatory is seen, whatever is here.
#[test]
fn what_is_held_without_a_catalog_is_not_complete() {
    let origin = Origin::start(content());
    let rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = Place {
        rig: &rig,
        origin: &origin,
        mounted: false,
    };
    origin.refuse();
    let own = rig.store().join(".crds-fs");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("hold"), format!("hold roman/{FLAT}\n")).unwrap();
    fs::create_dir_all(rig.store().join("references/roman")).unwrap();
    fs::write(rig.store().join(path(FLAT)), origin.contents(FLAT)).unwrap();
    let told = place.told(&["hold", "--list"]);
    assert!(
        told.contains("and here, but not complete for offline work: the catalog of roman: "),
        "{told}"
    );
    let verified = place.run(&["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(
        text(&verified.stderr).contains("the server cannot be reached"),
        "{verified:?}"
    );
}

/// What nobody has hashed yet may be somebody's work: a mount looks before the copy goes.
#[test]
fn a_file_that_was_never_hashed_is_not_lost_by_an_eviction() {
    for mounted in [false, true] {
        let origin = Origin::start(content());
        let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
        fs::create_dir_all(rig.store().join("references/roman")).unwrap();
        fs::write(rig.store().join(path(FLAT)), origin.contents(FLAT)).unwrap();
        fs::write(rig.store().join(path(DARK)), "somebody's work").unwrap();
        if mounted {
            rig.mount();
        }
        let place = Place {
            rig: &rig,
            origin: &origin,
            mounted,
        };
        let evicted = place.run(&["evict", "*"]);
        assert_eq!(evicted.status.success(), mounted, "{evicted:?}");
        assert!(!place.is_here(FLAT));
        let work = if mounted {
            let quarantine = fs::read_dir(rig.store().join(".crds-fs/quarantine")).unwrap();
            quarantine.map(|entry| entry.unwrap().path()).next().unwrap()
        } else {
            assert!(text(&evicted.stdout).contains("may be somebody's"), "{evicted:?}");
            rig.store().join(path(DARK))
        };
        assert_eq!(fs::read_to_string(work).unwrap(), "somebody's work");
    }
}

/// Files of the user's in place of catalogued ones are no mistake.
#[test]
fn verify_tells_of_local_overrides() {
    Place::each(content, &[], |place| {
        place.fetch(&[FLAT]);
        if !place.mounted {
            return;
        }
        let own = place.rig.path("references/roman/own");
        fs::write(&own, "mine").unwrap();
        fs::rename(&own, place.rig.path(path(FLAT))).unwrap();
        let states = place.states(&["verify"]);
        assert_eq!(names(&states, "local"), [FLAT]);
        let told = place.told(&["verify"]);
        assert!(told.contains("1 local (4 B)"), "{told}");
        place.told(&["evict", FLAT]);
        assert_eq!(place.rig.read(path(FLAT)).unwrap(), b"mine");
    });
}

/// A mount finds by itself what was changed behind its back; verify says so.
#[test]
fn what_a_mount_finds_wrong_on_opening_is_told() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = Place {
        rig: &rig,
        origin: &origin,
        mounted: true,
    };
    place.fetch(&[DARK, FLAT]);
    rig.settle();
    fs::write(rig.store().join(path(FLAT)), vec![7; 20_000]).unwrap();
    let verified = place.run(&["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(
        text(&verified.stderr).contains("1 file was found to be wrong on opening"),
        "{verified:?}"
    );
    assert!(
        text(&verified.stdout).contains("quarantine: 1 file with"),
        "{verified:?}"
    );
    place.told(&["verify"]);
    assert!(rig.read(path(FLAT)).unwrap() == origin.contents(FLAT));
}

#[test]
fn what_killed_processes_leave_is_told_and_removed() {
    let origin = Origin::start(content());
    let rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = Place {
        rig: &rig,
        origin: &origin,
        mounted: false,
    };
    place.fetch(&[FLAT]);
    let left = rig.store().join(".crds-fs/.crds-fs~1~2~order");
    let file = fs::File::create(&left).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    file.set_modified(old).unwrap();
    let told = place.told(&["verify"]);
    assert!(told.contains(".crds-fs/.crds-fs~1~2~order"), "{told}");
    assert!(left.exists());
    let told = place.told(&["verify", "--repair"]);
    assert!(
        told.contains("removed 1 file that killed processes have left"),
        "{told}"
    );
    assert!(!left.exists());
}

#[test]
fn evict_drops_copies_but_none_that_are_held_or_open() {
    Place::each(content, &[], |place| {
        place.fetch(&[PMAP, DARK, FLAT]);
        place.told(&["hold", "mappings/roman/roman_0001.pmap"]);
        let told = place.told(&["evict", "--dry-run", "*"]);
        assert!(
            told.contains("2 evictable (312.5 KiB), 1 held (2.0 KiB)"),
            "{told}"
        );
        assert!(place.is_here(FLAT) && place.is_here(DARK));
        let open = place
            .mounted
            .then(|| fs::File::open(place.rig.path(path(DARK))).unwrap());
        let told = place.told(&["evict", "*"]);
        assert!(told.contains("held") && told.contains(PMAP), "{told}");
        assert!(place.is_here(PMAP) && !place.is_here(FLAT));
        assert_eq!(place.is_here(DARK), place.mounted, "{told}");
        drop(open);
        let unknown = place.run(&["evict", "nothing.asdf"]);
        assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
        assert!(text(&unknown.stderr).contains("is in no catalog"), "{unknown:?}");
        let all = place.run(&["evict"]);
        assert_eq!(all.status.code(), Some(2), "{all:?}");
    });
}

#[test]
fn evict_goes_by_size_and_by_the_last_use() {
    Place::each(content, &[], |place| {
        for name in [DARK, PMAP, FLAT] {
            place.fetch(&[name]);
        }
        let told = place.json(&["evict", "--unused-for", "1h"]);
        assert_eq!(told["totals"]["files"], 0, "{told}");
        let states = place.states(&["evict", "--to", "25000"]);
        assert_eq!(names(&states, "evicted"), [DARK]);
        assert!(place.is_here(FLAT) && place.is_here(PMAP));
        place.told(&["hold", FLAT]);
        let short = place.run(&["evict", "--to", "1000"]);
        assert_eq!(short.status.code(), Some(1), "{short:?}");
        assert!(
            text(&short.stderr).contains("19.5 KiB are left, more than 1000 B"),
            "{short:?}"
        );
        assert!(place.is_here(FLAT) && !place.is_here(PMAP));
    });
}

#[test]
fn evict_drops_the_files_of_a_context() {
    Place::each(rules, &[], |place| {
        place.fetch(&[PMAP, IMAP, RMAP, DARK, FLAT]);
        let states = place.states(&["evict", "--context", PMAP]);
        let mut evicted = names(&states, "evicted");
        evicted.sort();
        assert_eq!(evicted, [PMAP, IMAP, DARK, RMAP]);
        assert!(place.is_here(FLAT) && !place.is_here(DARK));
    });
}

/// Without a mount the command has the store for itself, or says who has it.
#[test]
fn a_store_in_use_by_another_process_is_told_with_its_number() {
    let origin = Origin::start(content());
    let rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = Place {
        rig: &rig,
        origin: &origin,
        mounted: false,
    };
    place.fetch(&[FLAT]);
    let lock = rig.store().join(".crds-fs/lock");
    let file = fs::OpenOptions::new().write(true).open(&lock).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for command in [&["hold", FLAT][..], &["verify"], &["evict", FLAT]] {
        let refused = place.run(command);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let told = text(&refused.stderr);
        assert!(told.contains("the store is in use by process "), "{told}");
    }
}
