//! The whole program: a real server, a real mount, real processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that cannot go on fails its test"
)]

#[path = "../common/caches.rs"]
mod caches;
#[path = "../common/origin.rs"]
mod origin;
#[path = "../common/outputs.rs"]
mod outputs;
#[path = "../common/rig.rs"]
mod rig;
#[path = "../common/small_disk.rs"]
mod small_disk;

mod bestrefs;
mod bestrefs_command;
mod bombs;
mod calls;
mod completions;
mod contents;
mod context_commands;
mod contexts;
mod crash_points;
mod crashes;
mod credentials;
mod daemon;
mod descriptors;
mod doctor;
mod errors;
mod evict;
mod fetch;
mod first_mount;
mod fstab;
mod full;
mod hangs;
mod headers;
mod hold;
mod lanes;
mod lengths;
mod library;
mod local;
mod mounted_tree;
mod names;
mod namespaces;
mod offline;
mod overlay;
mod overrides;
mod page;
mod places;
mod posix;
mod prefetch;
mod promises;
mod proxy;
mod readonly;
mod remounts;
mod replacing;
mod room;
mod run;
mod serve;
mod servers;
mod service_manager;
mod shared;
mod site;
mod slow_store;
mod sources;
mod stalls;
mod status;
mod strange;
mod tier;
mod told_urls;
mod tree;
mod users;
mod verify;

use origin::{Content, Origin};
use rig::mounts;

const PMAP: &str = "roman_0001.pmap";
const DARK: &str = "roman_wfi_dark_0001.asdf";
const FLAT: &str = "roman_wfi_flat_0001.asdf";

/// A small origin: a rule and two references.
fn content() -> Content {
    Content {
        observatory: "roman",
        context: PMAP.to_owned(),
        ..Content::default()
    }
    .file(PMAP, 2_000)
    .file(DARK, 300_000)
    .file(FLAT, 20_000)
}

/// The path of a reference below the mount point.
fn reference(name: &str) -> String {
    format!("references/roman/{name}")
}

fn server_flag(origin: &Origin) -> String {
    format!("roman={}", origin.url())
}
