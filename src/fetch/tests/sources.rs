//! Several sources of one file.

use std::sync::Arc;

use super::world::{Act, FILE, Place, World, content, key};
use super::*;
use crate::fetch::sources::{FIRST_PAUSE, LEFT_ALONE};
use crate::remote::RemoteErrorKind;

fn mirror(bytes: &[u8]) -> Arc<Place> {
    let mirror = Arc::new(Place::default());
    mirror.put(FILE, bytes);
    mirror
}

/// The bytes that each source has given, by the last number of its address; 1 is the server.
fn served(world: &World) -> Vec<(char, u64)> {
    let served = world.fetcher.served(&key(FILE));
    let number = |url: &Url| url.host().and_then(|host| host.chars().last()).unwrap();
    served
        .iter()
        .map(|source| (number(&source.url), source.bytes))
        .collect()
}

tests! {
    async fn the_first_source_serves() {
        let bytes = content(90_000);
        let mirror = mirror(&bytes);
        let world = World::with_mirrors(&bytes, &[&mirror]);
        world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
        assert_eq!(world.fetcher.url(&key(FILE)).unwrap(), *"http://127.0.0.2/hst_acs_darkfile_0001.fits");
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert!(world.place.asked().is_empty());
        assert_eq!(served(&world), [('2', 90_000)]);
    }

    async fn the_next_source_goes_on_from_the_bytes_that_are_here() {
        for length in [420_000, 90_000, 7000] {
            let bytes = content(length);
            let (first, second) = (mirror(&bytes), mirror(&bytes));
            second.always(Some(Act::Fail(RemoteErrorKind::NotFound)));
            let world = World::with_mirrors(&bytes, &[&first, &second]);
            first.then([Act::Drop(3000)]);
            first.then((0..20).map(|_| Act::Fail(RemoteErrorKind::Denied)));
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            // The validators of one are nothing to the other.
            let asked = world.place.asked();
            assert_eq!((asked[0].0, asked[0].2), (3000, false), "{asked:?}");
            assert_eq!(second.asked().len(), 1);
            let bytes = u64::try_from(length).unwrap();
            assert_eq!(served(&world), [('2', 3000), ('1', bytes - 3000)]);
            assert_eq!(world.fetcher.url(&key(FILE)).unwrap().host().unwrap(), "127.0.0.1");
            assert_eq!(world.fetcher.counters().failures, 0);
            world.check_store();
        }
    }

    async fn a_silent_source_is_left_before_the_time_is_over() {
        let bytes = content(90_000);
        let first = mirror(&bytes);
        first.always(Some(Act::Stall(0)));
        let world = World::with_mirrors(&bytes, &[&first]);
        let begun = tokio::time::Instant::now();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert!(begun.elapsed() < Duration::from_secs(100));
    }

    async fn all_sources_fail() {
        let bytes = content(90_000);
        let (first, second) = (mirror(&bytes), mirror(&bytes));
        first.always(Some(Act::Fail(RemoteErrorKind::Server)));
        second.always(Some(Act::Fail(RemoteErrorKind::NotFound)));
        let world = World::with_mirrors(&bytes, &[&first, &second]);
        world.place.always(Some(Act::Fail(RemoteErrorKind::Denied)));
        assert_eq!(world.fails(FILE).await, FetchErrorKind::Denied, "the last one's word counts");
        assert_eq!((first.asked().len(), second.asked().len()), (5, 1));
    }

    async fn bytes_that_do_not_belong_together_come_anew_from_one_source() {
        for length in [90_000, 7000] {
            let (bytes, old) = (content(length), content(length + 1)[1..].to_vec());
            let first = mirror(&old);
            let world = World::with_mirrors(&bytes, &[&first]);
            first.then([Act::Drop(3000)]);
            first.then([Act::Fail(RemoteErrorKind::NotFound)]);
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            assert_eq!(world.place.asked(), [(3000, None, false), (0, None, false)]);
            assert_eq!(served(&world), [('1', u64::try_from(length).unwrap())]);
            assert_eq!(world.fetcher.counters().mismatches, 1);
            assert!(world.fetcher.wrong_files().is_empty(), "nobody knows whose bytes are wrong");
            world.check_store();
        }
    }

    async fn without_a_digest_bytes_of_two_sources_are_never_put_together() {
        for length in [90_000, 7000] {
            let (bytes, old) = (content(length), content(length + 1)[1..].to_vec());
            let first = mirror(&old);
            let unchecked = FetchSettings { checksums: false, ..super::world::settings() };
            let world = World::with_mirrors_by(unchecked, &bytes, &[&first]);
            first.then([Act::Drop(3000)]);
            first.then([Act::Fail(RemoteErrorKind::NotFound)]);
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            assert_eq!(world.place.asked(), [(0, None, false)]);
        }
    }

    async fn a_source_that_lies_is_found_out() {
        let (bytes, lie) = (content(90_000), content(90_001)[1..].to_vec());
        let first = mirror(&lie);
        let world = World::with_mirrors(&bytes, &[&first]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(first.asked().len(), 1);
        assert_eq!(world.place.asked(), [(0, None, false)]);
        world.check_store();
        // One that has another length says so in the head of its reply.
        let first = mirror(&lie[1..]);
        let world = World::with_mirrors(&bytes, &[&first]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(served(&world), [('1', 90_000)]);
    }

    async fn a_source_that_lies_is_left_alone_for_a_while() {
        let (bytes, lie) = (content(90_000), content(90_001)[1..].to_vec());
        let mirror = mirror(&lie);
        let world = World::with_mirrors(&bytes, &[&mirror]);
        let again = || async {
            world.fetcher.store().remove(&key(FILE)).unwrap();
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
        };
        assert!(world.fetcher.wrong_files().is_empty());
        again().await;
        assert_eq!((mirror.asked().len(), world.place.asked().len()), (1, 1));
        let wrong = world.fetcher.wrong_files();
        let [wrong] = wrong.as_slice() else { panic!("{wrong:?}") };
        assert_eq!((&wrong.key, wrong.url.host().as_deref()), (&key(FILE), Some("127.0.0.2")));
        again().await;
        assert_eq!((mirror.asked().len(), world.place.asked().len()), (1, 2));
        // It comes last, and not never.
        world.place.then([Act::Fail(RemoteErrorKind::NotFound)]);
        mirror.put(FILE, &bytes);
        again().await;
        assert_eq!((mirror.asked().len(), world.place.asked().len()), (2, 3));
        tokio::time::advance(LEFT_ALONE).await;
        assert!(world.fetcher.wrong_files().is_empty());
        again().await;
        assert_eq!((mirror.asked().len(), world.place.asked().len()), (3, 3));
        world.check_store();
    }

    async fn a_source_that_fails_is_left_alone_and_tried_again() {
        let bytes = content(90_000);
        let mirror = mirror(&bytes);
        let world = World::with_mirrors(&bytes, &[&mirror]);
        let again = async |expected: (usize, usize)| {
            if world.fetcher.state(&key(FILE)) == FileState::Cached {
                world.fetcher.store().remove(&key(FILE)).unwrap();
            }
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            assert_eq!((mirror.asked().len(), world.place.asked().len()), expected);
        };
        let status = || world.fetcher.sources(Observatory::Hst).remove(0);
        assert_eq!(status().health, SourceHealth::Unused);
        mirror.always(Some(Act::Fail(RemoteErrorKind::Unreachable)));
        again((2, 1)).await;
        let failing = status();
        assert_eq!((failing.health, failing.files), (SourceHealth::Failing, 0));
        assert!(failing.error.unwrap().contains("told to fail"));
        again((2, 2)).await;
        // Its time is over, and it fails again: it is left alone for twice the time.
        tokio::time::advance(FIRST_PAUSE * 5 / 4).await;
        assert_eq!(status().retry_in, Some(Duration::ZERO));
        again((4, 3)).await;
        assert!(status().retry_in.unwrap() >= FIRST_PAUSE * 2);
        tokio::time::advance(FIRST_PAUSE * 3 / 2).await;
        again((4, 4)).await;
        // It is the only one that has the file: it is asked all the same.
        world.place.always(Some(Act::Fail(RemoteErrorKind::NotFound)));
        mirror.always(None);
        again((5, 5)).await;
        let ready = status();
        assert_eq!((ready.health, ready.files, ready.bytes), (SourceHealth::Ready, 1, 90_000));
        assert_eq!((ready.error, ready.retry_in), (None, None));
        again((6, 5)).await;
    }

    async fn one_transfer_tries_a_source_for_all() {
        let bytes = content(90_000);
        let names: Vec<String> = (0..6).map(|number| format!("hst_acs_darkfile_000{number}.fits")).collect();
        let mirror = Arc::new(Place::default());
        let world = World::with_mirrors(&bytes, &[&mirror]);
        for name in &names {
            world.place.put(name, &bytes);
            mirror.put(name, &bytes);
        }
        let listed: Vec<_> = names.iter().map(|name| (name.as_str(), Some(bytes.as_slice()))).collect();
        world.archive.say(Ok(world::description(&listed)));
        mirror.always(Some(Act::Fail(RemoteErrorKind::Unreachable)));
        assert_eq!(world.open(&names[0]).await.unwrap(), bytes);
        let before = mirror.asked().len();
        tokio::time::advance(FIRST_PAUSE * 5 / 4).await;
        mirror.always(Some(Act::Stall(0)));
        let opens = names.iter().skip(1).map(|name| world.open(name));
        for opened in futures_util::future::join_all(opens).await {
            assert_eq!(opened.unwrap(), bytes);
        }
        let asked: std::collections::BTreeSet<_> = mirror.asked_for().into_iter().skip(before).collect();
        assert_eq!(asked.len(), 1, "{asked:?}");
    }

    async fn a_file_that_a_source_does_not_have_says_nothing_about_the_source() {
        let bytes = content(90_000);
        let mirror = mirror(&bytes);
        let world = World::with_mirrors(&bytes, &[&mirror]);
        for kind in [RemoteErrorKind::NotFound, RemoteErrorKind::Denied] {
            mirror.then([Act::Fail(kind)]);
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            assert_eq!(world.fetcher.sources(Observatory::Hst)[0].health, SourceHealth::Ready);
            world.fetcher.store().remove(&key(FILE)).unwrap();
        }
    }

    async fn an_answer_says_more_than_silence() {
        let bytes = content(90_000);
        let mirror = mirror(&bytes);
        let world = World::with_mirrors(&bytes, &[&mirror]);
        for (kind, told) in [
            (RemoteErrorKind::NotFound, FetchErrorKind::Gone),
            (RemoteErrorKind::Denied, FetchErrorKind::Denied),
            (RemoteErrorKind::Server, FetchErrorKind::ServerTrouble),
            (RemoteErrorKind::Unreachable, FetchErrorKind::Unreachable),
        ] {
            tokio::time::advance(LEFT_ALONE * 2).await;
            mirror.always(Some(Act::Fail(kind)));
            world.place.always(Some(Act::Fail(RemoteErrorKind::Unreachable)));
            assert_eq!(world.fails(FILE).await, told, "{kind:?}");
        }
        tokio::time::advance(LEFT_ALONE * 2).await;
        mirror.always(Some(Act::Flip(5)));
        assert_eq!(world.fails(FILE).await, FetchErrorKind::Corrupt);
    }

    async fn the_only_source_is_asked_also_after_it_has_lied() {
        let bytes = content(90_000);
        let world = World::with(&bytes);
        world.place.then([Act::Flip(7), Act::Flip(7)]);
        assert_eq!(world.fails(FILE).await, FetchErrorKind::Corrupt);
        assert_eq!(world.fetcher.wrong_files().len(), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
    }

    async fn a_transfer_goes_on_with_another_source_after_a_restart() {
        let bytes = content(90_000);
        let first = mirror(&bytes);
        let world = World::with_mirrors(&bytes, &[&first]);
        first.always(Some(Act::Fail(RemoteErrorKind::NotFound)));
        world.place.always(Some(Act::Stall(60_000)));
        let open = tokio::spawn(world.fetcher.open(&key(FILE)).wait());
        arrived(&world, 60_000).await;
        // Without the mirror from now on.
        let world = world.restart(world::settings()).await;
        open.await.unwrap().unwrap_err();
        let before = world.place.asked().len();
        world.place.always(None);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked()[before], (60_000, None, true));
    }

    async fn sources_that_were_found_dead_answer_for_all_files() {
        let (bytes, other) = (content(90_000), "hst_acs_darkfile_0002.fits");
        let settings = FetchSettings { outage: Duration::from_secs(5), ..world::settings() };
        let world = World::new(&[(FILE, &bytes), (other, &bytes)], settings);
        // An error about one file says nothing of the source's other files.
        world.place.then([Act::Fail(RemoteErrorKind::NotFound)]);
        assert_eq!(world.fails(FILE).await, FetchErrorKind::Gone);
        world.place.always(Some(Act::Fail(RemoteErrorKind::Unreachable)));
        assert_eq!(world.fails(other).await, FetchErrorKind::Unreachable);
        let asked = world.place.asked().len();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let error = world.open(FILE).await.unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Unreachable);
        assert!(error.to_string().contains(FILE) && !error.to_string().contains(other), "{error}");
        assert_eq!(world.place.asked().len(), asked);
        // One transfer tries the source again; the others do without it until that has succeeded.
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.place.always(Some(Act::Slow));
        let (looks, told) = tokio::join!(world.open(FILE), world.open(other));
        assert_eq!(looks.unwrap(), bytes);
        told.unwrap_err();
        assert_eq!(world.open(other).await.unwrap(), bytes);
    }
}
