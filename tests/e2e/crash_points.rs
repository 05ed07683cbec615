//! kill -9 at each named step of the store, one after the other: nothing under a final name is wrong, nothing of the user's is
//! lost, and the next mount is well. That interrupted transfers go on is `crashes`' to test.

use std::fs;
use std::sync::Mutex;

use crate::origin::{Behaviour, Blob, Content, Origin};
use crate::rig::{Rig, at_least, eventually};
use crate::{content, reference, server_flag};

/// The names of all steps of the store at which a debug build can be killed (`store::disk::moments`, whose test reads this).
const CRASH_POINTS: [&str; 16] = [
    "reserved",
    "begun",
    "victims-chosen",
    "victim-aside",
    "victim-removed",
    "recorded",
    "hashed",
    "quarantined",
    "verified",
    "data-synced",
    "named",
    "remembered",
    "names-synced",
    "override-remembered",
    "override-named",
    "replacement-written",
];

/// Of the tests of one step, each of which is a mount of its own.
const WORKERS: usize = 3;
const LARGE: &str = "roman_wfi_large_0001.asdf";
const FOUND: &str = "roman_wfi_found_0001.asdf";
const DAMAGED: &str = "roman_wfi_found_0002.asdf";
const OVERRIDDEN: &str = "roman_wfi_mask_0000.asdf";
const TO_OVERRIDE: &str = "roman_wfi_mask_0001.asdf";
const CHANGING: &str = "roman_wfi_changing_0001.asdf";
const LARGE_SIZE: usize = 2_000_000;
const MASKS: usize = 12;
const SIZE: usize = 200_000;
const MINE: &[u8] = b"mine from before";

fn mask(number: usize) -> String {
    format!("roman_wfi_mask_{number:04}.asdf")
}

fn everything() -> Content {
    let content = (0..MASKS).fold(content(), |content, number| content.file(&mask(number), SIZE));
    content
        .file(LARGE, LARGE_SIZE)
        .file(FOUND, SIZE)
        .file(DAMAGED, SIZE)
        .file(CHANGING, 5_000)
}

/// The user's text that was put under a name last, and the one that was being put there.
type Mine = Mutex<(Option<Vec<u8>>, Option<Vec<u8>>)>;

struct Trial {
    origin: Origin,
    rig: Rig,
    mine: Mine,
    /// Every version of the file that changes.
    versions: Mutex<Vec<Blob>>,
}

#[test]
fn a_kill_at_each_step_costs_nothing_but_time() {
    let trials: Vec<String> = CRASH_POINTS
        .iter()
        .flat_map(|step| [format!("{step}:1"), format!("{step}:3")])
        .collect();
    let left = Mutex::new(trials.iter());
    let survived = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some(step) = next else { return };
                    if !Trial::new().run(step) {
                        survived.lock().unwrap().push(step);
                    }
                }
            });
        }
    });
    let survived = survived.into_inner().unwrap();
    println!(
        "killed at {} of {} steps; not reached: {survived:?}",
        trials.len() - survived.len(),
        trials.len()
    );
    let unreached: Vec<_> = survived.iter().filter(|step| step.ends_with(":1")).collect();
    assert!(unreached.is_empty(), "never reached: {unreached:?}");
}

impl Trial {
    /// A store in which everything has happened before: an override, an interrupted transfer, files that somebody else has
    /// put there, and copies that have to make room for others.
    fn new() -> Self {
        let origin = Origin::start(everything());
        // Room for about half of the files.
        let room = (LARGE_SIZE + 7 * SIZE).to_string();
        let arguments = [
            "--cache-size",
            &room,
            "--keep-free",
            "0",
            "--catalog-ttl",
            "300ms",
            "--stall-timeout",
            "2s",
            "--timeout",
            "10s",
        ];
        let mut rig = Rig::mounted(&[&server_flag(&origin)], &arguments);
        fs::write(rig.path(reference(".mine")), MINE).unwrap();
        fs::rename(rig.path(reference(".mine")), rig.path(reference(OVERRIDDEN))).unwrap();
        for number in 2..6 {
            rig.read(reference(&mask(number))).unwrap();
        }
        origin.set(LARGE, Behaviour::StallAt(LARGE_SIZE / 2));
        let at = rig.path(reference(LARGE));
        let opener = std::thread::spawn(move || fs::File::open(at).is_err());
        eventually("half of it is here", || {
            at_least(rig.received(&reference(LARGE)), LARGE_SIZE as u64 / 2)
        });
        rig.terminate();
        rig.reap();
        assert!(opener.join().unwrap());
        origin.mend();
        fs::write(rig.store().join(reference(FOUND)), origin.contents(FOUND)).unwrap();
        fs::write(rig.store().join(reference(DAMAGED)), vec![b'?'; SIZE]).unwrap();
        Self {
            versions: Mutex::new(vec![origin.blob(CHANGING)]),
            origin,
            rig,
            mine: Mutex::default(),
        }
    }

