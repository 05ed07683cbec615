//! Replies that are small to send and large to read: an errno, soon, and no more memory than a good catalog takes.

use std::fs;

use crate::origin::{Origin, encoded};
use crate::rig::{Rig, eventually, within};
use crate::{FLAT, PMAP, content, server_flag};

/// A hundred thousand files take less than half of this, with all that the process has besides.
const MEMORY: u64 = 256 << 20;
const DATASET: &str = "bestrefs/roman_0001.pmap/R0000101001001001001_0001.WFI01/dark";

fn lists(bytes: usize) -> String {
    format!("[{}0]", "[],".repeat(bytes / 3))
}

/// A description whose catalog is this JSON text, compressed.
fn description(catalog: &str) -> String {
    let encoded = encoded(catalog.as_bytes());
    format!(r#"{{"observatory": "roman", "latest_context": "{PMAP}", "download_metadata": {encoded}}}"#)
}

/// The catalog cannot be had, for this reason and in this memory; a good one is taken as soon as there is one.
fn is_refused(what: &str, result: String, errno: i32) {
    let mut bad = content();
    bad.results.insert("get_server_info", result);
    let origin = Origin::start(bad);
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.mount_untouched();
    let directory = rig.path("references/roman");
    let failed = within(move || fs::read_dir(directory).map(Iterator::count));
    assert_eq!(
        failed.unwrap_err().raw_os_error(),
        Some(errno),
        "{what}: {}",
        rig.log()
    );
    let peak = rig.peak_memory();
    println!("{what}: {} MiB", peak >> 20);
    assert!(peak < MEMORY, "{what}: {} MiB", peak >> 20);
    origin.change(|content| content.results.clear());
    let read = eventually("a good catalog is taken", || {
        rig.read(format!("references/roman/{FLAT}"))
    });
    assert!(read == origin.contents(FLAT), "{what}");
}

#[test]
fn a_description_of_many_empty_lists() {
    is_refused("32 MB of []", lists(32_000_000), libc::EREMOTEIO);
}

#[test]
fn a_description_with_a_field_of_many_empty_lists() {
    let result = format!(r#"{{"observatory": "roman", "mappings": {}}}"#, lists(32_000_000));
    is_refused("a field of 32 MB of []", result, libc::EREMOTEIO);
}

#[test]
fn a_compressed_catalog_of_blanks() {
    let blanks = " ".repeat(200_000_000);
    is_refused("200 MB of blanks", description(&blanks), libc::EREMOTEIO);
}

#[test]
fn a_description_of_too_many_bytes() {
    let long = format!("\"{}\"", "x".repeat(80_000_000));
    is_refused("80 MB of text", long, libc::EREMOTEIO);
}

#[test]
fn nested_lists() {
    let deep = "[".repeat(10_000_000) + &"]".repeat(10_000_000);
    is_refused("ten million brackets", deep, libc::EREMOTEIO);
}

/// A catalog with a field that nobody asks for is read without it, and has no files: the field takes no memory.
#[test]
fn a_compressed_catalog_of_many_empty_lists() {
    let catalog = format!(r#"{{"x.fits": {}}}"#, lists(60_000_000));
    let mut bad = content();
    let result = description(&catalog);
    assert!(result.len() < 200_000, "{}", result.len());
    bad.results.insert("get_server_info", result);
    let origin = Origin::start(bad);
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let directory = rig.path("references/roman");
    let files = within(move || fs::read_dir(directory).map(Iterator::count));
    assert_eq!(files.unwrap(), 0, "{}", rig.log());
    let peak = rig.peak_memory();
    println!("60 MB of [] in a catalog: {} MiB", peak >> 20);
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
}

#[test]
fn best_references_of_many_empty_lists() {
    let mut bad = content();
    bad.results
        .insert("get_best_references_by_ids", lists(32_000_000));
    let origin = Origin::start(bad);
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    rig.read(format!("mappings/roman/{PMAP}")).unwrap();
    let dataset = rig.path(DATASET);
    let failed = within(move || fs::read(dataset).unwrap_err().raw_os_error());
    assert_eq!(failed, Some(libc::EREMOTEIO), "{}", rig.log());
    let peak = rig.peak_memory();
    println!("best references of 32 MB of []: {} MiB", peak >> 20);
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
}

/// The catalogs that there will be are read.
#[test]
fn a_hundred_thousand_files() {
    let files: Vec<_> = (0..100_000)
        .map(|number| {
            let sha1 = "0123456789abcdef0123456789abcdef01234567";
            format!(r#""roman_wfi_dark_{number:06}.asdf": {{"size": "123456", "sha1sum": "{sha1}"}}"#)
        })
        .collect();
    let mut large = content();
    large.results.insert(
        "get_server_info",
        description(&format!("{{{}}}", files.join(", "))),
    );
    let origin = Origin::start(large);
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let directory = rig.path("references/roman");
    let found = within(move || fs::read_dir(directory).map(Iterator::count));
    assert_eq!(found.unwrap(), 100_000, "{}", rig.log());
    let peak = rig.peak_memory();
    println!("100,000 files: {} MiB", peak >> 20);
    assert!(peak < MEMORY / 2, "{} MiB", peak >> 20);
}
