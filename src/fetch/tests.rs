use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use super::*;
use crate::store::{MemoryStore, Part, Record};

mod catalog_changes;
mod failures;
mod large;
mod resumption;
mod sources;
mod tier;
pub(super) mod world;

use world::{Act, FILE, World, content, fetcher, key, settings};

/// Time stands still and jumps to the next timer when there is nothing else to do, so that no test sleeps.
macro_rules! tests {
    ($($(#[$note:meta])* async fn $name:ident() $body:block)*) => {
        $($(#[$note])* #[tokio::test(start_paused = true)] async fn $name() $body)*
    };
}

use tests;

fn is_ready<T, E>(outcome: &Outcome<T, E>) -> bool {
    matches!(outcome, Outcome::Ready(_))
}

/// Waits until so many bytes of the file are on the disk.
async fn arrived(world: &World, bytes: u64) {
    for _ in 0..1000 {
        if matches!(world.fetcher.state(&key(FILE)), FileState::Fetching { done, .. } if done >= bytes) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", world.fetcher.transfers());
}

/// Begins to open the file, and lets one of the user's own take its name in the middle of the transfer.
async fn open_while_a_local_file_comes(
    world: &World,
) -> tokio::task::JoinHandle<Result<Arc<std::fs::File>, FetchError>> {
    world.place.then([Act::Stall(1000)]);
    let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
    while world.fetcher.counters().bytes < 1000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let dir = world.dir.as_ref().unwrap().path();
    std::fs::write(dir.join("mine"), b"mine").unwrap();
    let mine = std::path::Path::new("mine");
    world.fetcher.store().move_in(mine, &key(FILE)).unwrap();
    open
}

tests! {
    async fn a_file_is_fetched_once_and_then_there() {
        let bytes = content(50_000);
        let world = World::with(&bytes);
        assert!(world.fetcher.catalogs().current(Observatory::Hst).is_none());
        assert_eq!(world.archive.count(), 0, "nothing is asked before the first touch");
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.fetcher.state(&key(FILE)), FileState::Cached);
        let again = world.fetcher.open(&key(FILE));
        assert!(is_ready(&again));
        again.wait().await.unwrap();
        assert_eq!(world.place.asked(), [(0, None, false)]);
        let counters = world.fetcher.counters();
        assert_eq!((counters.hits, counters.misses, counters.downloads), (1, 1, 1));
        assert_eq!((counters.bytes, counters.failures, counters.retries), (50_000, 0, 0));
        world.check_store();
    }

    async fn names_outside_the_catalog_are_refused_on_the_spot() {
        let world = World::with(b"x");
        assert_eq!(world.fails("hst_0009.pmap").await, FetchErrorKind::NotInCatalog);
        assert!(is_ready(&world.fetcher.open(&key("hst_0009.pmap"))));
        let jwst = FileKey { observatory: Observatory::Jwst, ..key("jwst_0001.pmap") };
        assert!(world.fetcher.open(&jwst).wait().await.is_err());
    }

    async fn a_hundred_openers_are_one_request() {
        let bytes = content(30_000);
        let world = World::with(&bytes);
        world.open("hst_0009.pmap").await.unwrap_err();
        let opens: Vec<_> = (0..100).map(|_| world.fetcher.open(&key(FILE))).collect();
        assert_eq!(world.fetcher.transfers()[0].waiters, 100);
        for open in opens {
            open.wait().await.unwrap();
        }
        assert_eq!(world.place.asked().len(), 1);
        assert!(world.fetcher.transfers().is_empty());
    }

    async fn a_transfer_goes_on_when_everybody_has_left() {
        let bytes = content(30_000);
        let world = World::with(&bytes);
        world.open("hst_0009.pmap").await.unwrap_err();
        drop(world.fetcher.open(&key(FILE)));
        assert_eq!(world.fetcher.transfers()[0].waiters, 0);
        while world.fetcher.state(&key(FILE)) != FileState::Cached {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(is_ready(&world.fetcher.open(&key(FILE))));
        world.check_store();
    }

    async fn what_cannot_fit_is_refused_before_the_first_byte() {
        let bytes = content(50_000);
        let world = World::in_memory(&[(FILE, &bytes)], Some(49_999));
        let error = world.open(FILE).await.unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::NoSpace);
        assert!(error.to_string().contains("--cache-size"), "{error}");
        assert!(world.place.asked().is_empty());

        let world = World::in_memory(&[(FILE, &bytes[..5000])], Some(4999));
        assert_eq!(world.fails(FILE).await, FetchErrorKind::NoSpace, "a small one before it is written");
    }

    async fn old_copies_make_room_but_open_ones_stay() {
        let bytes = content(5000);
        let names = ["hst_0001.pmap", "hst_0002.pmap", "hst_0003.pmap"];
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &bytes[..])).collect();
        let world = World::in_memory(&files, Some(10_000));
        let held = world.fetcher.open(&key(names[0])).wait().await.unwrap();
        world.open(names[1]).await.unwrap();
        world.open(names[2]).await.unwrap();
        assert_eq!(world.fetcher.state(&key(names[0])), FileState::Cached);
        assert_eq!(world.fetcher.state(&key(names[1])), FileState::Remote);
        assert_eq!(world::bytes_of(&held), bytes);
    }

    async fn a_listed_mapping_without_a_length_is_fetched_to_learn_it() {
        let world = World::with(b"x");
        world.archive.say(Ok(world::description(&[("hst_0001.pmap", None)])));
        world.place.put("hst_0001.pmap", b"header = {}");
        assert_eq!(world.open("hst_0001.pmap").await.unwrap(), b"header = {}");
        assert_eq!(world.fetcher.store().holding(&key("hst_0001.pmap")).unwrap().size, 11);
        assert!(is_ready(&world.fetcher.open(&key("hst_0001.pmap"))));
        world.archive.say(Ok(world::description(&[("hst_0002.pmap", None)])));
        world.fetcher.catalogs().refresh(Observatory::Hst).wait().await.unwrap();
        world.place.put("hst_0002.pmap", b"header = {}");
        world.place.then([Act::End(11)]);
        assert_eq!(world.open("hst_0002.pmap").await.unwrap(), b"header = {}");
    }

    async fn checks_can_be_switched_off() {
        let unchecked = FetchSettings { checksums: false, ..settings() };
        let world = World::on(Arc::new(MemoryStore::default()), &[(FILE, b"good")], unchecked);
        world.place.put(FILE, b"evil");
        assert_eq!(world.open(FILE).await.unwrap(), b"evil");
        let lengths = FetchSettings { checksums: false, lengths: false, ..settings() };
        let world = World::on(Arc::new(MemoryStore::default()), &[(FILE, b"good")], lengths);
        world.place.put(FILE, b"longer");
        assert_eq!(world.open(FILE).await.unwrap(), b"longer");
    }

    async fn lengths_that_are_not_compared_do_not_bound_what_the_catalog_promises() {
        let bytes = content(400_000);
        for (promised, whole) in [(400_000, true), (250_000, true), (1_000, false)] {
            let unknown = FetchSettings { lengths: false, checksums: false, unknown: 100_000, ..settings() };
            let world = World::new(&[(FILE, &bytes[..promised])], unknown);
            world.place.put(FILE, &bytes);
            let opened = world.open(FILE).await;
            assert_eq!(opened.is_ok_and(|read| read == bytes), whole, "{promised}");
        }
    }

    async fn found_files_are_verified_before_they_are_served() {
        let bytes = content(5000);
        let world = World::with(&bytes);
        let references = world.dir.as_ref().unwrap().path().join("references/hst");
        std::fs::create_dir_all(&references).unwrap();
        std::fs::write(references.join(FILE), &bytes).unwrap();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert!(world.place.asked().is_empty());
        assert_eq!(world.fetcher.counters().adopted, 1);

        let world = World::with(&bytes);
        let references = world.dir.as_ref().unwrap().path().join("references/hst");
        std::fs::create_dir_all(&references).unwrap();
        std::fs::write(references.join(FILE), vec![0; 5000]).unwrap();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked().len(), 1);
        world.check_store();
    }

    async fn a_local_file_wins_over_a_transfer() {
        for length in [90_000, 7000] {
            let bytes = content(length);
            let world = World::with(&bytes);
            let open = open_while_a_local_file_comes(&world).await;
            assert_eq!(world::bytes_of(&open.await.unwrap().unwrap()), b"mine");
            assert_eq!(world.fetcher.state(&key(FILE)), FileState::Local);
            assert_eq!(world.open(FILE).await.unwrap(), b"mine");
        }
    }

    async fn a_file_whose_name_another_took_for_a_moment_is_fetched_again() {
        for length in [90_000, 7000] {
            let bytes = content(length);
            let world = World::with(&bytes);
            let open = open_while_a_local_file_comes(&world).await;
            let references = world.dir.as_ref().unwrap().path().join("references/hst");
            std::fs::remove_file(references.join(FILE)).unwrap();
            assert_eq!(world::bytes_of(&open.await.unwrap().unwrap()), bytes);
            world.check_store();
        }
    }

    async fn small_files_do_not_queue_behind_large_ones() {
        let (large, small) = (content(2_000_000), content(1000));
        let names: Vec<String> = (0..20).map(|number| format!("hst_acs_darkfile_{number:04}.fits")).collect();
        let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &large[..])).collect();
        files.push(("hst_0001.pmap", &small));
        let one = FetchSettings { large: u64::MAX, jobs: 2, ..settings() };
        let world = World::new(&files, one);
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        world.place.always(Some(Act::Stall(0)));
        let waiting: Vec<_> = names.iter().map(|name| world.fetcher.open(&key(name))).collect();
        while world.place.asked_for().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.place.always(None);
        assert_eq!(world.open("hst_0001.pmap").await.unwrap(), small);
        assert_eq!(world.place.asked_for().len(), 3, "two large ones at a time, and the small one");
        drop(waiting);
    }

    async fn waiters_hear_of_the_end() {
        let world = World::with(&content(1000));
        world.place.always(Some(Act::Stall(10)));
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        let open = world.fetcher.open(&key(FILE));
        world.fetcher.shutdown();
        assert_eq!(open.wait().await.unwrap_err().kind, FetchErrorKind::ShuttingDown);
        world.fetcher.finished().await;
        assert_eq!(world.fails(FILE).await, FetchErrorKind::ShuttingDown);
    }

    async fn offline_serves_what_is_there_and_refuses_the_rest_at_once() {
        let bytes = content(1000);
        let world = World::new(&[(FILE, &bytes), ("hst_0001.pmap", b"x")], settings());
        world.open(FILE).await.unwrap();
        let calls = world.archive.count();
        let world = world.restart(FetchSettings { offline: true, ..settings() }).await;
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        let refused = world.fetcher.open(&key("hst_0001.pmap"));
        assert!(is_ready(&refused));
        assert_eq!(refused.wait().await.unwrap_err().kind, FetchErrorKind::Offline);
        assert_eq!(world.archive.count(), calls);
        let told = world.fetcher.last_error(&key("hst_0001.pmap"));
        assert_eq!(told.map(|error| error.kind), Some(FetchErrorKind::Offline));
    }

    async fn a_file_that_vanishes_from_the_store_is_fetched_again() {
        let bytes = content(1000);
        let world = World::with(&bytes);
        world.open(FILE).await.unwrap();
        world.fetcher.store().close().unwrap();
        std::fs::remove_file(world.dir.as_ref().unwrap().path().join("references/hst").join(FILE)).unwrap();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked().len(), 2);
        world.place.remove(FILE);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
    }

    async fn what_was_opened_and_cannot_be_kept_is_told_until_it_is_fetched_again() {
        let bytes = content(50_000);
        let world = World::with(&bytes);
        // There is no place for the file's name.
        let references = world.dir.as_ref().unwrap().path().join("references");
        std::fs::write(&references, "").unwrap();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert!(world.fetcher.store().flush().is_err());
        let told = world.fetcher.last_errors();
        let [(_, error)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((error.kind, error.subject.as_str()), (FetchErrorKind::Store, "hst/hst_acs_darkfile_0001.fits"));
        assert!(error.message.contains("could not be kept"), "{error}");
        assert!(world.fetcher.last_error(&key(FILE)).is_some());
        std::fs::remove_file(&references).unwrap();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        world.fetcher.store().flush().unwrap();
        assert!(world.fetcher.last_error(&key(FILE)).is_none());
        assert_eq!(world.fetcher.last_errors().len(), 1, "what has happened stays in the list");
        world.check_store();
    }

    /// The disk was filled by others between the reservation and the first byte.
    async fn a_disk_that_is_full_after_all_is_cleared_once() {
        let bytes = content(5000);
        let files = [("hst_0001.pmap", &bytes[..]), ("hst_0002.pmap", &bytes[..])];
        let store = Arc::new(MemoryStore::default());
        let world = World::on(Arc::<MemoryStore>::clone(&store), &files, settings());
        world.open("hst_0001.pmap").await.unwrap();
        store.run_full(1);
        assert_eq!(world.open("hst_0002.pmap").await.unwrap(), bytes);
        assert_eq!(world.fetcher.state(&key("hst_0001.pmap")), FileState::Remote, "it was evicted");
        store.run_full(2);
        assert_eq!(world.fails("hst_0001.pmap").await, FetchErrorKind::NoSpace);
    }

    async fn what_an_earlier_run_left_of_a_file_that_is_gone_is_swept_away() {
        let bytes = content(90_000);
        for kept_catalog in [false, true] {
            let world = World::with(&bytes);
            let dir = world.dir.as_ref().unwrap().path().to_owned();
            let partials = dir.join(".crds-fs/partial/hst");
            let world = if kept_catalog {
                world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
                world.restart(settings()).await
            } else {
                world
            };
            std::fs::create_dir_all(&partials).unwrap();
            std::fs::write(partials.join("hst_acs_darkfile_9999.fits"), b"left").unwrap();
            std::fs::write(partials.join(FILE), b"left").unwrap();
            // Without a record it could not be resumed.
            let record = r#"{"url":"x","validator":"\"v\"","size":9,"parts":[{"start":0,"end":9,"done":4}]}"#;
            std::fs::write(partials.join(format!("{FILE}~record")), record).unwrap();
            world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
            assert!(!partials.join("hst_acs_darkfile_9999.fits").exists(), "{kept_catalog}");
            assert!(partials.join(FILE).exists(), "{kept_catalog}");
            // A file in flight whose name vanishes from the catalog keeps the bytes that have arrived.
            world.place.then([Act::Stall(30_000)]);
            let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
            arrived(&world, 30_000).await;
            world.archive.say(Ok(world::description(&[("hst_0001.pmap", Some(b"x"))])));
            world.fetcher.catalogs().refresh(Observatory::Hst).wait().await.unwrap();
            open.await.unwrap().unwrap();
        }
    }
}
