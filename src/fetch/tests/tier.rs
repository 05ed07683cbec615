//! A tier before the sources.

use std::ops::Deref;

use super::world::{Act, FILE, Place, World, content, key};
use super::*;
use crate::fetch::sources::{FIRST_PAUSE, LEFT_ALONE, TIER_PATIENCE};
use crate::remote::RemoteErrorKind;
use crate::remote::memory::{Fault, MemoryDestination};

/// The URL of the file in the tier.
const THERE: &str = "http://127.0.0.2/tier/references/hst/hst_acs_darkfile_0001.fits";

/// A world with a tier.
struct Tiered {
    world: World,
    /// The files that were written to the tier.
    destination: MemoryDestination,
}

impl Deref for Tiered {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// A world with one file, and an empty tier.
fn world(bytes: &[u8]) -> (Tiered, Arc<Place>) {
    let (tier, destination) = (Arc::new(Place::default()), MemoryDestination::default());
    let world = World::with_tier(bytes, &tier, &destination);
    (Tiered { world, destination }, tier)
}

impl Tiered {
    fn status(&self) -> TierStatus {
        self.fetcher.tier().unwrap()
    }

    /// Waits until nothing waits to be written.
    async fn settle(&self) -> TierStatus {
        loop {
            let status = self.status();
            if status.write_back.queued_files == 0 {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn again(&self, bytes: &[u8]) {
        self.fetcher.store().remove(&key(FILE)).unwrap();
        assert_eq!(self.open(FILE).await.unwrap(), bytes);
    }
}

fn health(world: &Tiered) -> SourceHealth {
    let sources = world.fetcher.sources(Observatory::Hst);
    assert!(sources[0].is_tier && !sources[1].is_tier);
    sources[0].health
}

tests! {
    async fn what_came_from_elsewhere_is_written_to_it() {
        for length in [420_000, 90_000, 7000] {
            let bytes = content(length);
            let (world, tier) = world(&bytes);
            world.fetcher.catalogs().load(Observatory::Hst).wait().await.unwrap();
            assert_ne!(world.fetcher.url(&key(FILE)).unwrap().as_str(), THERE, "nobody knows whether it has it");
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            // In both layouts, since it may have either.
            assert_eq!((tier.asked().len(), world.place.asked().is_empty()), (2, false));
            let status = world.settle().await;
            assert_eq!((status.write_back.counts.written_files, status.served_files), (1, 0));
            assert_eq!(world.destination.found(THERE).unwrap(), bytes);
            assert_eq!(health(&world), SourceHealth::Ready, "to have nothing is no failure");
            assert_eq!(world.fetcher.counters().retries, 0);
        }
    }

    async fn what_it_has_comes_from_it_and_is_not_written() {
        let bytes = content(90_000);
        let (world, tier) = world(&bytes);
        tier.put(FILE, &bytes);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert!(world.place.asked().is_empty());
        assert_eq!(world.fetcher.url(&key(FILE)).unwrap().as_str(), THERE);
        let status = world.settle().await;
        assert_eq!((status.served_files, status.served_bytes), (1, 90_000));
        assert_eq!(status.write_back.counts, WriteBackCounts::default());
    }

    async fn after_a_few_files_that_it_lacks_it_is_flat() {
        let bytes = content(7000);
        let (world, tier) = world(&bytes);
        for _ in 0..6 {
            if world.fetcher.store().holding(&key(FILE)).is_some() {
                world.fetcher.store().remove(&key(FILE)).unwrap();
            }
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
        }
        assert_eq!(tier.asked().len(), 4 * 2 + 2);
    }

    async fn a_file_that_ends_in_the_middle_goes_on_from_the_server_at_once() {
        let bytes = content(90_000);
        let (world, tier) = world(&bytes);
        tier.put(FILE, &bytes);
        tier.then([Act::Drop(30_000)]);
        let begun = tokio::time::Instant::now();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(world.place.asked()[0].0, 30_000);
        assert_eq!(tier.asked().len(), 1, "it gets one try");
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(health(&world), SourceHealth::Failing);
        assert_eq!(world.settle().await.write_back.counts.written_files, 0, "it has it");
    }

    async fn a_silent_tier_is_waited_for_once_and_looked_at_in_the_background() {
        let bytes = content(90_000);
        let (world, tier) = world(&bytes);
        tier.put(FILE, &bytes);
        tier.answer_after(Duration::from_secs(10_000));
        let begun = tokio::time::Instant::now();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        assert_eq!(begun.elapsed().as_secs(), TIER_PATIENCE.as_secs());
        for _ in 0..5 {
            tokio::time::sleep(FIRST_PAUSE * 20).await;
            let begun = tokio::time::Instant::now();
            world.again(&bytes).await;
            assert!(begun.elapsed() < TIER_PATIENCE / 2, "no open waits for it again");
        }
        assert!(tier.asked().len() > 2, "it is looked at");
        // Well again, it is found out without an open that waits.
        tier.answer_after(Duration::ZERO);
        tokio::time::sleep(LEFT_ALONE * 2).await;
        world.again(&bytes).await;
        while health(&world) == SourceHealth::Failing {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let before = world.place.asked().len();
        world.again(&bytes).await;
        assert_eq!(world.place.asked().len(), before, "it serves");
    }

    async fn its_failures_are_nobodys() {
        let bytes = content(90_000);
        for kind in [RemoteErrorKind::NotFound, RemoteErrorKind::Denied, RemoteErrorKind::Unreachable, RemoteErrorKind::Server] {
            let (world, tier) = world(&bytes);
            tier.always(Some(Act::Fail(kind)));
            world.place.always(Some(Act::Fail(RemoteErrorKind::Unreachable)));
            assert_eq!(world.fails(FILE).await, FetchErrorKind::Unreachable, "{kind:?}");
            let told = world.fetcher.last_error(&key(FILE)).unwrap();
            assert_eq!(told.url.unwrap().host().unwrap(), "127.0.0.1", "{kind:?}");
            // Silence of the server is the server's, whatever the tier has said before.
            tokio::time::sleep(LEFT_ALONE * 2).await;
            world.place.always(Some(Act::Stall(0)));
            assert_eq!(world.fails(FILE).await, FetchErrorKind::TimedOut, "{kind:?}");
        }
    }

    async fn neither_are_its_lies() {
        let (bytes, lie) = (content(90_000), content(90_001)[1..].to_vec());
        let (world, tier) = world(&bytes);
        tier.put(FILE, &lie);
        world.place.always(Some(Act::Fail(RemoteErrorKind::Unreachable)));
        assert_eq!(world.fails(FILE).await, FetchErrorKind::Unreachable);
    }

    async fn a_lie_of_the_server_is_not_its_own() {
        let bytes = content(90_000);
        let (world, _) = world(&bytes);
        world.place.then([Act::Flip(7)]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        let counts = world.settle().await.write_back.counts;
        assert_eq!((counts.wrong_files, counts.written_files), (0, 1));
    }

    async fn its_layout_is_not_guessed_from_failures_and_mappings() {
        let mappings: Vec<_> = (1..7).map(|number| format!("hst_acs_darkfile_000{number}.rmap")).collect();
        let bytes = content(7000);
        let (world, tier) = world(&bytes);
        let (mut listed, bytes_of_one) = (vec![(FILE, Some(bytes.as_slice()))], b"{}".as_slice());
        for name in &mappings {
            world.place.put(name, bytes_of_one);
            listed.push((name, Some(bytes_of_one)));
        }
        world.archive.say(Ok(super::world::description(&listed)));
        tier.always(Some(Act::Fail(RemoteErrorKind::Server)));
        for _ in 0..6 {
            if world.fetcher.store().holding(&key(FILE)).is_some() {
                world.fetcher.store().remove(&key(FILE)).unwrap();
            }
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            tokio::time::sleep(LEFT_ALONE * 2).await;
        }
        tier.always(None);
        world.again(&bytes).await;
        tokio::time::sleep(LEFT_ALONE * 2).await;
        for name in &mappings {
            assert_eq!(world.open(name).await.unwrap(), bytes_of_one);
        }
        let before = tier.asked().len();
        world.again(&bytes).await;
        assert_eq!(tier.asked().len() - before, 2, "it may still have references in either");
    }

    async fn as_the_last_resort_it_is_asked_though_it_failed() {
        let bytes = content(90_000);
        let (world, tier) = world(&bytes);
        tier.put(FILE, &bytes);
        tier.then([Act::Fail(RemoteErrorKind::Server)]);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        world.place.always(Some(Act::Fail(RemoteErrorKind::Unreachable)));
        world.again(&bytes).await;
        assert_eq!(world.status().served_files, 1);
    }

    async fn a_lie_is_found_out_told_and_never_replaced() {
        for (length, lie) in [(90_000, 90_000), (90_000, 80_000), (7000, 7000)] {
            let (bytes, lie) = (content(length), content(lie + 1)[1..].to_vec());
            let (world, tier) = world(&bytes);
            tier.put(FILE, &lie);
            assert_eq!(world.open(FILE).await.unwrap(), bytes);
            assert_eq!(health(&world), SourceHealth::Wrong);
            assert_eq!(world.fetcher.wrong_files()[0].url.as_str(), THERE);
            let status = world.settle().await;
            assert_eq!((status.write_back.counts.wrong_files, status.write_back.counts.written_files), (1, 0));
            // Left alone for a while, and asked again then.
            world.again(&bytes).await;
            assert_eq!(tier.asked().len(), 1);
            tokio::time::sleep(LEFT_ALONE).await;
            world.again(&bytes).await;
            assert_eq!(tier.asked().len(), 2);
            world.check_store();
        }
    }

    async fn what_another_one_wrote_meanwhile_stays() {
        let bytes = content(90_000);
        let (world, _) = world(&bytes);
        world.destination.place(THERE, Some(b"other"));
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        let status = world.settle().await;
        assert_eq!(status.write_back.counts.wrong_files, 1);
        assert_eq!(world.destination.found(THERE).unwrap().as_ref(), b"other");
    }

    async fn a_damaged_copy_is_never_written() {
        let bytes = content(90_000);
        let (world, _) = world(&bytes);
        world.destination.fail(Fault::Broken);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        while world.status().write_back.error.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.fetcher.store().flush().unwrap();
        let path = world.dir.as_ref().unwrap().path().join("references/hst").join(FILE);
        let mut damaged = bytes.clone();
        damaged[7] ^= 1;
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, &damaged).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let status = world.settle().await;
        let counts = status.write_back.counts;
        // The store may see by itself that it is another file.
        assert_eq!(counts.damaged_files + counts.unwritten_files, 1, "{counts:?}");
        assert!(world.destination.found(THERE).is_none());
    }

    async fn a_tier_that_cannot_be_written_is_told_once_and_read() {
        let bytes = content(7000);
        let (world, tier) = world(&bytes);
        world.destination.fail(Fault::Forbidden);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        let status = world.settle().await;
        assert_eq!(status.write_back.state.as_str(), "read-only");
        tier.put(FILE, &bytes);
        world.again(&bytes).await;
        assert_eq!(world.status().served_files, 1);
    }

    async fn the_end_waits_for_what_can_be_written_and_not_for_what_cannot() {
        let bytes = content(90_000);
        let (world, _) = world(&bytes);
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        world.fetcher.shutdown();
        world.fetcher.finished().await;
        world.fetcher.finish_write_back(Duration::from_secs(20)).await;
        assert_eq!(world.destination.found(THERE).unwrap(), bytes);

        let (world, _) = self::world(&bytes);
        world.destination.hang();
        assert_eq!(world.open(FILE).await.unwrap(), bytes);
        world.fetcher.shutdown();
        world.fetcher.finished().await;
        let begun = tokio::time::Instant::now();
        world.fetcher.finish_write_back(Duration::from_secs(20)).await;
        assert_eq!(begun.elapsed().as_secs(), 20);
        assert!(world.destination.found(THERE).is_none());
    }
}
