//! A mounted file system: reading in each mode, waiting, interrupting, panics, and the end.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::test_tree::{Content, TestMount, TestTree, eventually};
use crate::mount::{mountinfo, unmount};
use crate::tree::ops::{CacheTtl, Invalidation};

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| u8::try_from((place * 31 + place / 251) % 256).unwrap())
        .collect()
}

fn passthrough_is_possible() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let first_namespace = fs::read_to_string("/proc/self/uid_map")
        .unwrap()
        .contains("4294967295");
    version >= (6, 9) && nix::unistd::geteuid().is_root() && first_namespace
}

fn cat(mount: &TestMount, name: &str) -> Child {
    Command::new("cat")
        .arg(mount.file(name))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn large_files_are_read_by_the_kernel_itself() {
    let bytes = pattern(3 * 1024 * 1024 + 17);
    let mount = TestMount::new(TestTree::new(vec![("large", Content::Stored(bytes.clone()))]));
    for _ in 0..2 {
        assert!(fs::read(mount.file("large")).unwrap() == bytes);
    }
    let file = File::open(mount.file("large")).unwrap();
    let mut piece = [0; 1000];
    file.read_exact_at(&mut piece, 2_000_001).unwrap();
    assert_eq!(piece, bytes[2_000_001..2_001_001]);
    // Elsewhere the bytes are the same, and come through us.
    assert_eq!(mount.mounted.passes_through(), passthrough_is_possible());
    assert_eq!(mount.requests("read") == 0, passthrough_is_possible());
}

#[test]
fn small_files_stay_in_the_page_cache() {
    let bytes = pattern(60 * 1024);
    let mount = TestMount::new(TestTree::new(vec![("small", Content::Stored(bytes.clone()))]));
    assert_eq!(fs::read(mount.file("small")).unwrap(), bytes);
    let first = mount.requests("read");
    assert!(first > 0);
    for _ in 0..3 {
        assert_eq!(fs::read(mount.file("small")).unwrap(), bytes);
    }
    assert_eq!(mount.requests("read"), first, "a second read asks nobody");
    assert_eq!(
        mount.requests("flush"),
        0,
        "closing what was only read asks nobody"
    );
}

#[test]
fn live_text_is_new_at_every_open() {
    let tree = TestTree::new(vec![
        ("live", Content::Live),
        ("text", Content::Text("unchanging")),
    ]);
    let mount = TestMount::new(tree);
    let first = fs::read_to_string(mount.file("live")).unwrap();
    let second = fs::read_to_string(mount.file("live")).unwrap();
    assert!(first.starts_with("opened") && first != second, "{first}{second}");
    assert_eq!(fs::read_to_string(mount.file("text")).unwrap(), "unchanging");
}

/// The mode of an inode is chosen anew when its last handle is gone.
#[test]
fn a_file_that_was_closed_may_be_open_in_another_way() {
    let mount = TestMount::new(TestTree::new(vec![("turning", Content::Turning)]));
    assert_eq!(fs::read_to_string(mount.file("turning")).unwrap(), "");
    eventually("it is released", || mount.tree.open_handles() == 0);
    let live = fs::read_to_string(mount.file("turning")).unwrap();
    assert!(live.starts_with("opened"), "{live}");
}

/// A mixture of modes on one inode would be EIO.
#[test]
fn many_handles_of_one_file_agree() {
    let bytes = pattern(256 * 1024);
    let tree = TestTree::new(vec![
        ("large", Content::Stored(bytes.clone())),
        ("live", Content::Live),
    ]);
    let mount = TestMount::new(tree);
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for _ in 0..50 {
                    let mut first = File::open(mount.file("large")).unwrap();
                    let mut second = File::open(mount.file("large")).unwrap();
                    let mut text = Vec::new();
                    first.read_to_end(&mut text).unwrap();
                    drop(first);
                    assert!(text == bytes);
                    text.clear();
                    second.read_to_end(&mut text).unwrap();
                    assert!(text == bytes);
                    assert!(
                        fs::read_to_string(mount.file("live"))
                            .unwrap()
                            .starts_with("opened")
                    );
                }
            });
        }
    });
    eventually("all handles are released", || mount.tree.open_handles() == 0);
}

#[test]
fn a_map_of_a_file_holds_its_bytes() {
    let bytes = pattern(300 * 1024);
    let mount = TestMount::new(TestTree::new(vec![("large", Content::Stored(bytes.clone()))]));
    let file = File::open(mount.file("large")).unwrap();
    #[expect(unsafe_code, reason = "there is no safe way to map a file")]
    // SAFETY: a new map at a place of the kernel's choice, read within its length before it is given back; nobody writes
    // to the file.
    let mapped = unsafe {
        let (length, flags) = (bytes.len(), libc::MAP_PRIVATE);
        let map = libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ,
            flags,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(map, libc::MAP_FAILED);
        drop(file);
        let mapped = std::slice::from_raw_parts(map.cast::<u8>(), length).to_vec();
        assert_eq!(libc::munmap(map, length), 0);
        mapped
    };
    assert!(mapped == bytes);
}

