//! Files whose length nobody knows.

use crate::origin::Origin;
use crate::rig::Rig;
use crate::{content, server_flag};

const LARGE: &str = "roman_wfi_area_0001.asdf";

/// Lengths that the user does not want compared bound nothing: the file is longer than any of unknown length may be.
#[test]
fn a_long_file_whose_length_is_not_compared() {
    let origin = Origin::start(content().file(LARGE, 270_000_000));
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.set("CRDS_DOWNLOAD_LENGTHS", "0");
    rig.mount();
    assert!(
        rig.read(format!("references/roman/{LARGE}")).unwrap() == origin.contents(LARGE),
        "{}",
        rig.log()
    );
}
