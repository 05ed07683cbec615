//! Tools that replace files meet catalogued names: they fail, soon, and the copy stays. Whoever wants a copy gone is rid of
//! it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::origin::Origin;
use crate::rig::{Rig, equal, eventually, wait};
use crate::{DARK, FLAT, PMAP, content, server_flag};

/// A mount with a fetched file, and files of one's own elsewhere.
struct Bench {
    origin: Origin,
    rig: Rig,
    elsewhere: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let origin = Origin::start(content());
        let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir_all(elsewhere.path().join("references/roman")).unwrap();
        for name in [DARK, FLAT] {
            rig.read(Self::name(name)).unwrap();
            fs::write(elsewhere.path().join(Self::name(name)), "mine").unwrap();
        }
        Self {
            origin,
            rig,
            elsewhere,
        }
    }

    fn name(name: &str) -> String {
        format!("references/roman/{name}")
    }

    fn mine(&self, name: &str) -> PathBuf {
        self.elsewhere.path().join(Self::name(name))
    }

    /// Runs a tool to its end. True if its exit status is 0.
    fn succeeds(&self, program: &str, arguments: &[&str]) -> bool {
        let tool = Command::new(program)
            .args(arguments)
            .current_dir(self.elsewhere.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is needed here: {error}"));
        wait(tool).success()
    }

    /// The number of requests for a file.
    fn downloads(&self, name: &str) -> usize {
        self.origin.asked(name).len()
    }

    /// The catalogued bytes are there, without another download.
    fn is_whole(&self, name: &str) {
        assert!(self.rig.read(Self::name(name)).unwrap() == self.origin.contents(name));
        assert_eq!(self.downloads(name), 1, "the copy of {name} was lost");
    }
}

#[test]
fn tools_that_replace_a_catalogued_file_fail_and_the_copy_stays() {
    let bench = Bench::new();
    let target = bench.rig.path(Bench::name(DARK)).display().to_string();
    let mine = bench.mine(DARK);
    let source = mine.display().to_string();
    for (program, arguments) in [
        ("cp", vec!["-f", &source, &target]),
        ("cp", vec!["--remove-destination", &source, &target]),
        ("install", vec!["-m", "644", &source, &target]),
        ("mv", vec!["-f", &source, &target]),
        ("ln", vec!["-sf", &source, &target]),
    ] {
        let is_done = bench.succeeds(program, &arguments);
        if program == "ln" && is_done {
            // Newer ones rename a link into place, which is an override.
            fs::remove_file(&target).unwrap();
            continue;
        }
        assert!(!is_done, "{program}");
        assert_eq!(fs::read(&mine).unwrap(), b"mine", "{program}");
        bench.is_whole(DARK);
    }
}

#[test]
fn unpacking_over_catalogued_files_ends_and_the_copies_stay() {
    let bench = Bench::new();
    assert!(bench.succeeds("tar", &["cf", "mine.tar", "references/roman"]));
    let archive = bench.elsewhere.path().join("mine.tar").display().to_string();
    let mountpoint = bench.rig.mountpoint().display().to_string();
    for arguments in [
        vec!["xf", &archive, "-C", &mountpoint],
        vec!["xf", &archive, "-C", &mountpoint, "--unlink-first"],
        vec!["xf", &archive, "-C", &mountpoint, "--overwrite"],
    ] {
        assert!(!bench.succeeds("tar", &arguments), "{arguments:?}");
        bench.is_whole(DARK);
        bench.is_whole(FLAT);
    }
}

#[test]
fn a_removed_copy_goes_and_the_file_stays() {
    let bench = Bench::new();
    let target = bench.rig.path(Bench::name(DARK));
    assert!(bench.succeeds("rm", &[&target.display().to_string()]));
    let stored = bench.rig.store().join(Bench::name(DARK));
    eventually("the copy goes", || !stored.exists());
    assert_eq!(fs::metadata(&target).unwrap().len(), 300_000);
    bench.rig.read(Bench::name(DARK)).unwrap();
    assert_eq!(bench.downloads(DARK), 2);
}

