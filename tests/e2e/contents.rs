//! A catalog that gives a name other contents.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};

use crate::origin::Origin;
use crate::rig::waiting::await_look;
use crate::rig::{Rig, equal, eventually};
use crate::{DARK, FLAT, content, server_flag};

/// Files that are passed through, and files that are kept in the page cache.
const NAMES: [&str; 2] = [DARK, FLAT];

#[test]
fn an_open_file_keeps_its_contents_and_a_new_open_has_the_new_ones() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--catalog-ttl", "100ms"]);
    let path = |name: &str| rig.path("references/roman").join(name);
    let held = NAMES.map(|name| File::open(path(name)).unwrap());
    let old = NAMES.map(|name| origin.contents(name));
    for (file, old) in held.iter().zip(&old) {
        let mut half = vec![0; old.len() / 2];
        file.read_exact_at(&mut half, 0).unwrap();
        assert!(half == old[..half.len()]);
    }
    origin.change(|content| {
        for name in NAMES {
            let newer = content.files[name]
                .iter()
                .rev()
                .copied()
                .chain(*b"longer")
                .collect();
            content.files.insert(name.to_owned(), newer);
        }
    });
    for ((name, file), old) in NAMES.iter().zip(&held).zip(&old) {
        let newer = origin.contents(name);
        eventually("the name has its new contents", || {
            fs::read(path(name)).unwrap() == newer
        });
        assert_eq!(fs::metadata(path(name)).unwrap().len(), newer.len() as u64);
        // As programs do that read a file whole.
        assert_eq!(file.metadata().unwrap().size(), old.len() as u64, "{name}");
        let mut bytes = Vec::new();
        File::read_to_end(&mut file.try_clone().unwrap(), &mut bytes).unwrap();
        assert!(bytes == *old, "{name} changed while it was open");
        assert!(fs::read(path(name)).unwrap() == newer);
    }
}

/// Nobody opens the file anew, and somebody else has the old one open: the name tells the new size, the open file its own.
#[test]
fn a_look_tells_the_new_size_while_somebody_else_has_the_old_file_open() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--catalog-ttl", "100ms"]);
    let path = rig.path("references/roman").join(DARK);
    let old = fs::metadata(&path).unwrap().len();
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let script = "while [ ! -e \"$0\" ]; do sleep 0.01; done; stat -L -c %s /dev/stdin";
    let holder = Command::new("sh")
        .args(["-c", script])
        .arg(&go)
        .stdin(File::open(&path).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    origin.change(|content| {
        let longer = content.files[DARK].iter().copied().chain(*b"longer").collect();
        content.files.insert(DARK.to_owned(), longer);
    });
    let told = await_look(|| equal(fs::metadata(&path).unwrap().len(), old + 6));
    fs::write(&go, "").unwrap();
    told.expect("the new size is told");
    let size = holder.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&size).trim(), old.to_string());
}

/// Somebody writes into the copy in the store, and puts its time back, while others have the file open: who has it open sees
/// it, who opens it now, or once the others have closed it, gets what the catalog says.
#[test]
fn a_file_damaged_while_it_is_open_is_not_given_to_who_opens_it_next() {
    for (name, is_closed_first) in NAMES.into_iter().flat_map(|name| [(name, false), (name, true)]) {
        let origin = Origin::start(content());
        let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
        let path = format!("references/roman/{name}");
        let right = origin.contents(name);
        let held = File::open(rig.path(&path)).unwrap();
        let stored = rig.store().join(&path);
        // A copy has its name a moment after it is opened.
        rig.settle();
        let before = fs::metadata(&stored).unwrap().modified().unwrap();
        let copy = File::options().write(true).open(&stored).unwrap();
        copy.write_all_at(b"damaged", (right.len() / 2) as u64).unwrap();
        copy.set_modified(before).unwrap();
        drop(copy);
        // Below 64 KiB the kernel keeps these pages.
        let mut seen = vec![0; right.len()];
        held.read_exact_at(&mut seen, 0).unwrap();
        assert!(
            seen[right.len() / 2..].starts_with(b"damaged"),
            "{name}: {}",
            rig.log()
        );
        if is_closed_first {
            drop(held);
            assert!(rig.read(&path).unwrap() == right, "{name}, closed: {}", rig.log());
            continue;
        }
        assert!(rig.read(&path).unwrap() == right, "{name}: {}", rig.log());
        held.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(held.metadata().unwrap().len(), right.len() as u64);
        assert!(rig.read(&path).unwrap() == right, "{name}, again: {}", rig.log());
        drop(held);
        assert!(rig.read(&path).unwrap() == right, "{name}, later: {}", rig.log());
    }
}
