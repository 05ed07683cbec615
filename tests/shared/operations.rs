//! The requests of a mount to the server of a shared store, counted: docs/operating.md tells the same numbers.

use std::fs;
use std::path::Path;

use crate::double::{Counts, Options};
use crate::mounts::{Mounts, content};
use crate::rig::eventually;

/// Times so long that no test sees their end.
const LONG: f64 = 3600.0;
/// Each thing is done so many times, and the least of each kind counts: what else a mount does now and then is not meant.
const TIMES: u32 = 4;

fn reference(number: u32) -> String {
    format!("references/roman/{}", name(number))
}

fn name(number: u32) -> String {
    format!("roman_wfi_flat_1{number:03}.asdf")
}

/// The least requests of each kind that something makes.
fn least(mounts: &Mounts, act: impl Fn(u32)) -> Counts {
    let rounds: Vec<Counts> = (0..TIMES)
        .map(|round| {
            let before = when_closed(mounts);
            act(round);
            let after = when_closed(mounts);
            let made = after
                .into_iter()
                .map(|(kind, count)| (kind, count - before.get(kind).unwrap_or(&0)));
            made.collect()
        })
        .collect();
    let kinds = rounds[0].keys();
    let least = kinds.map(|kind| {
        (
            *kind,
            rounds
                .iter()
                .filter_map(|round| round.get(kind))
                .min()
                .copied()
                .unwrap_or(0),
        )
    });
    least.filter(|(_, count)| *count > 0).collect()
}

/// The requests so far, once all files are closed: the kernel tells of that later.
fn when_closed(mounts: &Mounts) -> Counts {
    eventually("all files are closed", || {
        let counts = mounts.requests(0).counts();
        let number = |kind| counts.get(kind).copied().unwrap_or(0);
        if number("open") + number("create") == number("close") {
            Ok(counts)
        } else {
            Err(counts)
        }
    })
}

/// A row of the table in docs/operating.md.
fn told(what: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let text = fs::read_to_string(path).unwrap();
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("| {what} | ")));
    let row = row.unwrap_or_else(|| panic!("docs/operating.md has no row '{what}'"));
    row.trim_end_matches(" |").to_owned()
}

fn text(counts: &Counts) -> String {
    let all: Vec<String> = counts
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

#[test]
fn what_is_asked_of_the_server_is_what_the_documentation_says() {
    let options = Options {
        absent: (LONG, LONG),
        listing: (LONG, LONG),
        attributes: LONG,
        ..Options::default()
    };
    let content = (0..=2 * TIMES).fold(content(), |content, number| content.file(&name(number), 20_000));
    let mut mounts = Mounts::new(1, options, &["--shared"], content);
    mounts.start();
    // Whatever is done once for each mount and directory.
    mounts.read(&reference(2 * TIMES));
    let settled = least(&mounts, |_| mounts.rigs[0].settle());
    let mut fetched = least(&mounts, |round| mounts.read(&reference(round)));
    // That is how the test waits for the publication.
    *fetched.get_mut("sync").unwrap() -= settled["sync"];
    let is_right = |number| {
        let read = mounts.rigs[0].read(reference(number)).unwrap();
        assert!(read == mounts.origin.contents(&name(number)));
    };
    let again = least(&mounts, |_| is_right(0));
    let looked = least(&mounts, |round| {
        let path = mounts.rigs[0].path(reference(TIMES + round));
        assert!(fs::metadata(path).unwrap().is_file());
    });
    let listed = least(&mounts, |_| {
        let entries = fs::read_dir(mounts.rigs[0].path("references/roman")).unwrap();
        let entries = entries.map(|entry| entry.unwrap().metadata().unwrap());
        assert!(entries.count() > usize::try_from(TIMES).unwrap());
    });
    let before = when_closed(&mounts);
    mounts.rigs[0].umount();
    let ended = mounts.requests(0).counts()["remove"] - before["remove"];
    assert_eq!(
        ended,
        u64::from(TIMES) + 1,
        "a lease for each file that was fetched"
    );
    mounts.rigs[0].mount();
    mounts.read(&reference(2 * TIMES));
    let is_right = |number| {
        let read = mounts.rigs[0].read(reference(number)).unwrap();
        assert!(read == mounts.origin.contents(&name(number)));
    };
    let remembered = least(&mounts, is_right);
    for (what, counts) in [
        ("`stat` of a catalogued file, there or not", &looked),
        ("`ls -l` of a catalogued directory", &listed),
        ("the next `open`, `read`, `close` of a file", &again),
        (
            "the first one of a mount, of a file that an earlier mount has verified",
            &remembered,
        ),
        ("a file of 20 kB is fetched", &fetched),
    ] {
        assert_eq!(text(counts), told(what), "{what}");
    }
}
