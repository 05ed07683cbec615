//! Failures: retries, time limits, and the error that an open gets.

use super::world::{Act, FILE, World, content, key, settings};
use super::*;
use crate::remote::RemoteErrorKind;

tests! {
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
}
