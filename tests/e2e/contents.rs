//! A catalog that gives a name other contents.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Instant;

use crate::origin::Origin;
use crate::rig::{PATIENCE, Rig};
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
    let begun = Instant::now();
    for ((name, file), old) in NAMES.iter().zip(&held).zip(&old) {
        let newer = origin.contents(name);
        while fs::read(path(name)).unwrap() != newer {
            assert!(begun.elapsed() < PATIENCE, "{name} still has its old contents");
        }
        assert_eq!(fs::metadata(path(name)).unwrap().len(), newer.len() as u64);
        // As programs do that read a file whole.
        assert_eq!(file.metadata().unwrap().size(), old.len() as u64, "{name}");
        let mut bytes = Vec::new();
        File::read_to_end(&mut file.try_clone().unwrap(), &mut bytes).unwrap();
        assert!(bytes == *old, "{name} changed while it was open");
        assert!(fs::read(path(name)).unwrap() == newer);
    }
}
