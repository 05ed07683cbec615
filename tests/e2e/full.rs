//! A disk that is really full: the store on a small file system of its own.

use std::fs;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, eventually, within};
use crate::small_disk::{fill, inside, shrink};
use crate::{content, reference, server_flag};

/// A file that gets its blocks as it arrives, unlike larger ones.
const LATE: &str = "roman_wfi_late_0001.asdf";
const OLD: &str = "roman_wfi_old_0001.asdf";

fn small_content() -> Content {
    content().file(LATE, 900_000).file(OLD, 1_000_000)
}

#[test]
fn a_disk_that_fills_up_during_a_transfer_is_cleared_of_what_is_old() {
    if !inside("full::a_disk_that_fills_up_during_a_transfer_is_cleared_of_what_is_old") {
        return;
    }
    let origin = Origin::start(small_content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let _small = shrink(&rig.store(), 4 << 20);
    rig.mount();
    rig.read(reference(OLD)).unwrap();
    origin.set(LATE, Behaviour::StallAfter(100_000));
    let late = rig.path(reference(LATE));
    let reader = std::thread::spawn(move || fs::read(late));
    origin.wait_for_stalled(1);
    fill(&rig.store());
    origin.release();
    let read = within(move || reader.join().unwrap());
    assert!(read.unwrap() == origin.contents(LATE), "{}", rig.log());
    assert_eq!(rig.stored(), [rig.store().join(reference(LATE))], "{}", rig.log());
    rig.umount();
}

#[test]
fn a_disk_without_anything_to_clear_away_is_enospc_and_nothing_is_left() {
    if !inside("full::a_disk_without_anything_to_clear_away_is_enospc_and_nothing_is_left") {
        return;
    }
    let origin = Origin::start(small_content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let _small = shrink(&rig.store(), 4 << 20);
    rig.mount();
    origin.set(LATE, Behaviour::StallAfter(100_000));
    let late = rig.path(reference(LATE));
    let reader = std::thread::spawn(move || fs::read(late).unwrap_err().raw_os_error());
    origin.wait_for_stalled(1);
    fill(&rig.store());
    origin.release();
    let errno = within(move || reader.join().unwrap());
    assert_eq!(errno, Some(libc::ENOSPC), "{}", rig.log());
    assert!(rig.stored().is_empty());
    // Refused before the first byte now, others are still served, and with room again all is well.
    assert_eq!(rig.read(reference(OLD)), Err(libc::ENOSPC));
    assert_eq!(fs::read_dir(rig.path("references/roman")).unwrap().count(), 4);
    fs::remove_file(rig.store().join("filler")).unwrap();
    origin.mend();
    let late = eventually("the file comes", || rig.read(reference(LATE)));
    assert!(late == origin.contents(LATE));
    rig.umount();
}

/// The second one is refused before anything is sent, and the first one is not disturbed.
#[test]
fn two_transfers_where_there_is_room_for_one() {
    if !inside("full::two_transfers_where_there_is_room_for_one") {
        return;
    }
    let names = ["roman_wfi_area_0001.asdf", "roman_wfi_area_0002.asdf"];
    let origin = Origin::start(content().file(names[0], 5_000_000).file(names[1], 5_000_000));
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--keep-free", "0"]);
    let _small = shrink(&rig.store(), 8 << 20);
    rig.mount();
    for name in names {
        origin.set(name, Behaviour::StallAfter(1_000_000));
    }
    let readers = names.map(|name| {
        let file = rig.path(reference(name));
        std::thread::spawn(move || fs::read(file).map_err(|error| error.raw_os_error()))
    });
    origin.wait_for_stalled(1);
    eventually("one of them is refused", || {
        readers.iter().any(std::thread::JoinHandle::is_finished)
    });
    origin.release();
    let read = within(move || readers.map(|reader| reader.join().unwrap()));
    let asked = names.map(|name| origin.asked(name).len());
    for ((name, read), asked) in names.iter().zip(read).zip(asked) {
        match read {
            Ok(bytes) => assert!(bytes == origin.contents(name)),
            Err(errno) => assert_eq!((errno, asked), (Some(libc::ENOSPC), 0), "{}", rig.log()),
        }
    }
    assert_eq!(
        asked.iter().sum::<usize>(),
        1,
        "one of them came, over one connection"
    );
    rig.umount();
}
