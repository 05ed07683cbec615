//! Files that are held.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::origin::Origin;
use crate::rig::Rig;
use crate::{DARK, FLAT, content, server_flag};

const NEW: &str = "roman_wfi_new_0001.asdf";

fn path(name: &str) -> PathBuf {
    Path::new("references/roman").join(name)
}

/// The quota asks for room that is only in a file that is held: that one stays, also after a restart.
#[test]
fn what_is_held_survives_eviction_and_restarts() {
    let origin = Origin::start(content().file(NEW, 300_000));
    let mut rig = Rig::mounted(
        &[&server_flag(&origin)],
        &["--cache-size", "500000", "--keep-free", "0"],
    );
    rig.read(path(DARK)).unwrap();
    rig.settle();
    let hold = rig.path(".crds-fs/hold");
    fs::write(&hold, format!("hold roman/{DARK}\n")).unwrap();
    for _ in 0..2 {
        assert_eq!(rig.read(path(NEW)), Err(libc::ENOSPC), "{}", rig.log());
        assert!(rig.store().join(path(DARK)).exists());
        rig.umount();
        rig.mount();
    }
    assert!(
        rig.log().contains("300000 bytes are held: 'crds-fs release'"),
        "{}",
        rig.log()
    );
    assert_eq!(fs::read_to_string(&hold).unwrap(), format!("hold roman/{DARK}\n"));
    fs::write(&hold, format!("release roman/{DARK}\n")).unwrap();
    let begun = std::time::Instant::now();
    while rig.read(path(NEW)).is_err() {
        assert!(begun.elapsed() < crate::rig::PATIENCE, "{}", rig.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    rig.settle();
    assert!(!rig.store().join(path(DARK)).exists());
}

#[test]
fn the_file_that_takes_holds_has_defined_errors() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let hold = rig.path(".crds-fs/hold");
    let errno = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error());
    assert_eq!(fs::metadata(&hold).unwrap().len(), 0);
    let written = fs::write(&hold, format!("hold roman/{FLAT}\nnonsense\n"));
    assert_eq!(errno(written), Some(libc::EINVAL));
    assert_eq!(
        fs::read_to_string(&hold).unwrap(),
        "",
        "all lines of a write or none"
    );
    // What is written are changes, wherever; emptying the file changes nothing.
    fs::write(&hold, format!("hold roman/{FLAT}\n")).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&hold).unwrap();
    write!(file, "hold roman/{DARK}\nrelease ").unwrap();
    let both = format!("hold roman/{DARK}\nhold roman/{FLAT}\n");
    assert_eq!(fs::read_to_string(&hold).unwrap(), both);
    write!(file, "roman/{FLAT}").unwrap();
    drop(file);
    let one = format!("hold roman/{DARK}\n");
    assert_eq!(
        fs::read_to_string(&hold).unwrap(),
        one,
        "a last line counts at close"
    );
    assert_eq!(
        fs::metadata(&hold).unwrap().len(),
        u64::try_from(one.len()).unwrap()
    );
    assert_eq!(errno(fs::remove_file(&hold)), Some(libc::EROFS));
    let file = fs::OpenOptions::new().write(true).open(&hold).unwrap();
    assert_eq!(errno(file.set_len(0)), None);
    assert_eq!(errno(file.set_len(5)), Some(libc::EINVAL));
    assert_eq!(fs::read_to_string(&hold).unwrap(), one);
    drop(file);
    rig.umount();
    assert_eq!(
        fs::read_to_string(rig.store().join(".crds-fs/hold")).unwrap(),
        one
    );
    rig.add_argument("--read-only");
    rig.mount();
    assert_eq!(errno(fs::write(&hold, "")), Some(libc::EROFS));
    assert_eq!(fs::read_to_string(&hold).unwrap(), one);
}
