//! A store into which somebody has put pipes, sockets, links and directories in place of files: nothing hangs, nothing outside
//! is touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::origin::{Behaviour, Origin};
use crate::rig::{Rig, within};
use crate::{DARK, FLAT, PMAP, content, server_flag};

/// Files in which crds-fs itself keeps something.
const OWN: [&str; 9] = [
    ".crds-fs/lock",
    ".crds-fs/format",
    ".crds-fs/CACHEDIR.TAG",
    ".crds-fs/order",
    ".crds-fs/verified/roman",
    ".crds-fs/notes/bestrefs",
    "config/roman/server_config",
    "config/roman/ref_cache_subdir_mode",
    "config/roman/bad_files.txt",
];
/// Final and temporary names of files of the catalog.
const FILES: [&str; 4] = [
    "references/roman/roman_wfi_flat_0001.asdf",
    "mappings/roman/roman_0001.pmap",
    ".crds-fs/partial/roman/roman_wfi_flat_0001.asdf",
    ".crds-fs/partial/roman/roman_wfi_flat_0001.asdf~record",
];

fn put_fifo(place: &Path) {
    mknodat(CWD, place, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A rig whose store was used before, not mounted.
fn used(origin: &Origin) -> Rig {
    let mut rig = Rig::mounted(&[&server_flag(origin)], &[]);
    rig.read(format!("references/roman/{DARK}")).unwrap();
    rig.umount();
    rig
}

/// Nothing, and its directory.
fn clear(place: &Path) {
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    let _ = fs::remove_file(place);
}

/// Everything works, with whatever lies in the store.
fn works(rig: &mut Rig, origin: &Origin, what: &str) {
    rig.mount();
    for (directory, name) in [("references", DARK), ("references", FLAT), ("mappings", PMAP)] {
        let path = rig.path(directory).join("roman").join(name);
        let read = within(move || fs::read(path));
        match read {
            Ok(read) => assert!(read == origin.contents(name), "{what}: {name}"),
            Err(error) => panic!("{what}: {name}: {error}: {}", rig.log()),
        }
    }
    assert!(fs::read(rig.path("config/roman/server_config")).unwrap().len() > 100);
    rig.umount();
}

#[test]
fn pipes_and_sockets_in_the_store_hang_nothing() {
    let origin = Origin::start(content());
    for place in OWN.into_iter().chain(FILES) {
        let mut rig = used(&origin);
        let at = rig.store().join(place);
        clear(&at);
        put_fifo(&at);
        works(&mut rig, &origin, &format!("a pipe at {place}"));
        clear(&at);
        // Names of sockets are short: it is made elsewhere.
        let socket = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(socket.path().join("s")).unwrap();
        fs::rename(socket.path().join("s"), &at).unwrap();
        works(&mut rig, &origin, &format!("a socket at {place}"));
    }
}

#[test]
fn links_in_the_places_of_crds_fs_lead_nowhere() {
    let origin = Origin::start(content());
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    for place in OWN.into_iter().chain(FILES.into_iter().skip(2)) {
        for hard in [false, true] {
            let mut rig = used(&origin);
            fs::write(&secret, "secret").unwrap();
            let at = rig.store().join(place);
            clear(&at);
            if hard {
                fs::hard_link(&secret, &at).unwrap();
            } else {
                symlink(&secret, &at).unwrap();
            }
            if place == ".crds-fs/format" && hard {
                // A format that is not known is refused.
                fs::write(&secret, "1\n").unwrap();
            }
            let before = fs::read(&secret).unwrap();
            works(&mut rig, &origin, &format!("a link (hard: {hard}) at {place}"));
            assert_eq!(fs::read(&secret).unwrap(), before, "{place}, hard: {hard}");
            let _ = fs::remove_file(&secret);
        }
    }
}

/// The daemon is told to go on with a partial file that has another name outside.
#[test]
fn a_partial_file_with_another_name_is_not_written_to() {
    let origin = Origin::start(content());
    let mut rig = used(&origin);
    let path = format!("references/roman/{FLAT}");
    let outside = tempfile::tempdir_in(rig.store()).unwrap();
    let kept = outside.path().join("kept");
    fs::write(&kept, vec![1; 10_000]).unwrap();
    let partials = rig.store().join(".crds-fs/partial/roman");
    fs::create_dir_all(&partials).unwrap();
    fs::hard_link(&kept, partials.join(FLAT)).unwrap();
    let record = serde_json::json!({
        "url": format!("{}/references/{FLAT}", origin.url()),
        "validator": "\"v\"",
        "size": 20_000,
        "parts": [{"start": 0, "end": 20_000, "done": 10_000}],
    });
    fs::write(partials.join(format!("{FLAT}~record")), record.to_string()).unwrap();
    origin.set(FLAT, Behaviour::Well);
    rig.mount();
    assert!(rig.read(&path).unwrap() == origin.contents(FLAT));
    assert!(fs::read(&kept).unwrap() == vec![1; 10_000]);
    rig.umount();
}

/// A verified file is changed in place, and its length and time are as before.
#[test]
fn a_file_changed_in_place_is_not_served() {
    let origin = Origin::start(content());
    let mut rig = used(&origin);
    let file = rig.store().join("references/roman").join(DARK);
    let before = fs::metadata(&file).unwrap();
    let mut wrong = origin.contents(DARK);
    wrong[1000] ^= 1;
    fs::write(&file, &wrong).unwrap();
    let open = fs::File::options().write(true).open(&file).unwrap();
    open.set_modified(before.modified().unwrap()).unwrap();
    drop(open);
    rig.mount();
    assert!(rig.read(format!("references/roman/{DARK}")).unwrap() == origin.contents(DARK));
    rig.umount();
}
