//! A mount as others start it: by a service manager that is told how it is, or on a device that is handed over.

use std::fs::{self, File};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use crate::origin::Origin;
use crate::rig::{PATIENCE, Rig, fuse, program};
use crate::{DARK, content, mounts, server_flag};

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn start(test: &str) -> Self {
        let name = format!("crds-fs-test-{}-{test}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name }
    }

    fn variable(&self) -> String {
        format!("@{}", self.name)
    }

    fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Nothing but that namespaces of other tests, which begin with a copy of all mounts, keep the mount.
    fn hears_no_more(&self) {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let nothing = loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) if buffer[..length].starts_with(b"STATUS=unmounted here, and going on") => {}
                other => break other.map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()),
            }
        };
        self.socket.set_nonblocking(false).unwrap();
        assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_service_manager_is_told_of_a_mount_and_of_its_end() {
    let origin = Origin::start(content());
    let manager = Manager::start("told");
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.set("NOTIFY_SOCKET", &manager.variable());
    rig.mount();
    let ready = manager.message();
    assert!(ready.starts_with("READY=1\nSTATUS=roman at '"), "{ready}");

    // A file that is open keeps it from being unmounted, which is told.
    let reader = File::open(rig.path(format!("references/roman/{DARK}"))).unwrap();
    rig.terminate();
    assert_eq!(manager.message(), "STOPPING=1\nSTATUS=unmounting\n");
    let busy = manager.message();
    assert!(busy.starts_with("STATUS=") && busy.contains("in use"), "{busy}");
    drop(reader);
    rig.ended();
    manager.hears_no_more();

    // Unmounted by others.
    rig.mount();
    assert!(manager.message().starts_with("READY=1\n"));
    rig.umount();
    assert_eq!(manager.message(), "STOPPING=1\nSTATUS=unmounted\n");
}

#[test]
fn a_service_manager_is_told_why_there_is_no_mount() {
    let origin = Origin::start(content());
    let manager = Manager::start("failed");
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.set("NOTIFY_SOCKET", &manager.variable());
    fs::remove_dir(rig.mountpoint()).unwrap();
    fs::write(rig.mountpoint(), "a file").unwrap();
    assert!(!rig.try_mount());
    let failed = manager.message();
    assert!(
        failed.starts_with("STATUS=") && failed.contains("directory"),
        "{failed}"
    );
}

/// A service that mounts in the background, or runs a command on a private mount, speaks for itself.
#[test]
fn a_mount_in_the_background_tells_the_service_manager_nothing() {
    fuse::require();
    let manager = Manager::start("background");
    let place = tempfile::tempdir().unwrap();
    let mountpoint = place.path().join("mnt");
    let crds_fs = |arguments: &[&str]| {
        let mut command = program();
        command.args(arguments).env("NOTIFY_SOCKET", manager.variable());
        command.env("HOME", place.path());
        command
    };
    let mounted = crds_fs(&["mount", "--offline"])
        .arg(&mountpoint)
        .output()
        .unwrap();
    assert!(mounted.status.success(), "{mounted:?}");
    let unmounted = crds_fs(&["umount"]).arg(&mountpoint).status().unwrap();
    assert!(unmounted.success());
    let run = crds_fs(&["run", "--offline", "--", "sh", "-c", "test -n \"$NOTIFY_SOCKET\""]).status();
    assert!(run.unwrap().success());
    manager.hears_no_more();
}

/// `$1` is the program, `$2` the mount point, `$3` the cache, `$4` a file below the mount point.
const HANDS_OVER: &str = r#"
set -eu
exec 5<>/dev/fuse
mount -i -t fuse.crds-fs -o fd=5,rootmode=40000,user_id=0,group_id=0,default_permissions handed-over "$2"
"$1" mount /dev/fd/5 --cache "$3" --offline --log-file "$3.log"
exec 5>&-
test "$(cat "$2/$4")" = mine
pid=$("$1" status --json "$2" | sed -n 's/^  "pid": \([0-9]*\),$/\1/p')
umount "$2"
# It ends with the connection.
while readlink "/proc/$pid/exe" >/dev/null; do sleep 0.05; done
"#;

#[test]
fn a_device_that_is_mounted_already_is_served() {
    fuse::require();
    let place = tempfile::tempdir().unwrap();
    let (mountpoint, cache) = (place.path().join("mnt"), place.path().join("cache"));
    let file = "pickles/roman/mine.pkl";
    fs::create_dir(&mountpoint).unwrap();
    fs::create_dir_all(cache.join("pickles/roman")).unwrap();
    fs::write(cache.join(file), "mine").unwrap();
    let output = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            HANDS_OVER,
            "sh",
        ])
        .arg(program().get_program())
        .args([&mountpoint, &cache])
        .arg(file)
        .output()
        .expect("unshare: apt install util-linux");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("mounted at"), "{said}");
    assert!(!said.contains("CRDS_PATH=/dev/fd"), "{said}");
    assert_eq!(mounts::at(&mountpoint.canonicalize().unwrap()), None);
}
