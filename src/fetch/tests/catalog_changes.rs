//! Catalogs that give a name other contents while a transfer of it runs.

use super::world::{Act, FILE, World, bytes_of, content, description, key, settings};
use super::*;
use crate::remote::RemoteErrorKind;

/// Other contents of the same length.
fn other(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

/// An open under the current catalog, as a task.
fn spawn_open(world: &World) -> tokio::task::JoinHandle<Result<Vec<u8>, FetchError>> {
    let opened = world.fetcher.open(&key(FILE));
    tokio::spawn(async move { opened.wait().await.map(|file| bytes_of(&file)) })
}

/// Waits until so many requests were made.
async fn requested(world: &World, count: usize) {
    while world.place.asked().len() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The server has these files from now on, and the catalog in force says so.
async fn change(world: &World, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        world.place.put(name, bytes);
    }
    let listed: Vec<_> = files.iter().map(|(name, bytes)| (*name, Some(*bytes))).collect();
    world.archive.say(Ok(description(&listed)));
    world
        .fetcher
        .catalogs()
        .refresh(Observatory::Hst)
        .wait()
        .await
        .unwrap();
}

tests! {
    async fn who_opens_the_new_contents_does_not_get_the_old_ones_that_are_on_their_way() {
        for length in [50_000, 7000] {
            let old = content(length);
            let new = other(&old);
            let world = World::with(&old);
            world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
            world.place.then([Act::Slow]);
            let first = spawn_open(&world);
            requested(&world, 1).await;
            change(&world, &[(FILE, &new)]).await;
            let second = spawn_open(&world);
            assert_eq!(world.fetcher.transfers().len(), 1, "the old contents are still on their way");
            assert!(second.await.unwrap().unwrap() == new, "the old contents under the new catalog");
            assert!(first.await.unwrap().unwrap() == old);
            assert_eq!(world.place.asked().len(), 2);
            assert!(world.open(FILE).await.unwrap() == new);
            assert_eq!(world.fetcher.counters().failures, 0);
            world.check_store();
        }
    }

    async fn a_failure_of_the_old_contents_is_not_told_of_the_new_ones() {
        let old = content(50_000);
        let new = other(&old);
        let world = World::with(&old);
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        world.place.then([Act::Stall(0), Act::Fail(RemoteErrorKind::Denied)]);
        let first = spawn_open(&world);
        requested(&world, 1).await;
        change(&world, &[(FILE, &new)]).await;
        let second = spawn_open(&world);
        let failure = first.await.unwrap().unwrap_err();
        assert_eq!(failure.kind, FetchErrorKind::Denied);
        assert!(world.fetcher.last_error(&key(FILE)).is_none(), "not of what the catalog says now");
        assert!(second.await.unwrap().unwrap() == new);
        assert_eq!(world.place.asked().len(), 3);
        world.check_store();
    }

    async fn a_transfer_that_begins_under_the_new_catalog_is_one_for_all_who_wait() {
        let blocking = content(2_000_000);
        let names: Vec<String> = (1..3).map(|number| format!("hst_acs_biasfile_{number:04}.fits")).collect();
        let old = content(2_000_001);
        let new = other(&old);
        let listed = |bytes| -> Vec<(&str, &[u8])> {
            names.iter().map(|name| (name.as_str(), &blocking[..])).chain([(FILE, bytes)]).collect()
        };
        let one_stream = FetchSettings { large: u64::MAX, jobs: 2, ..settings() };
        let world = World::new(&listed(&old), one_stream);
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        world.place.then([Act::Slow, Act::Slow]);
        let before: Vec<_> = names.iter().map(|name| world.fetcher.open(&key(name))).collect();
        requested(&world, 2).await;
        let first = spawn_open(&world);
        change(&world, &listed(&new)).await;
        let second = spawn_open(&world);
        assert!(second.await.unwrap().unwrap() == new);
        assert!(first.await.unwrap().unwrap() == new, "what its catalog said is not to be had any more");
        assert_eq!(world.place.asked().len(), 3, "one transfer");
        for open in before {
            open.wait().await.unwrap();
        }
        world.check_store();
    }
}
