//! The server is gone: what was fetched reads, what was asked resolves, everything else fails at once.

use std::fs;

use serde_json::json;

use crate::library::Library;
use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, program};
use crate::{DARK, FLAT, PMAP, content, server_flag};

fn origin() -> Origin {
    let answers = [(
        PMAP.to_owned(),
        json!({"dark": DARK, "flat": FLAT, "area": "NOT FOUND n/a"}),
    )]
    .into();
    let datasets = [("SET.WFI01".to_owned(), (json!({"A": "1"}), answers))].into();
    Origin::start(Content {
        datasets,
        ..content()
    })
}

#[test]
fn a_restart_without_server_has_what_was_there() {
    let origin = origin();
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let (dark, flat) = (
        format!("bestrefs/{PMAP}/SET.WFI01/dark"),
        format!("references/roman/{FLAT}"),
    );
    assert_eq!(rig.read(&dark).unwrap(), origin.contents(DARK));
    let listed = names(&rig, "references/roman");
    rig.umount();
    origin.refuse();
    for (argument, errno) in [(None, libc::EHOSTUNREACH), (Some("--offline"), libc::ENETDOWN)] {
        if let Some(argument) = argument {
            rig.add_argument(argument);
        }
        rig.mount();
        assert_eq!(names(&rig, "references/roman"), listed);
        assert_eq!(fs::metadata(rig.path(&flat)).unwrap().len(), 20_000);
        assert_eq!(
            rig.read(format!("references/roman/{DARK}")).unwrap(),
            origin.contents(DARK)
        );
        assert_eq!(rig.read(&dark).unwrap(), origin.contents(DARK), "answers survive");
        assert_eq!(
            rig.read("bestrefs/roman-latest/set.wfi01/area"),
            Err(libc::ENOENT)
        );
        assert_eq!(rig.read(&flat), Err(errno));
        // By its bare name too, with the reason and what helps.
        let output = program()
            .args(["status", FLAT])
            .env("CRDS_PATH", rig.mountpoint())
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.starts_with(&format!("{flat}: remote")), "{told}");
        let reason = argument.map_or("cannot be reached", |_| "mount without --offline");
        assert!(told.contains("failed:") && told.contains(reason), "{told}");
        assert_eq!(rig.read(format!("bestrefs/{PMAP}/OTHER.WFI01/dark")), Err(errno));
        rig.umount();
    }
}

#[test]
fn the_first_mount_may_be_without_server() {
    let origin = origin();
    origin.refuse();
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.mount_untouched();
    assert!(names(&rig, ".").contains(&"references".to_owned()));
    assert!(
        fs::read(rig.path("config/roman/server_config")).is_ok(),
        "always present and readable"
    );
    assert!(rig.read(format!("references/roman/{DARK}")).is_err());
}

/// An ordinary cache that somebody else filled is used as it is; what is wrong in it is put aside, never served.
#[test]
fn an_existing_cache_is_adopted_and_verified() {
    let origin = origin();
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    let directory = rig.store().join("references/roman");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(DARK), origin.contents(DARK)).unwrap();
    let mut wrong = origin.contents(FLAT);
    wrong[100] ^= 1;
    fs::write(directory.join(FLAT), &wrong).unwrap();
    rig.mount();
    assert_eq!(
        rig.read(format!("references/roman/{DARK}")).unwrap(),
        origin.contents(DARK)
    );
    assert_eq!(origin.asked(DARK), []);
    assert_eq!(
        rig.read(format!("references/roman/{FLAT}")).unwrap(),
        origin.contents(FLAT),
        "fetched anew"
    );
    let aside = fs::read_dir(rig.store().join(".crds-fs/quarantine")).unwrap();
    let aside: Vec<_> = aside
        .map(|entry| fs::read(entry.unwrap().path()).unwrap_or_default())
        .collect();
    assert!(aside.contains(&wrong), "kept, not deleted");
}

/// A server that is down when the catalog is asked for again costs nothing but the news.
#[test]
fn a_catalog_that_cannot_be_refreshed_stays() {
    let origin = origin();
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--catalog-ttl", "1s"]);
    let listed = names(&rig, "references/roman");
    origin.set_calls(Behaviour::Html);
    assert_eq!(
        rig.read("references/roman/roman_wfi_area_0001.asdf"),
        Err(libc::ENOENT)
    );
    assert_eq!(names(&rig, "references/roman"), listed);
    assert_eq!(
        rig.read(format!("references/roman/{DARK}")).unwrap(),
        origin.contents(DARK)
    );
}

#[test]
fn after_umount_the_store_is_an_ordinary_cache() {
    let mut library = Library::demo();
    let mut rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let path = "references/roman/roman_wfi_gain_0001.json";
    rig.read(path).unwrap();
    rig.umount();
    library.stop();
    assert_eq!(
        fs::read(rig.store().join(path)).unwrap(),
        fs::read(library.cache.join(path)).unwrap()
    );
    assert_eq!(
        fs::read(rig.store().join("config/roman/ref_cache_subdir_mode")).unwrap(),
        b"flat"
    );
    assert!(rig.store().join("config/roman/server_config").is_file());
}

fn names(rig: &Rig, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(rig.path(directory)).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