/// As `crds sync --repair-files` does: remove, look whether it is gone, find it there, and read it.
#[test]
fn who_removes_a_copy_and_looks_or_reads_has_it_fetched_again() {
    let bench = Bench::new();
    let target = bench.rig.path(Bench::name(DARK));
    let stored = bench.rig.store().join(Bench::name(DARK));
    fs::remove_file(&target).unwrap();
    let seen = fs::metadata(&target).unwrap();
    assert_eq!(
        (seen.len(), std::os::unix::fs::MetadataExt::blocks(&seen)),
        (300_000, 0)
    );
    assert!(fs::read(&target).unwrap() == bench.origin.contents(DARK));
    assert_eq!(bench.downloads(DARK), 2);
    bench.rig.settle();
    fs::write(&stored, vec![0; 300_000]).unwrap();
    fs::remove_file(&target).unwrap();
    assert!(fs::read(&target).unwrap() == bench.origin.contents(DARK));
    assert_eq!(bench.downloads(DARK), 3);
}

/// As `crds sync --purge-references` does.
#[test]
fn removing_many_names_in_a_row_removes_all_copies() {
    let mut bench = Bench::new();
    bench.rig.read(format!("mappings/roman/{PMAP}")).unwrap();
    for name in [
        Bench::name(DARK),
        Bench::name(FLAT),
        format!("mappings/roman/{PMAP}"),
    ] {
        fs::remove_file(bench.rig.path(name)).unwrap();
    }
    bench.rig.umount();
    assert_eq!(bench.rig.stored(), Vec::<PathBuf>::new());
}

/// The state of a file by `.crds-fs/files`.
fn state(rig: &Rig, name: &str) -> String {
    let text = fs::read_to_string(rig.path(".crds-fs/files").join(Bench::name(name))).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["state"].as_str().unwrap().to_owned()
}

#[track_caller]
fn becomes(rig: &Rig, name: &str, wanted: &str) {
    eventually(&format!("{name} is {wanted}"), || equal(state(rig, name), wanted));
}

/// As rsync does with a cache, and clients with what they have downloaded.
#[test]
fn what_is_renamed_into_place_with_the_catalogued_content_is_a_copy() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let put = |rig: &Rig, name: &str, bytes: &[u8]| {
        let temporary = rig.path(Bench::name(&format!(".{name}.x7")));
        fs::write(&temporary, bytes).unwrap();
        fs::rename(&temporary, rig.path(Bench::name(name))).unwrap();
    };
    let mut other = origin.contents(FLAT);
    other[0] ^= 1;
    put(&rig, DARK, &origin.contents(DARK));
    put(&rig, FLAT, &other);
    becomes(&rig, DARK, "cached");
    for _ in 0..2 {
        assert_eq!(state(&rig, DARK), "cached");
        assert_eq!(state(&rig, FLAT), "local");
        assert!(rig.read(Bench::name(DARK)).unwrap() == origin.contents(DARK));
        assert!(rig.read(Bench::name(FLAT)).unwrap() == other);
        let refused = fs::OpenOptions::new()
            .write(true)
            .open(rig.path(Bench::name(DARK)));
        assert!(refused.is_err(), "a catalogued file cannot be changed");
        rig.umount();
        rig.mount();
    }
    assert_eq!(origin.asked(DARK).len() + origin.asked(FLAT).len(), 0);
    assert!(!rig.store().join(".crds-fs/quarantine").exists());
}

