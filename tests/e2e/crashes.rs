//! kill -9 at any moment of a storm of downloads: what is under its final name is right, and the rest goes on.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fetch::received;
use crate::origin::{Behaviour, Blob, Origin};
use crate::rig::{Rig, at_least, eventually};
use crate::{content, server_flag};

const ROUNDS: u64 = 20;
/// So many kills instead of thirty among overrides and evictions.
const KILLS: &str = "CRDS_FS_TEST_KILLS";
const FILES: usize = 60;
/// Every fifth of them, so many in all, the user puts files over.
const MINE: usize = 12;
const LARGE: &str = "roman_wfi_large_0001.asdf";

fn name(number: usize) -> String {
    format!("roman_wfi_mask_{number:04}.asdf")
}

#[test]
fn kills_among_downloads_leave_nothing_wrong() {
    let content = (0..FILES).fold(content(), |content, number| {
        content.file(&name(number), 40_000 + 1_000 * number)
    });
    let origin = Origin::start(content.file(LARGE, 20_000_000));
    // Slow enough that every round is in the middle of it.
    origin.set(
        LARGE,
        Behaviour::Drip {
            bytes: 50_000,
            every: Duration::from_millis(5),
        },
    );
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    // With the catalog at hand every round begins to download at once.
    rig.umount();
    let mut moments = fastrand::Rng::with_seed(1);
    for round in 0..ROUNDS {
        rig.mount();
        std::thread::scope(|scope| {
            for reader in 0..8 {
                let rig = &rig;
                scope.spawn(move || {
                    let files = (0..FILES).map(|number| name((number * 7 + reader * 11) % FILES));
                    for file in std::iter::once(LARGE.to_owned())
                        .filter(|_| reader == 0)
                        .chain(files)
                    {
                        // The mount dies below it; until then what is read is checked at the end.
                        let _ = rig.read(format!("references/roman/{file}"));
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(moments.u64(0..120)));
            rig.kill_shared();
        });
        rig.reap();
        check(&rig, &origin, round);
        if round % 10 == 9 {
            // The next rounds begin with little again.
            for number in 0..FILES {
                let _ = fs::remove_file(rig.store().join("references/roman").join(name(number)));
            }
        }
    }
    origin.mend();
    rig.mount();
    for file in (0..FILES).map(name).chain([LARGE.to_owned()]) {
        assert!(
            rig.read(format!("references/roman/{file}")).unwrap() == origin.contents(&file),
            "{file}"
        );
    }
}

/// Kills in the middle of downloads, evictions, overrides and new catalogs: each of the user's files is what the user last
/// put there, or put there before where the kill came in between, and stays local; all else is right.
#[test]
fn kills_among_overrides_and_evictions_lose_nothing() {
    let kills = std::env::var(KILLS).map_or(30, |kills| kills.parse().unwrap());
    let content = (0..FILES).fold(content(), |content, number| content.file(&name(number), 50_000));
    let mut storm = Storm {
        versions: content
            .files
            .iter()
            .map(|(name, blob)| (name.clone(), vec![blob.clone()]))
            .collect(),
        origin: Origin::start(content),
        mine: vec![(None, None); MINE],
    };
    // Room for about half of them.
    let limit = (FILES / 2 * 50_000 + 400_000).to_string();
    let arguments = [
        "--cache-size",
        &limit,
        "--keep-free",
        "0",
        "--catalog-ttl",
        "200ms",
    ];
    let mut rig = Rig::mounted(&[&server_flag(&storm.origin)], &arguments);
    let mut moments = fastrand::Rng::with_seed(2);
    for round in 0..kills {
        storm.rage(&rig, round, Duration::from_millis(moments.u64(5..150)));
        rig.reap();
        storm.check_store(&rig, round);
        rig.mount();
        storm.check_mine(&rig, round);
    }
    let overridden = storm.mine.iter().filter(|(last, _)| last.is_some()).count();
    assert!(overridden > MINE / 2, "only {overridden} were ever put there");
    println!("{kills} kills; {overridden} of {MINE} files overridden");
    for number in (0..FILES).filter(|number| number % 5 != 0) {
        let file = name(number);
        let right = storm.origin.contents(&file);
        // The newest catalog may not have come yet.
        eventually(&format!("{file} is as the server has it"), || {
            rig.read(format!("references/roman/{file}")).as_ref() == Ok(&right)
        });
    }
}

/// The readers, writers and new catalogs at work when a process is killed. Every fifth file may be the user's, and the one
/// after it changes on the server.
struct Storm {
    origin: Origin,
    /// Everything that the server ever had under a name.
    versions: BTreeMap<String, Vec<Blob>>,
    /// By file: what was put there last and what was being put there when the kill came.
    mine: Vec<(Option<String>, Option<String>)>,
}

impl Storm {
    fn rage(&mut self, rig: &Rig, round: usize, duration: Duration) {
        let file = name(round % MINE * 5 + 1);
        let newer = Blob::random(&format!("{file} {round}"), 40_000 + round);
        self.versions.entry(file.clone()).or_default().push(newer.clone());
        let written = Mutex::new(&mut self.mine);
        let is_written = AtomicBool::new(false);
        let origin = &self.origin;
        std::thread::scope(|scope| {
            for reader in 0..3 {
                scope.spawn(move || {
                    for number in (0..FILES).map(|number| (number * 7 + reader * 19 + round) % FILES) {
                        let _ = rig.read(format!("references/roman/{}", name(number)));
                    }
                });
            }
            let (written, is_written) = (&written, &is_written);
            scope.spawn(move || {
                for turn in 0..200 {
                    // Each round begins with another one: on a busy machine a round comes to few of them.
                    let number = (round + turn) % MINE;
                    let text = format!("mine {number} {round} {turn}");
                    let new = rig.path(format!("references/roman/.mine-{round}-{turn}"));
                    if fs::write(&new, &text).is_err() {
                        return;
                    }
                    written.lock().unwrap()[number].1 = Some(text.clone());
                    let to = rig.path("references/roman").join(name(number * 5));
                    if fs::rename(&new, to).is_err() {
                        return;
                    }
                    written.lock().unwrap()[number] = (Some(text), None);
                    is_written.store(true, Ordering::Relaxed);
                }
            });
            std::thread::sleep(duration / 2);
            origin.change(|content| {
                content.files.insert(file, newer);
            });
            std::thread::sleep(duration / 2);
            // Some kills come before the first file is put there, however busy the machine is others do not.
            if !round.is_multiple_of(4) {
                eventually("a file is put there", || is_written.load(Ordering::Relaxed));
            }
            rig.kill_shared();
        });
    }

    /// Under final names is what the server had or what the user wrote, and nothing of the user's is in quarantine.
    fn check_store(&self, rig: &Rig, round: usize) {
        for at in rig.stored() {
            let file = at.file_name().unwrap().to_str().unwrap();
            let found = fs::read(&at).unwrap();
            let known = self.versions.get(file).into_iter().flatten();
            let is_right = found.starts_with(b"mine ")
                || file.starts_with(".mine")
                || known.into_iter().any(|version| **version == *found);
            assert!(is_right, "{file} is wrong after round {round}");
        }
        let quarantine = fs::read_dir(rig.store().join(".crds-fs/quarantine"));
        for kept in quarantine.into_iter().flatten().flatten() {
            let found = fs::read(kept.path()).unwrap();
            assert!(!found.starts_with(b"mine "), "round {round}: {}", rig.log());
        }
    }

    /// The user's files are there, the last of them either as it was or as it was to be.
    fn check_mine(&mut self, rig: &Rig, round: usize) {
        for (number, (last, under_way)) in self.mine.iter_mut().enumerate() {
            let file = name(number * 5);
            let found = rig.read(format!("references/roman/{file}")).unwrap();
            if under_way.as_ref().is_some_and(|text| text.as_bytes() == found) {
                *last = under_way.take();
            }
            let expected = match last {
                Some(text) => text.clone().into_bytes(),
                None => self.origin.contents(&file),
            };
            assert!(
                found == expected,
                "{file} after round {round}: {}: {}",
                String::from_utf8_lossy(&found),
                rig.log()
            );
            *under_way = None;
        }
    }
}

/// A transfer that died with its process goes on from where it was.
#[test]
fn a_killed_transfer_is_resumed() {
    let origin = Origin::start(content().file(LARGE, 20_000_000));
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let path = format!("references/roman/{LARGE}");
    let record = rig.store().join(format!(".crds-fs/partial/roman/{LARGE}~record"));
    origin.set(LARGE, Behaviour::StallAfter(1_500_000));
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(rig.read(&path).is_err(), "the mount dies"));
        origin.wait_for_stalled(1);
        // The progress of a transfer is recorded every second.
        eventually("a part of it is noted", || at_least(received(&record), 1_000_000));
        rig.kill_shared();
    });
    rig.reap();
    origin.mend();
    let before = origin.asked(LARGE).len();
    rig.mount();
    assert!(rig.read(&path).unwrap() == origin.contents(LARGE));
    let asked = origin.asked(LARGE).split_off(before);
    // The first request of a transfer that begins anew has no validator.
    assert!(asked[0].if_range.is_some(), "from the beginning: {asked:?}");
}

/// Whatever is under its final name is complete and right.
fn check(rig: &Rig, origin: &Origin, round: u64) {
    for path in rig.stored() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            fs::read(&path).unwrap() == origin.contents(name),
            "{name} is wrong after round {round}"
        );
    }
}
