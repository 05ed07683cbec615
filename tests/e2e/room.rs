//! Room in the store: who has to go for whom, when, and what interrupted transfers and quarantine take of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, at_least, eventually, within};
use crate::small_disk::{inside, shrink};
use crate::{DARK, content, server_flag};

const NEW: &str = "roman_wfi_new_0001.asdf";

fn old(number: usize) -> String {
    format!("roman_wfi_old_{number:04}.asdf")
}

fn large(number: usize) -> String {
    format!("roman_wfi_large_{number:04}.asdf")
}

fn path(name: &str) -> PathBuf {
    Path::new("references/roman").join(name)
}

fn is_stored(rig: &Rig, name: &str) -> bool {
    rig.settle();
    rig.store().join(path(name)).exists()
}

fn space(rig: &Rig) -> serde_json::Value {
    let status = fs::read_to_string(rig.path(".crds-fs/status.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&status).unwrap()["space"].take()
}

/// Bytes that everything below a directory takes on the disk.
fn on_disk(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let metadata = entry.metadata().unwrap();
        bytes += if metadata.is_dir() {
            on_disk(&entry.path())
        } else {
            metadata.blocks() * 512
        };
    }
    bytes
}

/// Eight files of 500 kB.
fn eight() -> Content {
    (0..8)
        .fold(content(), |content, number| content.file(&old(number), 500_000))
        .file(NEW, 1_300_000)
}

/// Without `--cache-size` only what crds-fs fetched itself may go: an existing cache stays as it is, also once its files
/// were opened, and over a remount.
#[test]
fn files_of_an_existing_cache_are_not_evicted_unless_a_size_is_given() {
    if !inside("room::files_of_an_existing_cache_are_not_evicted_unless_a_size_is_given") {
        return;
    }
    let origin = Origin::start(eight());
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let _small = shrink(&rig.store(), 4_700_000);
    fs::create_dir_all(rig.store().join("references/roman")).unwrap();
    for number in 0..8 {
        let file = rig.store().join(path(&old(number)));
        fs::write(file, origin.contents(&old(number))).unwrap();
    }
    for _ in 0..2 {
        rig.mount();
        for number in 0..8 {
            rig.read(path(&old(number))).unwrap();
        }
        assert_eq!(rig.read(path(NEW)), Err(libc::ENOSPC), "{}", rig.log());
        for number in 0..8 {
            assert!(is_stored(&rig, &old(number)), "{number}: {}", rig.log());
        }
        rig.umount();
    }
    assert_eq!(origin.asked(&old(0)), []);
    // One that was fetched may go, and so may any copy when that is what the user says.
    fs::remove_file(rig.store().join(path(&old(7)))).unwrap();
    rig.mount();
    rig.read(path(&old(7))).unwrap();
    rig.umount();
    rig.mount();
    assert_eq!(rig.read(path(NEW)), Err(libc::ENOSPC), "one is not enough");
    assert!(is_stored(&rig, &old(7)), "nothing goes for what does not fit");
    rig.umount();
    rig.add_argument("--cache-size");
    rig.add_argument("4500000");
    rig.mount();
    rig.read(path(NEW)).unwrap();
    assert!((0..8).any(|number| !is_stored(&rig, &old(number))));
    rig.umount();
}

/// A file that cannot be fetched costs no copy of another one.
#[test]
fn nothing_is_evicted_for_a_file_that_does_not_come() {
    let origin = Origin::start(eight());
    let rig = Rig::mounted(
        &[&server_flag(&origin)],
        &["--cache-size", "4100000", "--keep-free", "0"],
    );
    for number in 0..8 {
        rig.read(path(&old(number))).unwrap();
    }
    origin.set(NEW, Behaviour::Status(403));
    assert_eq!(rig.read(path(NEW)), Err(libc::EACCES));
    assert!(
        (0..8).all(|number| is_stored(&rig, &old(number))),
        "{}",
        rig.log()
    );
    origin.set(NEW, Behaviour::StallBeforeHead);
    let reader = {
        let late = rig.path(path(NEW));
        // The failure is remembered for a moment.
        std::thread::spawn(move || eventually("the file comes", || fs::read(&late)))
    };
    origin.wait_for_stalled(1);
    assert!((0..8).all(|number| is_stored(&rig, &old(number))));
    origin.mend();
    let read = within(move || reader.join().unwrap());
    assert!(read == origin.contents(NEW));
    let left = (0..8).filter(|number| is_stored(&rig, &old(*number))).count();
    assert_eq!(left, 5, "as many went as had to");
}

/// Three transfers are interrupted one after the other; what they leave stays within the size that is given, is told, and
/// makes room before any copy.
#[test]
fn what_interrupted_transfers_leave_is_counted_and_goes_first() {
    const SIZE: u64 = 12_000_000;
    let content = (0..3).fold(content(), |content, number| {
        content.file(&large(number), 6_000_000)
    });
    let origin = Origin::start(content);
    let mut rig = Rig::mounted(
        &[&server_flag(&origin)],
        &["--cache-size", "12000000", "--keep-free", "0"],
    );
    rig.read(path(DARK)).unwrap();
    for number in 0..3 {
        let name = large(number);
        origin.set(&name, Behaviour::StallAfter(5_000_000));
        let file = rig.path(path(&name));
        let reader = std::thread::spawn(move || fs::read(file));
        origin.wait_for_stalled(1);
        let progress = path(&name).display().to_string();
        eventually("most of it is here", || {
            at_least(rig.received(&progress), 4_000_000)
        });
        if number == 1 {
            rig.kill_shared();
            rig.reap();
        } else {
            rig.terminate();
            rig.reap();
        }
        assert!(within(move || reader.join().unwrap()).is_err());
        origin.mend();
        rig.mount();
        rig.read(path(DARK)).unwrap();
        rig.settle();
        let partial = on_disk(&rig.store().join(".crds-fs/partial"));
        assert!(
            partial + 300_000 <= SIZE,
            "{partial} bytes after {number}: {}",
            rig.log()
        );
        let space = space(&rig);
        let told = space["partial"].as_u64().unwrap();
        assert!(
            told.abs_diff(partial) < 100_000,
            "{space} where there are {partial}"
        );
        assert!(space["used"].as_u64().unwrap() >= told);
    }
    assert!(is_stored(&rig, DARK), "a copy went before what was left over");
    assert!(rig.read(path(&large(2))).unwrap() == origin.contents(&large(2)));
    let resumed = origin.asked(&large(2));
    assert!(
        resumed.iter().any(|asked| asked.if_range.is_some()),
        "{resumed:?}"
    );
    for number in 0..2 {
        assert!(rig.read(path(&large(number))).unwrap() == origin.contents(&large(number)));
        rig.settle();
        let used = on_disk(&rig.store().join("references")) + on_disk(&rig.store().join(".crds-fs/partial"));
        assert!(used <= SIZE + 100_000, "{used} bytes: {}", rig.log());
    }
}

/// Two large files on a disk with room for one: one comes, for the other nothing is sent.
#[test]
fn two_at_once_where_there_is_room_for_one() {
    if !inside("room::two_at_once_where_there_is_room_for_one") {
        return;
    }
    let content = (0..2).fold(content(), |content, number| {
        content.file(&large(number), 5_000_000)
    });
    let origin = Origin::start(content);
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let _small = shrink(&rig.store(), 8 << 20);
    rig.mount();
    for number in 0..2 {
        origin.set(&large(number), Behaviour::StallAfter(1_000_000));
    }
    let first = rig.path(path(&large(0)));
    let reader = std::thread::spawn(move || fs::read(first));
    origin.wait_for_stalled(1);
    assert_eq!(rig.read(path(&large(1))), Err(libc::ENOSPC), "{}", rig.log());
    assert_eq!(origin.asked(&large(1)), []);
    origin.release();
    let read = within(move || reader.join().unwrap());
    assert!(read.unwrap() == origin.contents(&large(0)), "{}", rig.log());
    rig.umount();
}

/// Files written through the mount take room from their close on, and give it back when they are cut or removed.
#[test]
fn files_of_ones_own_take_room_at_once() {
    let other = large(0);
    let origin = Origin::start(content().file(NEW, 400_000).file(&other, 400_000));
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--cache-size", "1000000"]);
    rig.mount();
    for (mine, new) in [("mine", NEW), ("roman_wfi_mine_0001.asdf", &other)] {
        let mine = rig.path(path(mine));
        let before = space(&rig)["used"].as_u64().unwrap();
        fs::write(&mine, vec![7; 700_000]).unwrap();
        assert_eq!(space(&rig)["used"], before + 700_000);
        assert_eq!(rig.read(path(new)), Err(libc::ENOSPC), "{}", rig.log());
        let file = fs::File::options().write(true).open(&mine).unwrap();
        file.set_len(500_000).unwrap();
        drop(file);
        // The failure is remembered for a moment.
        let read = eventually("there is room for the file", || rig.read(path(new)));
        assert!(read == origin.contents(new));
        assert_eq!(space(&rig)["used"], 900_000);
        fs::remove_file(&mine).unwrap();
        assert_eq!(space(&rig)["used"], 400_000);
    }
    rig.umount();
}

#[test]
fn what_lies_in_quarantine_is_counted_and_told() {
    let origin = Origin::start(content().file(NEW, 400_000));
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--cache-size", "1600000"]);
    fs::create_dir_all(rig.store().join("references/roman")).unwrap();
    fs::write(rig.store().join(path(DARK)), vec![7; 1_200_000]).unwrap();
    rig.mount();
    assert!(rig.read(path(DARK)) == Ok(origin.contents(DARK)));
    let told = space(&rig);
    assert_eq!(told["quarantined_files"], 1, "{told}");
    assert!(told["quarantined_bytes"].as_u64().unwrap() >= 1_200_000, "{told}");
    assert!(told["used"].as_u64().unwrap() >= 1_500_000, "{told}");
    // It takes room until somebody has looked through it.
    assert_eq!(rig.read(path(NEW)), Err(libc::ENOSPC));
    assert!(
        rig.log().contains("quarantine in the store: look through"),
        "{}",
        rig.log()
    );
    fs::remove_dir_all(rig.store().join(".crds-fs/quarantine")).unwrap();
    let told = space(&rig);
    assert_eq!(told["quarantined_bytes"], 0, "{told}");
    rig.umount();
    rig.mount();
    assert!(rig.read(path(NEW)).is_ok());
}

/// The copy that was used last is known after the mount has ended, by an unmount or by a signal.
#[test]
fn the_order_of_use_survives_the_end_of_the_mount() {
    for terminated in [false, true] {
        let origin = Origin::start(eight());
        let mut rig = Rig::mounted(
            &[&server_flag(&origin)],
            &["--cache-size", "4100000", "--keep-free", "0"],
        );
        for number in (0..8).chain([0]) {
            rig.read(path(&old(number))).unwrap();
        }
        if terminated {
            rig.terminate();
            rig.reap();
        } else {
            rig.umount();
        }
        rig.mount();
        rig.read(path(NEW)).unwrap();
        let left: Vec<usize> = (0..8).filter(|number| is_stored(&rig, &old(*number))).collect();
        assert_eq!(left, [0, 4, 5, 6, 7], "terminated: {terminated}");
    }
}
