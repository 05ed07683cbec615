//! Large files: parts, streams, the frontier.

use super::world::{Act, FILE, World, content, key, settings};
use super::*;
use crate::remote::RemoteErrorKind;

tests! {
    async fn large_files_come_in_parts() {
        let bytes = content(420_000);
        let world = World::with(&bytes);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        let mut asked = world.place.asked();
        asked.sort_unstable();
        // Without a condition: caches serve that best, and the validators of the replies are compared.
        let part = |number: u64| (number * 100_000, Some(((number + 1) * 100_000).min(420_000)), false);
        assert_eq!(asked, [0, 1, 2, 3, 4].map(part));
        assert_eq!(world.fetcher.counters().bytes, 420_000);
        world.check_store();
    }

    async fn parts_that_break_go_on_where_they_stopped() {
        let bytes = content(420_000);
        let world = World::with(&bytes);
        world.place.then([Act::Drop(50_000), Act::Drop(60_000), Act::Stall(70_000), Act::Drop(1), Act::Drop(0)]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        world.check_store();
        assert!(world.fetcher.counters().bytes < 640_000);
    }

    async fn a_server_without_ranges_gives_one_stream() {
        let bytes = content(420_000);
        let world = World::with(&bytes);
        world.place.always(Some(Act::Whole));
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked().len(), 1);
        assert_eq!(world.fetcher.counters().bytes, 420_000);

        // Broken in the middle, it has to begin anew.
        let world = World::with(&bytes);
        world.place.then([Act::Whole, Act::Whole]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        world.check_store();
    }

    async fn a_content_that_changes_between_parts_begins_anew_in_one_stream() {
        let (old, new) = (content(420_000), content(420_001)[1..].to_vec());
        let world = World::with(&new);
        world.place.put(FILE, &old);
        world.place.then([Act::Stall(30_000)]);
        let open = tokio::spawn({
            let fetcher = world.fetcher.clone();
            async move { fetcher.open(&key(FILE)).wait().await.map(|file| world::bytes_of(&file)) }
        });
        // The other parts are there, the first one stalls: now the file is replaced.
        while world.fetcher.counters().bytes < 350_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.place.put(FILE, &new);
        assert_eq!(open.await.unwrap().unwrap(), new);
        let asked = world.place.asked();
        assert_eq!(asked.last(), Some(&(0, None, false)), "{asked:?}");
        world.check_store();
    }

    async fn parts_that_are_longer_than_asked_do_no_harm() {
        let bytes = content(420_000);
        let world = World::with(&bytes);
        world.place.then([Act::Beyond(5000), Act::Beyond(50_000), Act::Beyond(1)]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.fetcher.counters().mismatches, 0);
        world.check_store();
    }

    async fn no_byte_is_asked_for_twice_where_all_streams_bring_some() {
        let bytes = content(400_000);
        let sharing = FetchSettings { part: 200_000, least: 20_000, ..settings() };
        let world = World::new(&[(FILE, &bytes)], sharing);
        world.place.always(Some(Act::Slow));
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        let asked = world.place.asked();
        assert!(asked.len() > 3, "{asked:?}");
        assert_eq!(asked.iter().map(|(from, end, _)| end.unwrap() - from).sum::<u64>(), 400_000, "{asked:?}");
    }

    async fn whoever_has_nothing_to_do_shares_the_part_of_a_stream_that_stands_still() {
        let bytes = content(400_000);
        let sharing = FetchSettings {
            part: 200_000,
            least: 20_000,
            streams: 2,
            stall_timeout: Duration::from_secs(200),
            ..settings()
        };
        let world = World::new(&[(FILE, &bytes)], sharing);
        world.place.then([Act::Stall(20_000)]);
        world.place.then((0..20).map(|_| Act::Slow));
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        world.check_store();
        let asked = world.place.asked();
        assert_eq!(asked[0], (0, Some(100_000), false));
        assert!(asked.contains(&(60_000, Some(100_000), false)), "{asked:?}");
    }

    async fn a_server_that_refuses_more_streams_is_not_left() {
        let bytes = content(420_000);
        for refusal in [RemoteErrorKind::Busy, RemoteErrorKind::Unreachable, RemoteErrorKind::Interrupted] {
            let world = World::with(&bytes);
            // The first request is answered and goes on, also when the second fails.
            world.place.then([Act::Slow, Act::Fail(refusal)]);
            assert_eq!(world.open(FILE).await.unwrap(), bytes, "{refusal:?}");
            assert_eq!((world.fetcher.counters().retries, world.fetcher.counters().failures), (1, 0));
            let again = world.place.asked().iter().filter(|(from, ..)| *from == 0).count();
            assert_eq!(again, 1, "the first part came once");
            world.check_store();
        }
    }

    async fn how_far_streams_have_come_that_stand_still_is_saved() {
        let bytes = content(420_000);
        let world = World::with(&bytes);
        // Three streams, of which each has 30,000 bytes and nothing more.
        world.place.always(Some(Act::Stall(30_000)));
        let open = tokio::spawn({
            let fetcher = world.fetcher.clone();
            async move { fetcher.open(&key(FILE)).wait().await.map(drop) }
        });
        arrived(&world, 90_000).await;
        let record = world.dir.as_ref().unwrap().path().join(format!(".crds-fs/partial/hst/{FILE}~record"));
        let saved = || {
            let record: Record = serde_json::from_slice(&std::fs::read(&record).ok()?).ok()?;
            Some(record.arrived())
        };
        // Time goes on when the store has nothing to do, so that this is long before a stream is begun anew.
        tokio::time::sleep(2 * receive::RECORD_TIME).await;
        assert_eq!(saved(), Some(90_000));
        open.abort();
    }

    async fn the_frontier_can_be_watched() {
        let bytes = content(420_000);
        let world = World::with(&bytes);
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        assert!(world.fetcher.frontier(&key(FILE)).is_none());
        world.place.then([Act::Stall(30_000)]);
        let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
        let mut frontier = world.fetcher.frontier(&key(FILE)).unwrap();
        assert_eq!(*frontier.borrow(), 0);
        assert_eq!(*frontier.wait_for(|at| *at > 0).await.unwrap(), 30_000);
        // Bytes beyond the gap do not move it.
        arrived(&world, 130_000).await;
        assert_eq!(*frontier.borrow_and_update(), 30_000);
        assert_eq!(*frontier.wait_for(|at| *at == 420_000).await.unwrap(), 420_000);
        open.await.unwrap().unwrap();
        assert!(frontier.changed().await.is_err(), "it ends with the transfer");
    }
}
