//! Mounts that start at the same moment on a new store, on file systems that show names late and lose replies.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::double::Options;
use crate::mounts::{FLAT, Mounts, PMAP, content};

/// Names that others made stay absent also for who was told that they are there.
fn stubborn() -> Options {
    Options {
        absent: (0.2, 0.6),
        stubborn: true,
        ..Options::default()
    }
}

/// That all agree on everything that whoever comes first decides.
fn agree(options: Options) {
    let mut mounts = Mounts::new(4, options, &["--shared"], content());
    mounts.start();
    let states: Vec<_> = fs::read_dir(mounts.state())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(states.len(), 1, "{states:?}");
    let own = mounts.store().join(".crds-fs");
    let marker = fs::read_to_string(own.join("shared")).unwrap();
    let id = marker.lines().next().unwrap();
    assert_eq!(states[0].file_name().to_str(), Some(&*format!("shared-{id}")));
    assert_eq!(fs::read_dir(states[0].path()).unwrap().count(), 4);
    assert_eq!(fs::read_to_string(own.join("format")).unwrap(), "1\n");
    for observatory in ["hst", "jwst", "roman"] {
        let tag = mounts
            .store()
            .join("config")
            .join(observatory)
            .join("ref_cache_subdir_mode");
        assert_eq!(fs::read_to_string(tag).unwrap(), "flat");
    }
    mounts.read(&format!("mappings/roman/{PMAP}"));
    mounts.read(&format!("references/roman/{FLAT}"));
    for rig in &mut mounts.rigs {
        rig.umount();
    }
    // Nothing is left of what was on its way.
    for directory in [
        own.join("incoming"),
        own.clone(),
        mounts.store().join("config/roman"),
    ] {
        for entry in fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains('~'), "{name}");
        }
    }
}

#[test]
fn mounts_agree_where_names_of_others_come_late() {
    agree(stubborn());
}

#[test]
fn mounts_agree_where_replies_are_lost() {
    agree(Options {
        lost: 100,
        ..stubborn()
    });
}

#[test]
fn mounts_agree_where_a_file_has_one_name_only() {
    agree(Options {
        links: false,
        ..stubborn()
    });
}

/// Files that killed mounts have left are removed when they are old, and those that others are about to use stay, whatever time
/// the clocks of the nodes show.
#[test]
fn ages_are_told_by_the_clock_of_the_server() {
    for clock in [-86_400, 86_400] {
        let options = Options {
            clock,
            ..Options::default()
        };
        let mut mounts = Mounts::new(1, options, &["--shared"], content());
        let incoming = mounts.store().join(".crds-fs/incoming");
        fs::create_dir_all(&incoming).unwrap();
        let [young, old] = ["young", "old"].map(|name| incoming.join(name));
        fs::write(&young, "").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(7200);
        fs::File::create(&old).unwrap().set_modified(long_ago).unwrap();
        mounts.start();
        mounts.read(&format!("mappings/roman/{PMAP}"));
        // The end waits for what goes on in the background.
        mounts.rigs[0].umount();
        assert_eq!((young.exists(), old.exists()), (true, false), "{clock} s ahead");
    }
}