    /// Mounts with a kill at this step, works, and checks the store, the next mount, and the store after it. True if the process
    /// was killed.
    fn run(mut self, step: &str) -> bool {
        self.rig.set("CRDS_FS_ABORT_AT", step);
        let was_ready = self.rig.try_mount();
        if was_ready {
            self.work();
        }
        let killed = self.rig.has_ended();
        if killed {
            self.rig.reap();
        } else {
            self.rig.umount();
        }
        self.rig.unset("CRDS_FS_ABORT_AT");
        self.check(step);
        self.rig.mount();
        self.check_mount(step);
        self.rig.umount();
        self.check(step);
        killed
    }

    /// Does all that a store is for. The mount may die below it at any moment.
    fn work(&self) {
        let rig = &self.rig;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for name in [FOUND, DAMAGED, LARGE] {
                    let _ = rig.read(reference(name));
                }
            });
            scope.spawn(|| {
                for number in 6..MASKS {
                    let _ = rig.read(reference(&mask(number)));
                }
            });
            scope.spawn(|| {
                for turn in 0..4 {
                    let text = format!("mine {turn}").into_bytes();
                    let new = rig.path(reference(&format!(".new{turn}")));
                    if fs::write(&new, &text).is_err() {
                        return;
                    }
                    self.mine.lock().unwrap().1 = Some(text.clone());
                    if fs::rename(&new, rig.path(reference(TO_OVERRIDE))).is_err() {
                        return;
                    }
                    *self.mine.lock().unwrap() = (Some(text), None);
                }
            });
        });
        for turn in 0..3 {
            let newer = Blob::random(&format!("{CHANGING} {turn}"), 5_000 + turn);
            self.versions.lock().unwrap().push(newer.clone());
            let told = self.origin.called("get_server_info").len();
            self.origin.change(|content| {
                content.files.insert(CHANGING.to_owned(), newer);
            });
            // The second answer comes when the first has been kept.
            eventually("another catalog is kept, or the process has ended", || {
                self.origin.called("get_server_info").len() > told + 1 || self.rig.has_ended()
            });
            if self.rig.has_ended() {
                return;
            }
            let _ = rig.read(reference(CHANGING));
        }
    }
}

/// The checks after a kill.
impl Trial {
    /// In the store.
    fn check(&self, step: &str) {
        for at in self.rig.stored() {
            let name = at.file_name().unwrap().to_str().unwrap();
            let found = fs::read(&at).unwrap();
            match name {
                OVERRIDDEN => assert!(found == MINE, "{step}: the user's {name} is lost"),
                TO_OVERRIDE => assert!(self.is_mine_or(&found, TO_OVERRIDE), "{step}: {name} is wrong"),
                CHANGING => {
                    let versions = self.versions.lock().unwrap();
                    assert!(
                        versions.iter().any(|version| **version == *found),
                        "{step}: {name} is wrong"
                    );
                }
                // Nobody has looked at it yet.
                DAMAGED if found == vec![b'?'; SIZE] => {}
                // A file that the user was about to rename.
                name if name.starts_with(".new") => {}
                name => assert!(found == self.origin.contents(name), "{step}: {name} is wrong"),
            }
        }
        let kept = fs::read(self.rig.store().join(reference(OVERRIDDEN))).unwrap_or_default();
        assert!(kept == MINE, "{step}: the user's file is gone");
    }

    /// True if a name under which the user may have put a file has the right bytes: those of the user's last rename, of one
    /// that was under way, or, if there was none, of the catalog.
    fn is_mine_or(&self, found: &[u8], name: &str) -> bool {
        let mine = self.mine.lock().unwrap();
        let (last, under_way) = &*mine;
        let catalogued = || self.origin.contents(name) == found;
        under_way.as_deref() == Some(found) || last.as_ref().map_or_else(catalogued, |last| last == found)
    }

    /// In the next mount.
    fn check_mount(&self, step: &str) {
        let rig = &self.rig;
        let read = |name: &str| {
            rig.read(reference(name))
                .unwrap_or_else(|errno| panic!("{step}: {name}: errno {errno}: {}", rig.log()))
        };
        assert!(read(OVERRIDDEN) == MINE, "{step}: the user's file is lost");
        assert!(
            self.is_mine_or(&read(TO_OVERRIDE), TO_OVERRIDE),
            "{step}: the user's newer file is lost: {}",
            rig.log()
        );
        assert!(read(LARGE) == self.origin.contents(LARGE), "{step}: {LARGE}");
        for name in [FOUND, DAMAGED]
            .into_iter()
            .map(str::to_owned)
            .chain((2..MASKS).map(mask))
        {
            assert!(read(&name) == self.origin.contents(&name), "{step}: {name}");
        }
        let status = rig.json(".crds-fs/status.json");
        assert!(status.is_some(), "{step}: the status does not answer");
        let removing = rig.store().join(".crds-fs/removing/roman");
        let left: Vec<_> = fs::read_dir(removing).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{step}: {left:?}");
    }
}
