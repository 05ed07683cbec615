//! Many transfers at a time: stalled ones delay nobody, and each open gets the errno of what is wrong.

use std::thread::JoinHandle;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, within};
use crate::{DARK, FLAT, PMAP, content, reference, server_flag};

const OTHER: &str = "jwst_miri_dark_0001.fits";
/// Far more patient than the tests: what stalls does so to the end.
const PATIENT: [&str; 4] = ["--stall-timeout", "1h", "--timeout", "1h"];

/// Files of `size` bytes that behave so.
fn many(count: usize, size: usize, behaviour: Behaviour) -> (Origin, Vec<String>) {
    let names: Vec<_> = (0..count)
        .map(|number| format!("roman_wfi_mask_{number:04}.asdf"))
        .collect();
    let content = names
        .iter()
        .fold(content(), |content, name| content.file(name, size));
    let origin = Origin::start(content);
    for name in &names {
        origin.set(name, behaviour);
    }
    (origin, names)
}

/// Opens all of them at once; what becomes of each is its errno.
fn open_all(rig: &Rig, names: &[String]) -> Vec<JoinHandle<Option<i32>>> {
    let open = |name: &String| {
        let path = rig.path(reference(name));
        std::thread::spawn(move || std::fs::read(path).err().and_then(|error| error.raw_os_error()))
    };
    names.iter().map(open).collect()
}

fn errnos(readers: Vec<JoinHandle<Option<i32>>>) -> Vec<Option<i32>> {
    within(move || readers.into_iter().map(|reader| reader.join().unwrap()).collect())
}

/// While so many files do not come, small ones of the same and of another observatory do.
fn delay_nobody(count: usize, size: usize, behaviour: Behaviour) {
    let (origin, names) = many(count, size, behaviour);
    let other = Origin::start(
        Content {
            observatory: "jwst",
            context: "jwst_0001.pmap".to_owned(),
            ..Content::default()
        }
        .file("jwst_0001.pmap", 1_000)
        .file(OTHER, 20_000),
    );
    let other_flag = format!("jwst={}", other.url());
    let mut rig = Rig::mounted(&[&server_flag(&origin), &other_flag], &PATIENT);
    let readers = open_all(&rig, &names);
    origin.wait_for_stalled(if size > 1 << 20 { 8 } else { 16 });
    let files = [
        rig.path(reference(FLAT)),
        rig.path(format!("references/jwst/{OTHER}")),
        rig.path(format!("mappings/roman/{PMAP}")),
        rig.path(reference(DARK)),
    ];
    let read = within(move || files.map(|file| std::fs::read(file).unwrap()));
    assert!(read[0] == origin.contents(FLAT) && read[1] == other.contents(OTHER));
    assert!(read[2] == origin.contents(PMAP) && read[3] == origin.contents(DARK));
    rig.terminate();
    assert_eq!(errnos(readers), vec![Some(libc::ESHUTDOWN); count]);
}

#[test]
fn sixteen_that_never_begin() {
    delay_nobody(16, 5_000, Behaviour::StallBeforeHead);
}

#[test]
fn sixty_four_that_stop_in_the_middle() {
    delay_nobody(64, 5_000, Behaviour::StallAfter(1_000));
}

/// Large files that stall leave large files a way too.
#[test]
fn large_ones_that_stop_in_the_middle() {
    let (origin, names) = many(9, 2_000_000, Behaviour::StallAfter(100_000));
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &PATIENT);
    let (last, stalled) = names.split_last().unwrap();
    let readers = open_all(&rig, stalled);
    origin.wait_for_stalled(8);
    origin.set(last, Behaviour::Well);
    let file = rig.path(reference(last));
    assert!(within(move || std::fs::read(file).unwrap()) == origin.contents(last));
    rig.terminate();
    assert_eq!(errnos(readers), vec![Some(libc::ESHUTDOWN); 8]);
}

/// Sixty-four opens at once, more than there are slots, all fail for the reason that there is.
fn all_fail(behaviour: Option<Behaviour>, errno: i32) {
    let (origin, names) = many(64, 5_000, behaviour.unwrap_or(Behaviour::Well));
    let limits = ["--stall-timeout", "1s", "--timeout", "3s"];
    let rig = Rig::mounted(&[&server_flag(&origin)], &limits);
    if behaviour.is_none() {
        origin.refuse();
    }
    let errnos = errnos(open_all(&rig, &names));
    assert_eq!(errnos, vec![Some(errno); 64], "{behaviour:?}");
}

#[test]
fn sixty_four_refused() {
    all_fail(None, libc::EHOSTUNREACH);
}

#[test]
fn sixty_four_stalled() {
    all_fail(Some(Behaviour::StallBeforeHead), libc::ETIMEDOUT);
}

#[test]
fn sixty_four_forbidden() {
    all_fail(Some(Behaviour::Status(403)), libc::EACCES);
}

#[test]
fn sixty_four_of_a_server_that_asks_for_patience() {
    let busy = Behaviour::StatusTimes {
        status: 503,
        times: u32::MAX,
        retry_after: Some(1),
    };
    all_fail(Some(busy), libc::EREMOTEIO);
}

#[test]
fn sixty_four_broken_off() {
    all_fail(Some(Behaviour::Hang), libc::EREMOTEIO);
}
