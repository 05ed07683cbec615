//! More files open than the process can have: no more can be opened, and everything else goes on.

use std::fs::{self, File};
use std::io::Read;

use serde_json::Value;

use crate::origin::Origin;
use crate::rig::{Rig, eventually};
use crate::{DARK, content, server_flag};

const LIMIT: u32 = 128;
const ENFILE: i32 = 23;

fn name(number: u32) -> String {
    format!("references/roman/roman_wfi_mask_{number:04}.asdf")
}

#[test]
fn when_as_many_files_are_open_as_can_be_all_else_goes_on() {
    let content = (0..LIMIT).fold(content(), |content, number| {
        content.file(name(number).rsplit_once('/').unwrap().1, 1_000 + number as usize)
    });
    let origin = Origin::start(content);
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.limit_descriptors(LIMIT);
    rig.mount();
    let mut open = Vec::new();
    let refused = loop {
        let number = u32::try_from(open.len()).unwrap();
        match File::open(rig.path(name(number))) {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
        assert!(
            number < LIMIT - 1,
            "{LIMIT} files are open with {LIMIT} descriptors"
        );
    };
    assert_eq!(refused.raw_os_error(), Some(ENFILE), "{refused}");
    assert!(open.len() >= 32, "only {} files can be open", open.len());
    let new = rig.path("references/roman/new.asdf");
    assert_eq!(File::create(&new).unwrap_err().raw_os_error(), Some(ENFILE));

    assert_eq!(
        fs::read_dir(rig.path("references/roman")).unwrap().count(),
        LIMIT as usize + 2
    );
    fs::create_dir(rig.path("references/roman/mine")).unwrap();
    fs::rename(
        rig.path("references/roman/mine"),
        rig.path("references/roman/ours"),
    )
    .unwrap();
    let status: Value = serde_json::from_slice(&rig.read(".crds-fs/status.json").unwrap()).unwrap();
    let descriptors = &status["descriptors"];
    assert_eq!(descriptors["limit"], LIMIT);
    assert_eq!(descriptors["open_files_limit"], open.len());
    assert!(
        descriptors["open"].as_u64().unwrap() < u64::from(LIMIT),
        "{descriptors}"
    );
    let told = rig.log().matches("files are open through the mount").count();
    assert_eq!(told, 1, "{}", rig.log());

    // A place that is given back is enough for a file that must be fetched.
    drop(open.pop());
    // The kernel tells of a close a moment later.
    let dark = eventually("a place is given back", || {
        rig.read(format!("references/roman/{DARK}"))
    });
    assert!(dark == origin.contents(DARK));
    for (number, mut file) in open.iter().enumerate() {
        let right = origin.contents(name(u32::try_from(number).unwrap()).rsplit_once('/').unwrap().1);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == right, "{number}");
    }
    drop(open);
    rig.umount();
}

/// The limit that a login shell sets is not the one that counts.
#[test]
fn the_limit_is_raised_as_far_as_it_may_be() {
    let origin = Origin::start(content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.limit_soft_descriptors(64);
    rig.mount();
    let status: Value = serde_json::from_slice(&rig.read(".crds-fs/status.json").unwrap()).unwrap();
    assert!(
        status["descriptors"]["limit"].as_u64().unwrap() > 64,
        "{}",
        status["descriptors"]
    );
    rig.umount();
}
