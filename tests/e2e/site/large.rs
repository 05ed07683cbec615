//! Large files, which come over several connections, from a server that gives each of them little.

use std::time::Duration;

use super::rig::Site;
use crate::content;
use crate::origin::{Behaviour, Origin};
use crate::rig::Rig;
use crate::server_flag;

const NAME: &str = "roman_wfi_dark_0002.asdf";
const SIZE: u64 = 34_000_000;

/// The bytes that the origin was asked for.
fn asked(origin: &Origin) -> u64 {
    let lengths = origin.asked(NAME).into_iter().map(|asked| {
        let range = asked.range.unwrap();
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap()
    });
    lengths.sum()
}

#[test]
fn no_byte_of_a_large_file_is_asked_for_twice() {
    let origin = Origin::start(content().file(NAME, usize::try_from(SIZE).unwrap()));
    let pace = Behaviour::Drip {
        bytes: 64 << 10,
        every: Duration::from_millis(10),
    };
    origin.set(NAME, pace);
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    assert!(rig.read(format!("references/roman/{NAME}")).unwrap() == origin.contents(NAME));
    let streams = origin.asked(NAME).len();
    assert!(streams > 4, "{streams} requests");
    assert_eq!(asked(&origin), SIZE, "through a mount");
    let site = Site::of(&origin, &[]);
    assert!(site.get(NAME).body == origin.contents(NAME));
    assert_eq!(asked(&origin), 2 * SIZE, "through a site server");
}
