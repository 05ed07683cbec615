use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use super::*;
use crate::remote::RemoteErrorKind;
use crate::store::{MemoryStore, Part, Record};

mod catalog_changes;
mod large;
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

    async fn a_dropped_connection_goes_on_where_it_stopped() {
        let bytes = content(90_000);
        let world = World::with(&bytes);
        world.place.then([Act::Drop(30_000), Act::Drop(20_000)]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked(), [(0, None, false), (30_000, None, true), (50_000, None, true)]);
        assert_eq!(world.fetcher.counters().retries, 2);
    }

    async fn a_small_file_goes_on_where_it_stopped_too() {
        let bytes = content(7000);
        let world = World::with(&bytes);
        world.place.then([Act::Drop(3000), Act::Stall(2000)]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked(), [(0, None, false), (3000, None, true), (5000, None, true)]);
        assert_eq!(world.fetcher.counters().mismatches, 0);
        world.check_store();
    }

    async fn a_small_file_ignores_what_an_earlier_transfer_left_of_it() {
        let bytes = content(7000);
        let world = World::with(&bytes);
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        let store = world.fetcher.store();
        let earlier = store.begin(&key(FILE)).unwrap();
        earlier.file.write_all_at(&content(9001)[1..], 0).unwrap();
        let record = Record {
            url: world.fetcher.url(&key(FILE)).unwrap().to_string(),
            validator: Some("\"1\"".to_owned()),
            size: 9000,
            parts: vec![Part { start: 0, end: 9000, done: 9000 }],
        };
        store.record(&key(FILE), &record).unwrap();
        drop(earlier);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked(), [(0, None, false)]);
        world.check_store();
    }

    async fn a_stalled_connection_is_tried_again() {
        let bytes = content(90_000);
        let world = World::with(&bytes);
        world.place.then([Act::Stall(30_000)]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked(), [(0, None, false), (30_000, None, true)]);
    }

    async fn a_server_that_says_nothing_times_out() {
        let world = World::with(&content(90_000));
        world.place.always(Some(Act::Stall(0)));
        let before = tokio::time::Instant::now();
        assert_eq!(world.fails(FILE).await, FetchErrorKind::TimedOut);
        let took = before.elapsed();
        assert!(took >= Duration::from_secs(250) && took <= Duration::from_secs(301), "{took:?}");
        world.place.always(None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.open(FILE).await.unwrap();
        world.check_store();
    }

    async fn the_end_of_the_time_allowed_hides_no_fault() {
        let short = FetchSettings { timeout: Duration::from_secs(3), ..settings() };
        let world = World::new(&[(FILE, &content(1000))], short);
        world.place.then([Act::Fail(RemoteErrorKind::Interrupted), Act::Fail(RemoteErrorKind::Interrupted), Act::Stall(0)]);
        assert_eq!(world.fails(FILE).await, FetchErrorKind::ServerTrouble);
        assert_eq!(world.place.asked().len(), 3);
    }

    async fn silence_hides_no_fault() {
        let impatient = FetchSettings {
            stall_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            ..settings()
        };
        for (fault, kind) in [
            (Act::Fail(RemoteErrorKind::Server), FetchErrorKind::ServerTrouble),
            (Act::Fail(RemoteErrorKind::Unreachable), FetchErrorKind::Unreachable),
            (Act::Drop(10), FetchErrorKind::ServerTrouble),
            (Act::Flip(3), FetchErrorKind::Corrupt),
        ] {
            let world = World::new(&[(FILE, &content(1000))], impatient.clone());
            // Each try but the first ends after a second without a byte.
            world.place.then([fault.clone()].into_iter().chain((0..20).map(|_| Act::Stall(0))));
            assert_eq!(world.fails(FILE).await, kind, "{fault:?}");
            assert!(world.place.asked().len() > 3, "{fault:?}: {:?}", world.place.asked());
        }
    }

    async fn who_queues_behind_a_fault_gets_that_fault() {
        // One slot, and sixteen places aside: the last opens have no turn while those before are tried again and again.
        let narrow = FetchSettings {
            jobs: 1,
            small: 100,
            timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
            ..settings()
        };
        let bytes = content(1000);
        let names: Vec<String> = (0..40).map(|number| format!("hst_acs_darkfile_{number:04}.fits")).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &bytes[..])).collect();
        let world = World::new(&files, narrow.clone());
        world.place.always(Some(Act::Fail(RemoteErrorKind::Server)));
        world.place.answer_after(Duration::from_secs(8));
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        let before = tokio::time::Instant::now();
        let opens: Vec<_> = names.iter().map(|name| world.fetcher.open(&key(name))).collect();
        for open in opens {
            assert_eq!(open.wait().await.unwrap_err().kind, FetchErrorKind::ServerTrouble);
        }
        assert!(before.elapsed() < narrow.timeout * 3, "{:?}", before.elapsed());
    }

    async fn a_queue_behind_stalled_transfers_times_out_too() {
        let names: Vec<String> = (0..40).map(|number| format!("hst_acs_darkfile_{number:04}.fits")).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"data"[..])).collect();
        let world = World::new(&files, settings());
        world.place.always(Some(Act::Stall(0)));
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        let before = tokio::time::Instant::now();
        let opens: Vec<_> = names.iter().map(|name| world.fetcher.open(&key(name))).collect();
        for open in opens {
            assert_eq!(open.wait().await.unwrap_err().kind, FetchErrorKind::TimedOut);
        }
        // The last ones did not wait for all that were before them, one after the other.
        assert!(before.elapsed() < settings().timeout * 2, "{:?}", before.elapsed());
    }

    async fn each_failure_has_its_kind_and_passes() {
        for (failure, kind, requests) in [
            (RemoteErrorKind::Unreachable, FetchErrorKind::Unreachable, 2),
            (RemoteErrorKind::Denied, FetchErrorKind::Denied, 1),
            (RemoteErrorKind::NotFound, FetchErrorKind::Gone, 1),
            (RemoteErrorKind::Server, FetchErrorKind::ServerTrouble, 5),
            (RemoteErrorKind::Busy, FetchErrorKind::ServerTrouble, 5),
            (RemoteErrorKind::Protocol, FetchErrorKind::ServerTrouble, 1),
            (RemoteErrorKind::TimedOut, FetchErrorKind::TimedOut, 0),
        ] {
            let bytes = content(1000);
            let world = World::with(&bytes);
            world.place.always(Some(Act::Fail(failure)));
            assert_eq!(world.fails(FILE).await, kind, "{failure:?}");
            if requests > 0 {
                assert_eq!(world.place.asked().len(), requests, "{failure:?}");
            }
            // A storm of opens does not ask again.
            let before = world.place.asked().len();
            assert!(is_ready(&world.fetcher.open(&key(FILE))));
            assert_eq!(world.fails(FILE).await, kind);
            assert_eq!(world.place.asked().len(), before);
            assert_eq!(world.fetcher.last_error(&key(FILE)).unwrap().kind, kind);
            assert_eq!(world.fetcher.last_errors().len(), 1);
            world.place.always(None);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            assert!(world.fetcher.last_error(&key(FILE)).is_none());
            world.check_store();
        }
    }

    async fn trouble_that_passes_is_not_seen() {
        let bytes = content(90_000);
        let world = World::with(&bytes);
        let server = || Act::Fail(RemoteErrorKind::Server);
        world.place.then([server(), server(), Act::BusyFor(Duration::from_secs(20)), Act::Drop(10), server()]);
        let before = tokio::time::Instant::now();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert!(before.elapsed() >= Duration::from_secs(20), "Retry-After is honoured");
        assert_eq!(world.fetcher.counters().failures, 0);
    }

    async fn wrong_data_is_fetched_once_more_and_never_kept() {
        let (large, small) = (content(90_000), content(7000));
        for (bytes, act) in [
            (&large, Act::Flip(40_000)),
            (&large, Act::End(50_000)),
            (&large, Act::Other(b"<html>Please log in</html>")),
            (&small, Act::Flip(4000)),
            (&small, Act::End(5000)),
            (&small, Act::Other(b"<html>Please log in</html>")),
        ] {
            let bytes = bytes.clone();
            let world = World::with(&bytes);
            world.place.then([act.clone()]);
            assert_eq!(world.open(FILE).await.unwrap(), bytes, "{act:?}");
            assert_eq!(world.fetcher.counters().mismatches, 1);
            world.check_store();

            let world = World::with(&bytes);
            world.place.always(Some(act.clone()));
            assert_eq!(world.fails(FILE).await, FetchErrorKind::Corrupt, "{act:?}");
            assert_eq!(world.place.asked().len(), 2);
            let dir = world.dir.as_ref().unwrap().path();
            assert!(!dir.join("references/hst").join(FILE).exists());
            let left = std::fs::read_dir(dir.join(".crds-fs/partial/hst"));
            assert!(left.map_or(0, Iterator::count) == 0);
            world.place.always(None);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            world.check_store();
        }
    }

    async fn a_content_that_changes_under_one_stream_begins_anew() {
        let (old, new) = (content(90_000), content(90_001)[1..].to_vec());
        let world = World::with(&new);
        world.place.put(FILE, &old);
        world.place.then([Act::Stall(30_000)]);
        let open = world.fetcher.open(&key(FILE));
        let open = tokio::spawn(open.wait());
        while world.fetcher.counters().bytes < 30_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.place.put(FILE, &new);
        open.await.unwrap().unwrap();
        assert_eq!(world.open(FILE).await.unwrap(), new);
        assert_eq!(world.place.asked(), [(0, None, false), (30_000, None, true)]);
        world.check_store();
    }

    async fn transfers_go_on_after_a_restart() {
        for length in [90_000, 420_000] {
            let bytes = content(length);
            let world = World::with(&bytes);
            world.place.always(Some(Act::Stall(60_000)));
            let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
            arrived(&world, 60_000).await;
            let world = world.restart(settings()).await;
            assert_eq!(open.await.unwrap().unwrap_err().kind, FetchErrorKind::ShuttingDown);
            let before = world.place.asked().len();
            world.place.always(None);
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            let asked = world.place.asked()[before];
            assert_eq!((asked.0, asked.2), (60_000, true));
            world.check_store();
        }
    }

    async fn a_restart_finds_another_content() {
        let (old, new) = (content(90_000), content(90_001)[1..].to_vec());
        let world = World::with(&new);
        world.place.put(FILE, &old);
        world.place.always(Some(Act::Stall(60_000)));
        let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
        arrived(&world, 60_000).await;
        let world = world.restart(settings()).await;
        open.await.unwrap().unwrap_err();
        world.place.always(None);
        world.place.put(FILE, &new);
        assert_eq!(world.open(FILE).await.unwrap(), new);
        world.check_store();
    }

    async fn bytes_lost_in_a_crash_are_found_out() {
        let bytes = content(90_000);
        let world = World::with(&bytes);
        world.place.always(Some(Act::Stall(60_000)));
        let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
        arrived(&world, 60_000).await;
        let partial = world.dir.as_ref().unwrap().path().join(".crds-fs/partial/hst").join(FILE);
        let world = world.restart(settings()).await;
        open.await.unwrap().unwrap_err();
        // A power failure leaves the length, and zeros instead of data.
        std::fs::write(&partial, vec![0; 60_000]).unwrap();
        world.place.always(None);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.fetcher.counters().mismatches, 1);
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
            world.place.then([Act::Stall(1000)]);
            let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
            while world.fetcher.counters().bytes < 1000 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let dir = world.dir.as_ref().unwrap().path();
            std::fs::write(dir.join("mine"), b"mine").unwrap();
            world.fetcher.store().move_in(std::path::Path::new("mine"), &key(FILE)).unwrap();
            assert_eq!(world::bytes_of(&open.await.unwrap().unwrap()), b"mine");
            assert_eq!(world.fetcher.state(&key(FILE)), FileState::Local);
            assert_eq!(world.open(FILE).await.unwrap(), b"mine");
        }
    }

    async fn a_file_whose_name_another_took_for_a_moment_is_fetched_again() {
        for length in [90_000, 7000] {
            let bytes = content(length);
            let world = World::with(&bytes);
            world.place.then([Act::Stall(1000)]);
            let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
            while world.fetcher.counters().bytes < 1000 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let dir = world.dir.as_ref().unwrap().path();
            std::fs::write(dir.join("mine"), b"mine").unwrap();
            world.fetcher.store().move_in(std::path::Path::new("mine"), &key(FILE)).unwrap();
            std::fs::remove_file(dir.join("references/hst").join(FILE)).unwrap();
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

    /// A panic of the origin must not leave an open waiting.
    async fn a_transfer_that_panics_is_a_failure_for_all_who_wait() {
        let bytes = content(1000);
        let world = World::with(&bytes);
        world.open("hst_0009.pmap").await.unwrap_err();
        world.place.then([Act::Panic]);
        let opens: Vec<_> = (0..3).map(|_| tokio::spawn(world.fetcher.open(&key(FILE)).wait())).collect();
        for open in opens {
            let ended = tokio::time::timeout(Duration::from_secs(1000), open).await;
            assert_eq!(ended.expect("it ends").unwrap().unwrap_err().kind, FetchErrorKind::Store);
        }
        assert!(world.fetcher.transfers().is_empty());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
    }

    async fn a_transfer_that_panics_gives_its_room_back() {
        let (bytes, other) = (content(1000), "hst_acs_darkfile_0002.fits");
        let world = World::in_memory(&[(FILE, &bytes), (other, &bytes)], Some(1500));
        world.place.then([Act::Panic]);
        assert_eq!(world.fails(FILE).await, FetchErrorKind::Store);
        assert_eq!(world.open(other).await.unwrap(), bytes);
    }

    async fn without_a_validator_a_transfer_begins_anew() {
        let bytes = content(90_000);
        let world = World::with(&bytes);
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        let store = world.fetcher.store();
        let earlier = store.begin(&key(FILE)).unwrap();
        earlier.file.write_all_at(&content(50_001)[1..], 0).unwrap();
        let part = Part { start: 0, end: 90_000, done: 50_000 };
        let record = Record {
            url: world.fetcher.url(&key(FILE)).unwrap().to_string(),
            validator: None,
            size: 90_000,
            parts: vec![part],
        };
        store.record(&key(FILE), &record).unwrap();
        drop(earlier);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked(), [(0, None, false)]);
        assert_eq!(world.fetcher.counters().mismatches, 0);
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