/// A file that somebody still writes to is not the catalogued one, whatever it holds at the moment.
#[test]
fn what_is_still_written_to_stays_the_users() {
    use std::io::Write as _;
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let temporary = rig.path(Bench::name(".x"));
    let mut writer = fs::File::create(&temporary).unwrap();
    writer.write_all(&origin.contents(DARK)).unwrap();
    fs::rename(&temporary, rig.path(Bench::name(DARK))).unwrap();
    writer.write_all(b"and more").unwrap();
    drop(writer);
    // Behind it in the order of adoption; when it is a copy, the first has been looked at.
    for name in [FLAT, PMAP] {
        let directory = if name == PMAP { "mappings" } else { "references" };
        let target = rig.path(format!("{directory}/roman/{name}"));
        fs::write(rig.path("pickles/roman/x"), origin.contents(name)).unwrap();
        fs::rename(rig.path("pickles/roman/x"), target).unwrap();
    }
    becomes(&rig, FLAT, "cached");
    assert_eq!(state(&rig, DARK), "local");
    assert_eq!(rig.read(Bench::name(DARK)).unwrap().len(), 300_008);
}

/// As clients before 14 do for `crds sync --ignore-cache`: they remove the file, and write it under its own name.
#[test]
fn a_removed_file_that_is_written_anew_becomes_the_copy_if_it_is_what_the_catalog_says() {
    let bench = Bench::new();
    let write = |name: &str, bytes: &[u8]| {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(bench.rig.path(Bench::name(name)))
            .unwrap();
        for part in bytes.chunks(65_536) {
            std::io::Write::write_all(&mut file, part).unwrap();
        }
        nix::unistd::close(file)
    };
    let remove = |name| fs::remove_file(bench.rig.path(Bench::name(name))).unwrap();
    for name in [DARK, FLAT] {
        remove(name);
    }
    // Once more: the data half of a GEIS pair comes with its header, and then for itself.
    for name in [DARK, FLAT, FLAT] {
        write(name, &bench.origin.contents(name)).unwrap();
        becomes(&bench.rig, name, "cached");
        bench.is_whole(name);
    }
    let right = bench.origin.contents(DARK);
    let mut wrong = right.clone();
    wrong[0] ^= 1;
    for wrong in [&wrong, &right[..1_000], &[][..]] {
        // A process that another test starts closes a copy of the descriptor, and may be told in this one's place.
        eventually("the close tells that it is refused", || {
            remove(DARK);
            let closed = write(DARK, wrong);
            let seen = fs::metadata(bench.rig.path(Bench::name(DARK))).unwrap();
            assert_eq!(seen.len(), 300_000);
            equal(closed, Err(nix::errno::Errno::EPERM))
        });
        assert_eq!(state(&bench.rig, DARK), "cached");
        bench.is_whole(DARK);
    }
    assert!(!bench.rig.store().join(".crds-fs/quarantine").exists());
    let target = bench.rig.path(Bench::name(FLAT));
    let other = std::thread::spawn(move || fs::OpenOptions::new().write(true).open(target));
    assert!(
        other.join().unwrap().is_err(),
        "only who has removed it may write"
    );
}

/// As the Python client reorganizes a cache: a rename, and where that is refused, a copy by the same thread.
#[test]
fn moving_references_into_the_other_layout_is_refused_without_a_download() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let references = rig.path("references/roman");
    fs::create_dir(references.join("wfi")).unwrap();
    for name in [DARK, FLAT] {
        let (from, to) = (references.join(name), references.join("wfi").join(name));
        let refused = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
        assert_eq!(refused(fs::rename(&from, &to)), Some(libc::EPERM));
        assert_eq!(refused(fs::copy(&from, &to).map(drop)), Some(libc::EPERM));
        assert!(origin.asked(name).is_empty(), "{name} was downloaded");
        assert!(fs::read(&from).unwrap() == origin.contents(name));
    }
    let (tag, other) = (
        rig.path("config/roman/ref_cache_subdir_mode"),
        rig.path("config/roman/new"),
    );
    fs::write(&other, "instrument").unwrap();
    assert_eq!(
        fs::rename(&other, &tag).unwrap_err().raw_os_error(),
        Some(libc::EPERM)
    );
    assert_eq!(fs::read(&tag).unwrap(), b"flat");
    fs::write(&other, "flat").unwrap();
    fs::rename(&other, &tag).unwrap();
}
