//! The process that serves a mount: how it starts, how it ends, and what is left when it does not end well.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::mounts;
use crate::rig::{Rig, eventually, fuse, program};

/// A file of the user's own, which needs no server.
const MINE: &str = "pickles/roman/mine.pkl";

/// Offline, with one file in the store; not mounted yet.
fn offline(arguments: &[&str]) -> Rig {
    let arguments = [&["--offline"], arguments].concat();
    let mut rig = Rig::new(&["roman=http://127.0.0.1:1/roman"], &arguments);
    let mine = rig.store().join(MINE);
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    fs::write(mine, "mine").unwrap();
    let home = home(&rig);
    rig.set("HOME", home.to_str().unwrap());
    rig
}

/// A directory for the logs, apart from the store.
fn home(rig: &Rig) -> PathBuf {
    rig.store().with_file_name("home")
}

fn mounted(arguments: &[&str]) -> Rig {
    let mut rig = offline(arguments);
    rig.mount();
    rig
}

fn text(rig: &Rig) -> String {
    String::from_utf8(rig.read(MINE).unwrap()).unwrap()
}

fn is_mounted(rig: &Rig) -> bool {
    mounts::at(&rig.mountpoint().canonicalize().unwrap()).is_some()
}

#[test]
fn a_signal_ends_it_and_the_mount() {
    let mut rig = mounted(&["--read-only", "--fsname", "a,test"]);
    assert_eq!(text(&rig), "mine");
    let refused = fs::write(rig.path("pickles/new"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    let mount = mounts::at(&rig.mountpoint().canonicalize().unwrap()).unwrap();
    assert_eq!((mount.is_ours(), mount.source.as_str()), (true, "a,test"));
    rig.terminate();
    rig.ended();
    assert!(!is_mounted(&rig));
}

#[test]
fn its_users_are_waited_for_after_a_signal() {
    let mut rig = mounted(&[]);
    let mut held = File::open(rig.path(MINE)).unwrap();
    rig.terminate();
    // Still there, and still readable, for who holds it.
    let mut text = String::new();
    held.read_to_string(&mut text).unwrap();
    assert_eq!(text, "mine");
    assert!(is_mounted(&rig));
    drop(held);
    rig.ended();
    assert!(!is_mounted(&rig));
}

#[test]
fn a_second_signal_detaches_it_at_once() {
    let mut rig = mounted(&[]);
    let mut held = File::open(rig.path(MINE)).unwrap();
    detach(&mut rig);
    let mut text = String::new();
    held.read_to_string(&mut text).unwrap();
    assert_eq!(text, "mine", "served to its last user");
    drop(held);
    rig.ended();
}

#[test]
fn a_third_signal_ends_it_whoever_uses_it() {
    let mut rig = mounted(&[]);
    let mut held = File::open(rig.path(MINE)).unwrap();
    detach(&mut rig);
    rig.terminate();
    rig.ended();
    let gone = held.read_to_string(&mut String::new()).unwrap_err();
    assert!(
        matches!(gone.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED)),
        "{gone}"
    );
}

/// Sends two signals, the second when the first was heard, since two that meet count as one.
fn detach(rig: &mut Rig) {
    rig.terminate();
    eventually("the first signal is heard", || rig.log().contains("told to stop"));
    assert!(is_mounted(rig));
    rig.terminate();
    eventually("it is detached", || !is_mounted(rig));
}

#[test]
fn a_dead_mount_is_mended_by_the_next_and_taken_away_by_umount() {
    let mut rig = offline(&[]);
    for _ in 0..3 {
        rig.mount();
        assert_eq!(text(&rig), "mine");
        rig.kill_shared();
        rig.reap();
        let dead = nix::sys::statvfs::statvfs(&rig.mountpoint()).unwrap_err();
        assert_eq!(dead, nix::errno::Errno::ENOTCONN);
    }
    rig.mount();
    assert_eq!(text(&rig), "mine");
    let place = rig.mountpoint().canonicalize().unwrap();
    let here = mounts::all()
        .into_iter()
        .filter(|mount| mount.mountpoint == place)
        .count();
    assert_eq!(here, 1, "the dead ones are gone");
    rig.kill_shared();
    rig.reap();
    let umount = program().arg("umount").arg(&place).status().unwrap();
    assert!(umount.success());
    assert!(!is_mounted(&rig));
}

#[test]
fn mounted_twice_is_refused_and_the_first_goes_on() {
    let mut rig = mounted(&[]);
    let output = program()
        .args(["mount", "--offline"])
        .arg(rig.mountpoint())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("already"), "{said}");
    assert_eq!(text(&rig), "mine");
    rig.umount();
}

/// Mounts below a limit of the shell, and gives the exit status and what was said.
fn mount_limited(rig: &Rig, limit: &str) -> (Option<i32>, String) {
    let output = Command::new("/bin/sh")
        .args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")])
        .arg(program().get_program())
        .args(["mount", "--offline"])
        .arg(rig.mountpoint())
        .arg("--cache")
        .arg(rig.store())
        .env_clear()
        .env("HOME", home(rig))
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A process that ends without a word, here by the signal for a file that grows too large: its log is named.
#[test]
fn who_waits_for_a_process_that_dies_is_told() {
    let rig = offline(&[]);
    let (status, said) = mount_limited(&rig, "-f 0");
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("ended without a word") && said.contains("SIGXFSZ"),
        "{said}"
    );
    let log = home(&rig).join(".local/state/crds-fs").display().to_string();
    assert!(said.contains(&log), "its log is named: {said}");
}

