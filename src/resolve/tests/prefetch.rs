//! Rules that are fetched before they are opened.

use std::time::Duration;

use super::world::{ID, World, ask};
use crate::crds::{FileKey, FileName, Observatory};
use crate::remote::memory::Failure;
use crate::remote::{RemoteError, RemoteErrorKind};
use crate::resolve::{Prefetch, Resolver};

fn world() -> World {
    let mut world = World::new();
    world.options.prefetch = Prefetch::Rules;
    world
}

fn key(name: &str) -> FileKey {
    FileKey {
        observatory: Observatory::Roman,
        name: name.parse().unwrap(),
    }
}

/// Waits for the end of a burst; whether all rules came.
async fn ended(resolver: &Resolver, context: &str) -> bool {
    let name: FileName = context.parse().unwrap();
    loop {
        if let Some(is_here) = resolver.shared.prefetcher.is_here(&name) {
            return is_here;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn fetched(world: &World) -> Vec<String> {
    let name = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let mut names: Vec<String> = world
        .origin
        .requests()
        .iter()
        .map(|request| name(&request.url))
        .collect();
    names.sort();
    names
}

const OF_41: [&str; 4] = [
    "roman_0041.pmap",
    "roman_wfi_0007.imap",
    "roman_wfi_dark_0001.rmap",
    "roman_wfi_flat_0001.rmap",
];

#[tokio::test]
async fn an_opened_context_brings_its_rules_once() {
    let world = world();
    let resolver = world.start();
    let key = key("roman_0041.pmap");
    resolver.shared.fetcher.open(&key).wait().await.unwrap();
    resolver.note_opened(&key);
    assert!(ended(&resolver, "roman_0041.pmap").await);
    assert_eq!(fetched(&world), OF_41);
    for name in OF_41 {
        resolver.note_opened(&FileKey {
            name: name.parse().unwrap(),
            ..key.clone()
        });
    }
    assert!(ended(&resolver, "roman_0041.pmap").await);
    assert_eq!(world.origin.requests().len(), 4);
    // The next run sees that all are there, and requests nothing.
    let resolver = world.start();
    resolver.shared.fetcher.open(&key).wait().await.unwrap();
    resolver.note_opened(&key);
    assert!(ended(&resolver, "roman_0041.pmap").await);
    assert_eq!(world.origin.requests().len(), 4);
}

#[tokio::test]
async fn a_context_that_is_resolved_brings_its_rules() {
    let world = world();
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    assert!(ended(&resolver, "roman_0042.pmap").await);
    assert_eq!(fetched(&world).len(), 4, "{:?}", fetched(&world));
}

#[tokio::test]
async fn what_cannot_be_had_keeps_nothing_else_away() {
    let world = world();
    let url = "https://archive.example/mappings/roman_wfi_dark_0001.rmap";
    for _ in 0..3 {
        let gone = RemoteError::new(RemoteErrorKind::NotFound, url, "404");
        world.origin.fail(url, Failure::Refuse(gone));
    }
    let resolver = world.start();
    let opened = key("roman_0041.pmap");
    resolver.shared.fetcher.open(&opened).wait().await.unwrap();
    resolver.note_opened(&opened);
    assert!(!ended(&resolver, "roman_0041.pmap").await);
    assert_eq!(fetched(&world), OF_41);
    let flat = key("roman_wfi_flat_0001.rmap");
    assert!(resolver.shared.fetcher.store().holding(&flat).is_some());
    // It is not tried again at once.
    resolver.note_opened(&opened);
    assert!(!ended(&resolver, "roman_0041.pmap").await);
    assert_eq!(world.origin.requests().len(), 4);
}

#[tokio::test]
async fn nothing_is_fetched_offline_or_where_it_is_not_wanted() {
    for (offline, prefetch) in [(true, Prefetch::Rules), (false, Prefetch::Nothing)] {
        let mut world = world();
        world.options.prefetch = prefetch;
        let resolver = world.start_with(offline);
        let _ = ask(&resolver, ID).await;
        resolver.note_opened(&key("roman_0041.pmap"));
        let name = "roman_0041.pmap".parse().unwrap();
        assert_eq!(resolver.shared.prefetcher.is_here(&name), None);
        assert!(world.origin.requests().is_empty());
    }
}
