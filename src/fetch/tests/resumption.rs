//! Transfers that go on where an earlier try, or an earlier process, stopped.

use super::world::{Act, FILE, World, content, key, settings};
use super::*;

tests! {
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
}
