//! A file system in a process of its own: how it starts, how it ends, and what is left when it does not end well.
//!
//! These scenarios fork, so they run one after the other in a process without threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "common/mounted.rs"]
mod mounted;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crds_fs::mount::daemon::{self, Daemon, DaemonMode, Ready, StopSignals};
use crds_fs::mount::{Appearance, Error, Mounted, Mountpoint, mountinfo, namespace, unmount};
use mounted::{Content, TestTree, eventually, fuse};
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

/// What happens, and how it is made to happen in a directory of its own.
type Scenario = (&'static str, fn(&Path));

fn main() {
    if let Some(directory) = std::env::var_os("CRDS_FS_TEST_AS_USER") {
        as_user(Path::new(&directory));
        return;
    }
    if let Some(path) = std::env::var_os("CRDS_FS_TEST_OPEN") {
        open_interruptibly(Path::new(&path));
    }
    if std::env::args().any(|argument| argument == "--list") {
        println!("daemon: test");
        return;
    }
    fuse::require();
    let scenarios: [Scenario; 10] = [
        (
            "the parent goes on when the file system answers",
            starts_and_stops,
        ),
        ("the parent hears why it does not", failures_are_told),
        ("a signal in use: its users are waited for", waits_for_users),
        ("a second signal: detached at once", second_signal),
        ("unmounted by somebody else: a clean end", unmounted_from_outside),
        ("killed: the next mount mends the place", killed_and_repaired),
        ("mounted twice: refused in words", mounted_twice),
        ("a signal that a waiting caller catches: EINTR", caught_signal),
        ("a namespace of its own: nobody else sees it", private_namespace),
        (
            "an ordinary user: through fusermount3, and in a namespace",
            ordinary_user,
        ),
    ];
    for (name, scenario) in scenarios {
        println!("{name}");
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().canonicalize().unwrap();
        let outcome = std::panic::catch_unwind(|| scenario(&place));
        while unmount::unmount(&place, unmount::How::Lazy).is_ok() {}
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }
}

/// What the new process does: mounts a small tree and serves it.
fn serve(place: &Path, ready: Ready) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let started = runtime.block_on(async {
        let signals = StopSignals::listen(None).unwrap();
        let tree = TestTree::new(vec![
            ("text", Content::Text("hello")),
            ("stalled", Content::Stalled),
        ]);
        let appearance = Appearance {
            source: "a,test".into(),
            flags: crds_fs::mount::remount::Flags {
                read_only: true,
                no_exec: false,
            },
            allow_other: false,
        };
        let mountpoint = Mountpoint::prepare(place)?;
        let mounted = Mounted::start(
            Arc::new(tree),
            mountpoint,
            &appearance,
            &tokio::runtime::Handle::current(),
        )?;
        Ok::<_, Error>((signals, Arc::new(mounted)))
    });
    match started {
        Ok((mut signals, mounted)) => {
            ready.ready("").unwrap();
            let end = runtime.block_on(daemon::serve(&mounted, &mut signals));
            if let Err(error) = &end {
                eprintln!("{error}");
            }
            u8::from(end.is_err())
        }
        Err(error) => {
            ready.failed(&error.to_string());
            1
        }
    }
}

fn launch(place: &Path) -> Daemon {
    let daemon = daemon::launch(DaemonMode::Attached, |ready| serve(place, ready)).unwrap();
    daemon::answers(place).unwrap();
    daemon
}

fn pid(daemon: &Daemon) -> Pid {
    Pid::from_raw(i32::try_from(daemon.pid()).unwrap())
}

fn text(place: &Path) -> String {
    fs::read_to_string(place.join("text")).unwrap()
}

fn is_mounted(place: &Path) -> bool {
    mountinfo::at(place).unwrap().is_some()
}

fn starts_and_stops(place: &Path) {
    let daemon = launch(place);
    assert_eq!(text(place), "hello");
    assert_eq!(
        fs::write(place.join("new"), "").unwrap_err().raw_os_error(),
        Some(libc::EROFS)
    );
    assert_eq!(mountinfo::at(place).unwrap().unwrap().source, "a,test");
    assert!(daemon.stop().unwrap().success());
    assert!(!is_mounted(place));
}

fn failures_are_told(place: &Path) {
    let missing = place.join("missing");
    let error = daemon::launch(DaemonMode::Attached, |ready| serve(&missing, ready)).unwrap_err();
    assert!(error.to_string().contains("make it with mkdir"), "{error}");
    let error = daemon::launch(DaemonMode::Attached, |_| 7).unwrap_err();
    assert!(
        matches!(error, Error::Died(status) if status.code() == Some(7)),
        "{error}"
    );
}

fn waits_for_users(place: &Path) {
    let daemon = launch(place);
    let held = File::open(place.join("text")).unwrap();
    kill(pid(&daemon), Signal::SIGTERM).unwrap();
    // Still there, and still readable, for who holds it.
    assert_eq!(std::io::read_to_string(&held).unwrap(), "hello");
    assert!(is_mounted(place));
    drop(held);
    assert!(daemon.wait().unwrap().success());
    assert!(!is_mounted(place));
}

fn second_signal(place: &Path) {
    let daemon = launch(place);
    let held = File::open(place.join("text")).unwrap();
    kill(pid(&daemon), Signal::SIGTERM).unwrap();
    assert!(is_mounted(place));
    // Two signals that meet count as one, so it is sent until it is heard.
    eventually("it is detached", || {
        let _ = kill(pid(&daemon), Signal::SIGTERM);
        !is_mounted(place)
    });
    assert!(daemon.wait().unwrap().success());
    drop(held);
}

