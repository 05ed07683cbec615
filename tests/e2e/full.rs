//! A disk that is really full: the store on a small file system of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crds_fs::crds::{FileKey, Observatory};
use crds_fs::store::{DiskStore, State as _, StoreOptions, Transfers as _};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{PATIENCE, Rig, within};
use crate::{content, server_flag};

/// Says in the process with the mount namespace that it is the one.
const INSIDE: &str = "CRDS_FS_TEST_INSIDE";
/// A file that gets its blocks as it arrives, unlike larger ones.
const LATE: &str = "roman_wfi_late_0001.asdf";
const OLD: &str = "roman_wfi_old_0001.asdf";

/// Runs the test of this name again, in a process whose mounts nobody else sees. `true` in that process.
pub(crate) fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut unshare = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let output = unshare
        .arg("--mount")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(INSIDE, "1")
        .output()
        .expect("unshare: apt install util-linux");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "in a namespace of its own (as root, or after 'sysctl -w user.max_user_namespaces=10000'): {said}"
    );
    false
}

/// A small file system, until it is dropped.
pub(crate) struct Small(PathBuf);

/// From now on a file system of so many bytes lies at `place`.
pub(crate) fn shrink(place: &Path, bytes: usize) -> Small {
    let size = format!("size={bytes},mode=0755");
    let nothing = None::<&str>;
    // What is mounted here stays here.
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .unwrap();
    mount(
        Some("small"),
        place,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(size.as_str()),
    )
    .unwrap();
    Small(place.to_owned())
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Takes all room that is left, as somebody else would.
fn fill(place: &Path) {
    let mut file = fs::File::create(place.join("filler")).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
}

fn path(name: &str) -> String {
    format!("references/roman/{name}")
}

fn small_content() -> Content {
    content().file(LATE, 900_000).file(OLD, 1_000_000)
}

#[test]
fn a_disk_that_fills_up_during_a_transfer_is_cleared_of_what_is_old() {
    if !inside("full::a_disk_that_fills_up_during_a_transfer_is_cleared_of_what_is_old") {
        return;
    }
    let origin = Origin::start(small_content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let _small = shrink(&rig.store(), 4 << 20);
    rig.mount();
    rig.read(path(OLD)).unwrap();
    origin.set(LATE, Behaviour::StallAfter(100_000));
    let late = rig.path(path(LATE));
    let reader = std::thread::spawn(move || fs::read(late));
    origin.wait_for_stalled(1);
    fill(&rig.store());
    origin.release();
    let read = within(PATIENCE, move || reader.join().unwrap());
    assert!(read.unwrap() == origin.contents(LATE), "{}", rig.log());
    assert_eq!(rig.stored(), [rig.store().join(path(LATE))], "{}", rig.log());
    rig.umount();
}

#[test]
fn a_disk_without_anything_to_clear_away_is_enospc_and_nothing_is_left() {
    if !inside("full::a_disk_without_anything_to_clear_away_is_enospc_and_nothing_is_left") {
        return;
    }
    let origin = Origin::start(small_content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let _small = shrink(&rig.store(), 4 << 20);
    rig.mount();
    origin.set(LATE, Behaviour::StallAfter(100_000));
    let late = rig.path(path(LATE));
    let reader = std::thread::spawn(move || fs::read(late).unwrap_err().raw_os_error());
    origin.wait_for_stalled(1);
    fill(&rig.store());
    origin.release();
    let errno = within(PATIENCE, move || reader.join().unwrap());
    assert_eq!(errno, Some(libc::ENOSPC), "{}", rig.log());
    assert!(rig.stored().is_empty());
    // Refused before the first byte now, others are still served, and with room again all is well.
    assert_eq!(rig.read(path(OLD)), Err(libc::ENOSPC));
    assert_eq!(fs::read_dir(rig.path("references/roman")).unwrap().count(), 4);
    fs::remove_file(rig.store().join("filler")).unwrap();
    origin.mend();
    let begun = std::time::Instant::now();
    while rig.read(path(LATE)) != Ok(origin.contents(LATE)) {
        assert!(begun.elapsed() < PATIENCE, "{}", rig.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    rig.umount();
}

/// Large files have their blocks before their bytes, and what they have is not counted twice.
#[test]
fn room_for_a_large_file_is_taken_at_once_and_counted_once() {
    if !inside("full::room_for_a_large_file_is_taken_at_once_and_counted_once") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let _small = shrink(place, 8 << 20);
    let options = StoreOptions {
        keep_free: 0,
        ..StoreOptions::default()
    };
    let store = DiskStore::open(place, options).unwrap();
    let key = |name: &str| FileKey {
        observatory: Observatory::Roman,
        name: name.parse().unwrap(),
    };
    let (first, second) = (key("roman_wfi_dark_0001.asdf"), key("roman_wfi_dark_0002.asdf"));
    store.reserve(&first, 5 << 20).unwrap();
    let partial = store.begin(&first).unwrap();
    store.claim(&first, &partial).unwrap();
    assert!(store.usage().unwrap().available < 3 << 20);
    store.reserve(&second, 2 << 20).unwrap();
    fill(place);
    let refused = store
        .begin(&second)
        .and_then(|partial| store.claim(&second, &partial));
    assert!(refused.unwrap_err().is_no_space());
    // The first one has what it needs.
    let bytes = vec![7; 5 << 20];
    std::os::unix::fs::FileExt::write_all_at(&*partial.file, &bytes, 0).unwrap();
}

/// The second one is refused before anything is sent, and the first one is not disturbed.
#[test]
fn two_transfers_where_there_is_room_for_one() {
    if !inside("full::two_transfers_where_there_is_room_for_one") {
        return;
    }
    let names = ["roman_wfi_area_0001.asdf", "roman_wfi_area_0002.asdf"];
    let origin = Origin::start(content().file(names[0], 5_000_000).file(names[1], 5_000_000));
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let _small = shrink(&rig.store(), 8 << 20);
    rig.mount();
    assert!(fs::read_dir(rig.path("references/roman")).unwrap().count() > 0);
    for name in names {
        origin.set(name, Behaviour::StallAfter(1_000_000));
    }
    let readers = names.map(|name| {
        let file = rig.path(path(name));
        std::thread::spawn(move || fs::read(file).map_err(|error| error.raw_os_error()))
    });
    origin.wait_for_stalled(1);
    let begun = std::time::Instant::now();
    while !readers.iter().any(std::thread::JoinHandle::is_finished) {
        assert!(begun.elapsed() < PATIENCE, "both are let in: {}", rig.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    origin.release();
    let read = within(PATIENCE, move || readers.map(|reader| reader.join().unwrap()));
    let asked = names.map(|name| origin.asked(name).len());
    for ((name, read), asked) in names.iter().zip(read).zip(asked) {
        match read {
            Ok(bytes) => assert!(bytes == origin.contents(name)),
            Err(errno) => assert_eq!((errno, asked), (Some(libc::ENOSPC), 0), "{}", rig.log()),
        }
    }
    assert_eq!(
        asked.iter().sum::<usize>(),
        1,
        "one of them came, over one connection"
    );
    rig.umount();
}
