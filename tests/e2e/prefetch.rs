//! The rules of a context that come before somebody opens them.

use std::fs;
use std::path::Path;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, at_least, eventually};
use crate::{DARK, server_flag};

const PMAP: &str = "roman_0001.pmap";
const IMAP: &str = "roman_wfi_0001.imap";
/// More than are asked for at a time.
const RMAPS: usize = 40;

fn rmap(number: usize) -> String {
    format!("roman_wfi_type{number}_0001.rmap")
}

/// A context with many rules, which are all different.
fn content() -> Content {
    let header = |kind: &str, parkey: &str, more: &str| {
        format!(
            "header = {{'mapping': '{kind}', 'parkey': {parkey}, 'name': 'x', 'derived_from': 'y', \
             'observatory': 'ROMAN'{more}}}\n"
        )
    };
    let pmap = header("PIPELINE", "('ROMAN.META.INSTRUMENT.NAME',)", "")
        + &format!("selector = {{'WFI': '{IMAP}'}}\n");
    let entries: Vec<String> = (0..RMAPS)
        .map(|number| format!("'TYPE{number}': '{}'", rmap(number)))
        .collect();
    let imap = header("INSTRUMENT", "('REFTYPE',)", ", 'instrument': 'WFI'")
        + &format!("selector = {{{}}}\n", entries.join(", "));
    let mut content = Content {
        observatory: "roman",
        context: PMAP.to_owned(),
        ..Content::default()
    }
    .file(DARK, 300_000);
    content.files.insert(PMAP.to_owned(), pmap.into_bytes().into());
    content.files.insert(IMAP.to_owned(), imap.into_bytes().into());
    for number in 0..RMAPS {
        content = content.file(&rmap(number), 1000 + number);
    }
    content
}

fn mapping(rig: &Rig, name: &str) -> Result<Vec<u8>, i32> {
    rig.read(Path::new("mappings/roman").join(name))
}

/// Waits until the origin was asked for so many of the rmaps.
fn asked_for(origin: &Origin, count: usize) {
    eventually("the rules are asked for", || {
        let asked = (0..RMAPS).filter(|number| !origin.asked(&rmap(*number)).is_empty());
        at_least(asked.count(), count)
    });
}

#[test]
fn an_opened_context_brings_all_its_rules_once() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &["--prefetch", "rules"]);
    // Looking is not using.
    assert!(rig.path("mappings/roman").join(PMAP).metadata().is_ok());
    fs::read_dir(rig.path("bestrefs")).unwrap().for_each(drop);
    assert_eq!(origin.all_asked(), 0);
    mapping(&rig, PMAP).unwrap();
    asked_for(&origin, RMAPS);
    for number in 0..RMAPS {
        assert_eq!(mapping(&rig, &rmap(number)).unwrap().len(), 1000 + number);
    }
    mapping(&rig, PMAP).unwrap();
    assert_eq!(origin.all_asked(), RMAPS + 2, "each came once, and nothing else");
    // All of it is here: the next mount asks for nothing.
    rig.umount();
    rig.mount();
    mapping(&rig, PMAP).unwrap();
    mapping(&rig, IMAP).unwrap();
    assert_eq!(origin.all_asked(), RMAPS + 2);
}

#[test]
fn nobody_waits_for_rules_that_stand_still() {
    let origin = Origin::start(content());
    for number in 0..RMAPS {
        origin.set(&rmap(number), Behaviour::StallBeforeHead);
    }
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--prefetch", "rules"]);
    mapping(&rig, PMAP).unwrap();
    asked_for(&origin, 10);
    assert_eq!(
        rig.read(format!("references/roman/{DARK}")).unwrap().len(),
        300_000
    );
    // A rule that its turn has not come to yet is fetched for who opens it.
    origin.set(&rmap(RMAPS - 1), Behaviour::Well);
    assert_eq!(mapping(&rig, &rmap(RMAPS - 1)).unwrap().len(), 1000 + RMAPS - 1);
    origin.mend();
}

#[test]
fn a_rule_that_cannot_be_had_keeps_no_other_away() {
    let origin = Origin::start(content());
    origin.set(&rmap(0), Behaviour::Status(404));
    origin.set(&rmap(1), Behaviour::Flip(7));
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--prefetch", "rules"]);
    mapping(&rig, PMAP).unwrap();
    asked_for(&origin, RMAPS);
    for number in 2..RMAPS {
        assert_eq!(mapping(&rig, &rmap(number)).unwrap().len(), 1000 + number);
    }
    assert_eq!(mapping(&rig, &rmap(0)), Err(libc::ENODATA));
}

#[test]
fn nothing_comes_where_it_is_not_wanted() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--prefetch", "none"]);
    mapping(&rig, PMAP).unwrap();
    mapping(&rig, &rmap(3)).unwrap();
    assert_eq!(origin.all_asked(), 2);
}