fn unmounted_from_outside(place: &Path) {
    let daemon = launch(place);
    unmount::unmount(place, unmount::How::Plain).unwrap();
    assert!(daemon.wait().unwrap().success());
    assert!(matches!(
        unmount::unmount(place, unmount::How::Plain),
        Err(Error::NotMounted(_))
    ));
}

fn killed_and_repaired(place: &Path) {
    for _ in 0..3 {
        let daemon = launch(place);
        assert_eq!(text(place), "hello");
        kill(pid(&daemon), Signal::SIGKILL).unwrap();
        assert!(!daemon.wait().unwrap().success());
        assert_eq!(
            nix::sys::statvfs::statvfs(place).unwrap_err(),
            nix::errno::Errno::ENOTCONN
        );
    }
    let daemon = launch(place);
    assert_eq!(text(place), "hello");
    let here = mountinfo::read()
        .unwrap()
        .into_iter()
        .filter(|entry| entry.mountpoint == place)
        .count();
    assert_eq!(here, 1, "the dead ones are gone");
    assert!(daemon.stop().unwrap().success());

    // A dead one is taken away by umount, too.
    let daemon = launch(place);
    kill(pid(&daemon), Signal::SIGKILL).unwrap();
    daemon.wait().unwrap();
    unmount::unmount(place, unmount::How::Plain).unwrap();
    assert!(!is_mounted(place));
}

fn mounted_twice(place: &Path) {
    let first = launch(place);
    let error = daemon::launch(DaemonMode::Attached, |ready| serve(place, ready)).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
    assert_eq!(text(place), "hello");
    assert!(first.stop().unwrap().success());
}

/// What a shell, Python or IDL sees of ^C: a process that catches SIGINT is told EINTR by the call that it waits in.
fn caught_signal(place: &Path) {
    let daemon = launch(place);
    let mut waiting = Command::new(std::env::current_exe().unwrap())
        .env("CRDS_FS_TEST_OPEN", place.join("stalled"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its word that it catches the signal, which is sent until the open has begun and hears it.
    waiting.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let pid = Pid::from_raw(i32::try_from(waiting.id()).unwrap());
    let mut status = None;
    eventually("it is told", || {
        kill(pid, Signal::SIGINT).unwrap();
        status = waiting.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(libc::EINTR));
    assert!(daemon.stop().unwrap().success());
}

/// What that process does; the errno is its exit status.
fn open_interruptibly(path: &Path) -> ! {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    #[expect(unsafe_code, reason = "handlers of signals are unsafe")]
    // SAFETY: a handler that does nothing is safe in every signal.
    unsafe {
        sigaction(Signal::SIGINT, &action).unwrap();
    }
    println!();
    // Not `File::open`, which would try again.
    let opened = nix::fcntl::open(path, OFlag::O_RDONLY, Mode::empty());
    std::process::exit(opened.err().map_or(0, |errno| errno as i32))
}

/// In a process of its own, since there is no way back.
fn private_namespace(place: &Path) {
    let outer = daemon::launch(DaemonMode::Attached, |ready| {
        if let Err(error) = namespace::enter() {
            ready.failed(&error.to_string());
            return 1;
        }
        let inner = launch(place);
        assert_eq!(text(place), "hello");
        ready.ready("").unwrap();
        u8::from(!inner.wait().unwrap().success())
    });
    let outer = outer.unwrap_or_else(|error| panic!("{error}"));
    assert!(!is_mounted(place));
    assert!(fs::metadata(place.join("text")).is_err());
    outer.stop().unwrap();
}

/// As root this makes itself an ordinary user, with a device that is open to all as on most machines.
fn ordinary_user(place: &Path) {
    if !nix::unistd::geteuid().is_root() {
        return as_user(place);
    }
    let script = "set -e; mount --make-rprivate /; mknod $1/fuse c 10 229; chmod 666 $1/fuse; \
                  mount --bind $1/fuse /dev/fuse; shift; \
                  exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$@\"";
    let (devices, ours) = (place.join("devices"), place.join("ours"));
    for directory in [&devices, &ours] {
        fs::create_dir(directory).unwrap();
        nix::unistd::chown(directory, Some(65534.into()), Some(65534.into())).unwrap();
    }
    // The directory of a test is closed to other users; so is that of the build, hence the copy.
    fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args([&devices, &program])
        .env("CRDS_FS_TEST_AS_USER", &ours)
        // The real one may lead through directories that are closed to others.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .status()
        .expect("unshare: apt install util-linux");
    assert!(status.success());
}

/// What the ordinary user does.
fn as_user(directory: &Path) {
    let place: PathBuf = directory.join("mnt");
    fs::create_dir(&place).unwrap();
    if Path::new("/usr/bin/fusermount3").exists() {
        through_fusermount(&place);
    } else {
        let error = daemon::launch(DaemonMode::Attached, |ready| serve(&place, ready)).unwrap_err();
        assert!(error.to_string().contains("install the package fuse3"), "{error}");
    }
    private_namespace(&place);
}

fn through_fusermount(place: &Path) {
    let daemon = launch(place);
    let entry = mountinfo::at(place).unwrap().unwrap();
    assert!(entry.is_ours() && entry.source == "a,test", "{entry:?}");
    assert_eq!(text(place), "hello");
    assert!(daemon.stop().unwrap().success());

    let daemon = launch(place);
    kill(pid(&daemon), Signal::SIGKILL).unwrap();
    daemon.wait().unwrap();
    let daemon = launch(place);
    assert_eq!(text(place), "hello");
    unmount::unmount(place, unmount::How::Plain).unwrap();
    assert!(daemon.wait().unwrap().success());
}
