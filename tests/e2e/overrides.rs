//! The user's own files in place of catalogued ones: whatever happens beside them, none is lost, moved or taken for a copy.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Barrier;

use crate::origin::Origin;
use crate::rig::{Rig, eventually, within};
use crate::{DARK, content, server_flag};

const VICTIMS: usize = 300;
const LARGE: &str = "roman_wfi_large_0001.asdf";

fn victim(number: usize) -> String {
    format!("roman_wfi_mask_{number:04}.asdf")
}

fn mine(number: usize) -> String {
    format!("this is mine: {number}")
}

fn references() -> PathBuf {
    PathBuf::from("references/roman")
}

/// One large file makes all small ones go, while the user renames own files over their names.
#[test]
fn files_renamed_over_victims_of_eviction_stay() {
    let content = (0..VICTIMS).fold(content(), |content, number| {
        content.file(&victim(number), 100_000)
    });
    let origin = Origin::start(content.file(LARGE, 30_000_000));
    let mut rig = Rig::mounted(
        &[&server_flag(&origin)],
        &["--cache-size", "30600000", "--keep-free", "0"],
    );
    for number in 0..VICTIMS {
        rig.read(references().join(victim(number))).unwrap();
        fs::write(
            rig.path(references()).join(format!(".mine{number}")),
            mine(number),
        )
        .unwrap();
    }
    // Overrides count too and cannot be evicted: room for the large file remains.
    let begun = Barrier::new(2);
    std::thread::scope(|scope| {
        let (rig, begun) = (&rig, &begun);
        scope.spawn(move || {
            begun.wait();
            rig.read(references().join(LARGE))
        });
        scope.spawn(move || {
            // Against the order of eviction, so that they meet.
            for number in (0..VICTIMS).rev() {
                if number == VICTIMS - 20 {
                    begun.wait();
                }
                let directory = rig.path(references());
                fs::rename(
                    directory.join(format!(".mine{number}")),
                    directory.join(victim(number)),
                )
                .unwrap();
            }
        });
    });
    for remounted in [false, true] {
        let lost: Vec<usize> = (0..VICTIMS)
            .filter(|number| {
                rig.read(references().join(victim(*number))).ok() != Some(mine(*number).into_bytes())
            })
            .collect();
        assert!(
            lost.is_empty(),
            "{} of {VICTIMS} are lost (remounted: {remounted}): {lost:?}",
            lost.len()
        );
        rig.umount();
        rig.mount();
    }
    assert!(!rig.store().join(".crds-fs/quarantine").exists());
}

/// A link is what the user wanted there; its target is for whoever opens it.
#[test]
fn an_override_that_is_a_symbolic_link_stays_one() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "outside").unwrap();
    let path = rig.path(references()).join(DARK);
    rig.read(references().join(DARK)).unwrap();
    let link = rig.path(references()).join(".link");
    symlink(outside.path(), &link).unwrap();
    fs::rename(&link, &path).unwrap();
    for _ in 0..3 {
        assert_eq!(fs::read_link(&path).unwrap(), outside.path());
        assert_eq!(fs::read(&path).unwrap(), b"outside");
        let status = fs::read_to_string(rig.path(".crds-fs/status.json")).unwrap();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(
            status["local_overrides"],
            serde_json::json!([format!("roman/{DARK}")]),
            "{}",
            rig.log()
        );
        rig.umount();
        assert_eq!(
            fs::read_link(rig.store().join(references()).join(DARK)).unwrap(),
            outside.path()
        );
        rig.mount();
    }
    assert!(!rig.store().join(".crds-fs/quarantine").exists());
    fs::remove_file(&path).unwrap();
    let (read, contents) = (path.clone(), origin.contents(DARK));
    assert!(within(move || fs::read(read).unwrap()) == contents);
}

/// A file of the user's own has a name that a later catalog has as well: it stays, as an override.
#[test]
fn a_file_whose_name_is_catalogued_later_stays_the_users() {
    const MADE: &str = "roman_wfi_mine_0001.asdf";
    const RENAMED: &str = "roman_wfi_mine_0002.asdf";
    const REMOVED: &str = "roman_wfi_mine_0003.asdf";
    const OTHER: &str = "roman_wfi_other_0001.asdf";
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let directory = rig.path(references());
    fs::write(directory.join(MADE), "mine").unwrap();
    fs::write(directory.join(".new"), "mine").unwrap();
    fs::rename(directory.join(".new"), directory.join(RENAMED)).unwrap();
    fs::write(directory.join(REMOVED), "mine").unwrap();
    fs::remove_file(directory.join(REMOVED)).unwrap();
    origin.change(|content| {
        *content = [MADE, RENAMED, REMOVED, OTHER]
            .iter()
            .fold(std::mem::take(content), |content, name| {
                content.file(name, 30_000)
            });
    });
    // A name that is missing has a newer catalog asked for.
    eventually("the newer catalog comes", || rig.read(references().join(OTHER)));
    for _ in 0..2 {
        for name in [MADE, RENAMED] {
            assert_eq!(rig.read(references().join(name)).unwrap(), b"mine", "{name}");
        }
        assert!(rig.read(references().join(REMOVED)).unwrap() == origin.contents(REMOVED));
        assert!(!rig.store().join(".crds-fs/quarantine").exists(), "{}", rig.log());
        rig.umount();
        rig.mount();
    }
}
