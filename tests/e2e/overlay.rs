//! Other file systems on a mount, and a store on one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::origin::Origin;
use crate::rig::Rig;
use crate::{FLAT, content, server_flag};

/// The number by which statfs(2) tells an overlay.
const OVERLAY: u64 = 0x794c_7630;

/// A command in a mount namespace of its own, where it may mount.
fn in_private(script: &str, arguments: &[&Path]) -> Output {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["sh", "-c", script, "sh"])
        .args(arguments)
        .output()
        .expect("unshare of util-linux is installed")
}

#[test]
fn an_overlay_lies_on_a_mount() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let under = rustix::fs::statfs(rig.store()).unwrap().f_type;
    assert!(
        u64::try_from(under).unwrap() != OVERLAY,
        "'{}' lies on an overlay, and Linux stacks no third file system on it: set TMPDIR to a directory that does not",
        rig.store().display()
    );
    // Large enough to be passed through, and open while the overlay is made.
    rig.read(format!("references/roman/{}", crate::DARK)).unwrap();
    let beside = rig.store().with_file_name("overlay");
    for directory in ["upper", "work", "merged"] {
        fs::create_dir_all(beside.join(directory)).unwrap();
    }
    let script = r#"
        set -e
        user=; [ "$(cat /proc/self/uid_map | tr -s ' ')" = " 0 0 4294967295" ] || user=,userxattr
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work$user" "$2/merged"
        echo mine > "$2/merged/references/roman/mine"
        cat "$2/merged/references/roman/$3"
    "#;
    let read = in_private(script, &[&rig.mountpoint(), &beside, Path::new(FLAT)]);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert!(
        read.stdout == origin.contents(FLAT),
        "the file differs through the overlay"
    );
    assert_eq!(
        fs::read_to_string(beside.join("upper/references/roman/mine")).unwrap(),
        "mine\n"
    );
    assert!(!rig.path("references/roman/mine").exists());
}