/// It would end without a word when it has the most to do.
#[test]
fn too_few_addresses_are_told_before_anything_is_mounted() {
    let rig = offline(&[]);
    let (status, said) = mount_limited(&rig, "-v 250000");
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("250000 KiB") && said.contains("ulimit -v unlimited"),
        "{said}"
    );
    assert!(!is_mounted(&rig));
    // A soft limit is raised by the process itself.
    let (status, said) = mount_limited(&rig, "-S -v 250000");
    assert_eq!(status, Some(0), "{said}");
    let umount = program().arg("umount").arg(rig.mountpoint()).status().unwrap();
    assert!(umount.success());
}

/// While `run` has its mount, nobody outside sees it.
#[test]
fn a_private_mount_is_seen_by_its_command_alone() {
    let rig = offline(&[]);
    let script = "cat \"$CRDS_PATH/pickles/roman/mine.pkl\" && test -f \"$CRDS_PATH/.crds-fs/status.json\" && echo && read -r go";
    let mut run = program()
        .args(["run", "--offline", "--cache"])
        .arg(rig.store())
        .args(["--", "sh", "-c", script])
        .env("HOME", home(&rig))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut inside = [0; 5];
    run.stdout.as_mut().unwrap().read_exact(&mut inside).unwrap();
    assert_eq!(&inside, b"mine\n");
    assert_eq!(mounts::at(&rig.store().canonicalize().unwrap()), None);
    assert!(!rig.store().join(".crds-fs/status.json").exists());
    run.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(run.wait().unwrap().success());
}

/// The commands of an ordinary user, all of which must succeed: `$1` is the program, `$2` a directory of the user.
const AS_USER: &str = r#"
set -eu
program=$1 cache=$2/cache place=$2/mnt
export HOME=$2
mkdir "$place"
trap '"$program" umount --lazy "$place" 2> /dev/null || true' EXIT
is_mounted() { grep -q " $place .* - fuse.crds-fs a,test " /proc/self/mountinfo; }
pid() { "$program" status --json "$place" | sed -n 's/^  "pid": \([0-9]*\),$/\1/p'; }
mount() { "$program" mount "$place" --offline --cache "$cache" --fsname a,test; }
if command -v fusermount3 > /dev/null; then
    mount
    is_mounted
    test "$(cat "$place/pickles/roman/mine.pkl")" = mine
    process=$(pid)
    kill -TERM "$process"
    while is_mounted || readlink "/proc/$process/exe" > /dev/null; do sleep 0.05; done
    mount
    kill -KILL "$(pid)"
    while "$program" status "$place" > /dev/null 2>&1; do sleep 0.05; done
    mount
    test "$(cat "$place/pickles/roman/mine.pkl")" = mine
    "$program" umount "$place"
    ! is_mounted
else
    ! mount 2> "$2/said"
    grep -q 'the package fuse3 is missing' "$2/said"
fi
"$program" run --offline --cache "$cache" -- sh -c 'test "$(cat "$CRDS_PATH/pickles/roman/mine.pkl")" = mine'
"#;

/// Makes the device open to all, as on most machines, and becomes an ordinary user; `$1` is a directory for the device.
const BECOME_USER: &str = "set -e; mount --make-rprivate /; mknod $1/fuse c 10 229; chmod 666 $1/fuse; \
                           mount --bind $1/fuse /dev/fuse; shift; \
                           exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$@\"";

/// Through fusermount3, and in a namespace. As root this makes itself an ordinary user.
#[test]
fn an_ordinary_user_mounts_and_runs() {
    fuse::require();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap();
    let ours = place.join("ours");
    let mine = ours.join("cache").join(MINE);
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    fs::write(mine, "mine").unwrap();
    let original = program();
    let original = Path::new(original.get_program());
    let output = if nix::unistd::geteuid().is_root() {
        let devices = place.join("devices");
        fs::create_dir(&devices).unwrap();
        let owned = Command::new("chown")
            .args(["-R", "65534:65534"])
            .arg(&ours)
            .status();
        assert!(owned.unwrap().success());
        // The directory of a test is closed to other users; so is that of the build, hence the copy.
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        let copy = place.join("crds-fs");
        fs::copy(original, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        Command::new("unshare")
            .args(["-m", "sh", "-c", BECOME_USER, "sh"])
            .arg(&devices)
            .args(["sh", "-c", AS_USER, "sh"])
            .args([&copy, &ours])
            // The real one may lead through directories that are closed to others.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .expect("unshare: apt install util-linux")
    } else {
        Command::new("sh")
            .args(["-c", AS_USER, "sh"])
            .arg(original)
            .arg(&ours)
            .output()
            .unwrap()
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