#[test]
fn names_attributes_and_absence_are_remembered_by_the_kernel() {
    let mount = TestMount::new(TestTree::new(vec![("text", Content::Text("hello"))]));
    for _ in 0..5 {
        assert_eq!(fs::metadata(mount.file("text")).unwrap().len(), 5);
        assert!(fs::metadata(mount.file("absent")).is_err());
    }
    assert_eq!(mount.requests("lookup"), 2);

    let asked = mount.requests("getattr");
    let ino = fs::metadata(mount.file("text")).unwrap().ino();
    mount.tree.report(Invalidation::Attributes { ino });
    eventually("the kernel asks for attributes again", || {
        fs::metadata(mount.file("text")).unwrap();
        mount.requests("getattr") > asked
    });
}

/// A name that a new catalog may bring: it comes without a word to the kernel.
#[test]
fn what_may_come_is_remembered_as_absent_for_a_moment_only() {
    let mut tree = TestTree::new(vec![]);
    tree.absent = CacheTtl::Briefly;
    let mount = TestMount::new(tree);
    eventually("the kernel asks again", || {
        assert!(fs::metadata(mount.file("absent")).is_err());
        mount.requests("lookup") > 1
    });
}

#[test]
fn extended_attributes_are_answered_by_name_and_not_listed() {
    let mount = TestMount::new(TestTree::new(vec![("text", Content::Text("hello"))]));
    let path = mount.file("text");
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&path, "user.crds.state", &mut value).unwrap();
    assert_eq!(&value[..length], b"cached");
    assert_eq!(rustix::fs::listxattr(&path, &mut value).unwrap(), 0);
    let narrow = rustix::fs::getxattr(&path, "user.crds.state", &mut value[..3]);
    assert_eq!(narrow.unwrap_err(), rustix::io::Errno::RANGE);
    let other = rustix::fs::getxattr(&path, "user.other", &mut value);
    assert_eq!(other.unwrap_err(), rustix::io::Errno::NODATA);
}

#[test]
fn the_size_of_the_file_system_is_the_tree_s() {
    let mount = TestMount::new(TestTree::new(vec![]));
    let size = nix::sys::statvfs::statvfs(mount.path()).unwrap();
    assert_eq!(size.blocks() * size.fragment_size(), 1 << 40);
    assert_eq!(size.blocks_available() * size.fragment_size(), 1 << 38);
}

