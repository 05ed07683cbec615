//! A disk that is really full: a small file system in a mount namespace of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The variable that marks the process in the mount namespace.
const INSIDE: &str = "CRDS_FS_TEST_INSIDE";

/// Runs the test of this name again, in a process with a mount namespace of its own. `true` in that process.
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

/// Mounts a file system of `bytes` bytes at `path`.
pub(crate) fn shrink(path: &Path, bytes: usize) -> Small {
    let size = format!("size={bytes},mode=0755");
    let nothing = None::<&str>;
    // Mounts made from here on stay in this namespace.
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
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(size.as_str()),
    )
    .unwrap();
    Small(path.to_owned())
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Fills the file system with a file, as another program would.
pub(crate) fn fill(path: &Path) {
    let mut file = fs::File::create(path.join("filler")).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
}