#[test]
fn stalled_opens_delay_nobody_and_can_be_interrupted() {
    let tree = TestTree::new(vec![
        ("stalled", Content::Stalled),
        ("text", Content::Text("hello")),
    ]);
    let mount = TestMount::new(tree);
    let children: Vec<Child> = (0..200).map(|_| cat(&mount, "stalled")).collect();
    eventually("all are waiting", || mount.requests("open") >= 200);

    // Were a thread of the adapter blocked, these would never return.
    assert_eq!(fs::read_to_string(mount.file("text")).unwrap(), "hello");
    assert!(fs::metadata(mount.file("stalled")).unwrap().is_file());
    eventually("what opened is released", || mount.tree.open_handles() == 0);

    let signals = [
        Signal::SIGKILL,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    for (child, which) in children.iter().zip(signals.into_iter().cycle()) {
        signal(child, which);
    }
    for (mut child, which) in children.into_iter().zip(signals.into_iter().cycle()) {
        assert_eq!(child.wait().unwrap().signal(), Some(which as i32));
    }

    // The callers without a signal get their file.
    let mut patient = cat(&mount, "stalled");
    eventually("it waits", || mount.requests("open") >= 202);
    mount.tree.gate.cancel();
    assert!(patient.wait().unwrap().success());
}

/// A signal that is caught and means to go on (a timer, a child) must not break the wait; one that is ignored neither.
#[test]
fn other_signals_are_none_of_our_business() {
    let mount = TestMount::new(TestTree::new(vec![("stalled", Content::Stalled)]));
    let script = "trap '' INT; trap : CHLD URG ALRM; exec 3<\"$0\" && echo opened";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(mount.file("stalled"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it waits", || mount.requests("open") >= 1);
    for which in [Signal::SIGINT, Signal::SIGURG, Signal::SIGALRM, Signal::SIGCHLD] {
        signal(&child, which);
    }
    // Another caller that is told to stop shows that the watcher has looked since.
    let mut other = cat(&mount, "stalled");
    eventually("the other waits", || mount.requests("open") >= 2);
    signal(&other, Signal::SIGTERM);
    assert_eq!(other.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));

    mount.tree.gate.cancel();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(said, "opened\n");
}

#[test]
fn a_panic_is_an_error_of_one_call() {
    let tree = TestTree::new(vec![
        ("panics", Content::Panics),
        ("later", Content::PanicsLater),
        ("text", Content::Text("hello")),
    ]);
    let mount = TestMount::new(tree);
    for _ in 0..4 {
        for name in ["panics", "later"] {
            assert_eq!(
                fs::read(mount.file(name)).unwrap_err().raw_os_error(),
                Some(libc::EIO)
            );
        }
    }
    assert_eq!(fs::read_to_string(mount.file("text")).unwrap(), "hello");
}

#[test]
fn a_directory_of_100_000_names() {
    const NAMES: u64 = 100_000;
    let mount = TestMount::new(TestTree::new(vec![]).with_many(NAMES));
    let list = || {
        fs::read_dir(mount.file("many"))
            .unwrap()
            .map(|entry| entry.unwrap())
    };
    // First plainly, then with every attribute: the listing brings them along, no name is asked for by itself.
    assert_eq!(list().count() as u64, NAMES);
    let sizes: u64 = list().map(|entry| entry.metadata().unwrap().len()).sum();
    assert_eq!(sizes, NAMES * 1234);
    let looked_up = mount.requests("lookup");
    let requests = mount.requests("readdir") + mount.requests("readdirplus");
    println!(
        "lookups {looked_up}, getattr {}, listing requests {requests}",
        mount.requests("getattr")
    );
    assert!(looked_up < 2000, "{looked_up} lookups");
    // Once more: now everything is known.
    let before = mount.requests("lookup") + mount.requests("getattr");
    assert_eq!(
        list().map(|entry| entry.metadata().unwrap().len()).sum::<u64>(),
        sizes
    );
    assert!(mount.requests("lookup") + mount.requests("getattr") - before < 2000);
}

#[test]
fn the_mount_has_a_type_of_its_own_and_is_taken_away_by_anybody() {
    let mount = TestMount::new(TestTree::new(vec![]));
    let entry = mountinfo::at(mount.path()).unwrap().unwrap();
    assert_eq!(
        (entry.fstype.as_str(), entry.source.to_str()),
        ("fuse.crds-fs", Some("test"))
    );

    // In use: refused, with the user named.
    let mut held = Command::new("sleep")
        .arg("60")
        .current_dir(mount.path())
        .spawn()
        .unwrap();
    let error = unmount::unmount(mount.path(), unmount::How::Plain)
        .unwrap_err()
        .to_string();
    held.kill().unwrap();
    held.wait().unwrap();
    assert!(error.contains(&format!("sleep ({})", held.id())), "{error}");

    unmount::unmount(mount.path(), unmount::How::Plain).unwrap();
    mount.runtime.block_on(mount.mounted.ended()).unwrap();
    assert!(mountinfo::at(mount.path()).unwrap().is_none());
    mount.mounted.unmount(unmount::How::Plain).unwrap();
}

#[test]
fn ending_answers_all_who_wait() {
    let mount = TestMount::new(TestTree::new(vec![("stalled", Content::Stalled)]));
    let stalled = mount.file("stalled");
    let waiting = std::thread::spawn(move || fs::read(stalled).unwrap_err().raw_os_error());
    eventually("it waits", || mount.requests("open") >= 1);
    mount.mounted.stop_waiting();
    assert_eq!(waiting.join().unwrap(), Some(libc::ESHUTDOWN));
    assert!(mount.tree.shut_down.load(Ordering::SeqCst));
    mount.mounted.unmount(unmount::How::Plain).unwrap();
    mount.runtime.block_on(mount.mounted.ended()).unwrap();
}

/// Ends a connection as an administrator can, through the control file system (mounted here where it is missing).
fn abort(connection: u32) {
    let mut control = PathBuf::from("/sys/fs/fuse/connections");
    let ours = tempfile::tempdir().unwrap();
    let mounted = fs::read_dir(&control).is_ok_and(|mut entries| entries.next().is_some());
    if !mounted {
        let kind = Some("fusectl");
        ours.path().clone_into(&mut control);
        nix::mount::mount(kind, &control, kind, nix::mount::MsFlags::empty(), None::<&str>)
            .expect("as root, 'mount -t fusectl none /sys/fs/fuse/connections'");
    }
    let aborted = fs::write(control.join(connection.to_string()).join("abort"), "1");
    if !mounted {
        nix::mount::umount(&control).unwrap();
    }
    aborted.unwrap();
}

#[test]
fn an_abort_is_a_clean_end() {
    let mount = TestMount::new(TestTree::new(vec![("text", Content::Text("hello"))]));
    let entry = mountinfo::at(mount.path()).unwrap().unwrap();
    abort(entry.minor);
    mount.runtime.block_on(mount.mounted.ended()).unwrap();
    assert_eq!(
        fs::read(mount.file("text")).unwrap_err().raw_os_error(),
        Some(libc::ENOTCONN)
    );
}
