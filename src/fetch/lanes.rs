//! Limits on the transfers that run at a time: slots, by observatory, for small files and for large ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::error::{FetchError, FetchErrorKind};
use crate::crds::Observatory;

/// The places for transfers that have given up their slot, in the lane of small files, and at least in that of large
/// ones.
const ASIDE: usize = 128;
const LARGE_ASIDE: usize = 16;

/// The time after which a transfer that stands still leaves its slot to others.
pub(super) const PACE_TIME: Duration = Duration::from_millis(500);

/// The lanes of all observatories; a server that stalls does not keep the files of others back.
#[derive(Debug)]
pub(super) struct Lanes {
    all: Vec<(Observatory, Arc<Lane>, Arc<Lane>)>,
}

/// Slots for transfers of one kind from one observatory.
#[derive(Debug)]
pub(super) struct Lane {
    slots: Arc<Semaphore>,
    /// Places for transfers that have given up their slot.
    aside: Arc<Semaphore>,
    /// Grows whenever bytes come or a transfer ends otherwise than by silence.
    moved: AtomicU64,
    /// Whether there is a fault: bytes that come need not take its lock.
    failing: AtomicBool,
    /// The last fault of a try since bytes have come, that concerns more than one file, and its time.
    fault: Mutex<Option<(Instant, FetchError)>>,
}

/// A transfer's place in its lane.
#[derive(Debug)]
pub(super) struct Slot {
    lane: Arc<Lane>,
    held: Mutex<Held>,
}

#[derive(Debug)]
enum Held {
    Slot { _permit: OwnedSemaphorePermit },
    Aside { _permit: OwnedSemaphorePermit },
}

/// The reason why there is no slot.
#[derive(Debug)]
pub(super) enum NoSlot {
    /// For the whole time allowed nothing has moved in the lane; with the fault of the transfers in it, if it was more than
    /// silence.
    Stuck(Option<FetchError>),
    /// The mount is going away.
    Closed,
}

impl Lanes {
    /// Lanes with slots for `jobs` large files, and four times as many small ones, from each observatory.
    pub(super) fn new(jobs: usize) -> Self {
        let jobs = jobs.clamp(1, Semaphore::MAX_PERMITS / 8);
        let lane = |slots, aside| {
            Arc::new(Lane {
                slots: Arc::new(Semaphore::new(slots)),
                aside: Arc::new(Semaphore::new(aside)),
                moved: AtomicU64::new(0),
                failing: AtomicBool::new(false),
                fault: Mutex::default(),
            })
        };
        let lanes = |observatory| {
            (
                observatory,
                lane(small_slots(jobs), ASIDE),
                lane(jobs, LARGE_ASIDE.max(jobs)),
            )
        };
        Self {
            all: Observatory::ALL.into_iter().map(lanes).collect(),
        }
    }

    pub(super) fn lane(&self, observatory: Observatory, small: bool) -> Option<&Arc<Lane>> {
        let (_, small_lane, large_lane) = self.all.iter().find(|(whose, ..)| *whose == observatory)?;
        Some(if small { small_lane } else { large_lane })
    }
}

/// The number of small files that are received at a time.
pub(super) fn small_slots(jobs: usize) -> usize {
    jobs.saturating_mul(4).max(4)
}

impl Lane {
    /// Notes that bytes have come.
    pub(super) fn note_bytes(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
        if self.failing.load(Ordering::Relaxed) {
            self.failing.store(false, Ordering::Relaxed);
            *self.fault.lock() = None;
        }
    }

    /// Notes that a transfer has ended with its file, or for this reason. The end of one that heard nothing is no move.
    pub(super) fn note_end(&self, failure: Option<&FetchError>) {
        if failure.is_none_or(|error| error.kind != FetchErrorKind::TimedOut) {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes the fault of a try. Silence is none, nor is what concerns one file alone.
    pub(super) fn note_fault(&self, fault: &FetchError) {
        if let FetchErrorKind::Unreachable | FetchErrorKind::ServerTrouble = fault.kind {
            *self.fault.lock() = Some((Instant::now(), fault.clone()));
            self.failing.store(true, Ordering::Relaxed);
        }
    }

    /// The fault of transfers that have kept the slots since `begun`: none of those is without progress for longer than
    /// `timeout`.
    fn fault_since(&self, begun: Instant, timeout: Duration) -> Option<FetchError> {
        let fault = self.fault.lock();
        let (when, fault) = fault.as_ref()?;
        (*when + timeout >= begun).then(|| fault.clone())
    }

    /// Waits for a slot, as long as anything moves in the lane within each `timeout`.
    async fn acquire(&self, timeout: Duration) -> Result<OwnedSemaphorePermit, NoSlot> {
        let begun = Instant::now();
        let mut slot = std::pin::pin!(Arc::clone(&self.slots).acquire_owned());
        loop {
            let before = self.moved.load(Ordering::Relaxed);
            match tokio::time::timeout(timeout, &mut slot).await {
                Ok(Ok(permit)) => return Ok(permit),
                Ok(Err(_)) => return Err(NoSlot::Closed),
                Err(_) if self.moved.load(Ordering::Relaxed) == before => {
                    return Err(NoSlot::Stuck(self.fault_since(begun, timeout)));
                }
                Err(_) => {}
            }
        }
    }
}

impl Slot {
    /// Waits for a slot.
    pub(super) async fn new(lane: &Arc<Lane>, timeout: Duration) -> Result<Self, NoSlot> {
        let permit = lane.acquire(timeout).await?;
        Ok(Self {
            lane: Arc::clone(lane),
            held: Mutex::new(Held::Slot { _permit: permit }),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Whether this transfer keeps a slot from others.
    pub(super) fn is_held(&self) -> bool {
        matches!(*self.held(), Held::Slot { .. })
    }

    /// Leaves the slot to others while nothing comes, if there is still a place for that.
    pub(super) fn step_aside(&self) {
        let mut held = self.held();
        if matches!(*held, Held::Slot { .. })
            && let Ok(permit) = Arc::clone(&self.lane.aside).try_acquire_owned()
        {
            *held = Held::Aside { _permit: permit };
        }
    }

    /// Runs `work`, and gives up the slot if it takes longer than [`PACE_TIME`].
    pub(super) async fn lend_while<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(PACE_TIME, &mut work).await {
            return done;
        }
        self.step_aside();
        work.await
    }

    /// Takes a slot again, if it was given up; returns the time that it waited.
    pub(super) async fn take_again(&self, timeout: Duration) -> Result<Duration, NoSlot> {
        if self.is_held() {
            return Ok(Duration::ZERO);
        }
        let begun = Instant::now();
        let permit = self.lane.acquire(timeout).await?;
        *self.held() = Held::Slot { _permit: permit };
        Ok(begun.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    async fn take(lane: &Arc<Lane>) -> Result<Slot, NoSlot> {
        Slot::new(lane, SOON).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_steps_aside_lets_others_pass() {
        let lanes = Lanes::new(1);
        let lane = lanes.lane(Observatory::Hst, false).unwrap();
        let first = take(lane).await.unwrap();
        assert!(matches!(take(lane).await, Err(NoSlot::Stuck(None))));
        first.step_aside();
        let second = take(lane).await.unwrap();
        assert!(matches!(first.take_again(SOON).await, Err(NoSlot::Stuck(None))));
        drop(second);
        assert!(first.take_again(SOON).await.is_ok() && first.is_held());
        // Other lanes are not concerned.
        take(lanes.lane(Observatory::Hst, true).unwrap()).await.unwrap();
        take(lanes.lane(Observatory::Jwst, false).unwrap()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn places_aside_are_limited() {
        let lanes = Lanes::new(1);
        let lane = lanes.lane(Observatory::Hst, false).unwrap();
        let mut aside = Vec::new();
        for _ in 0..LARGE_ASIDE {
            let slot = take(lane).await.unwrap();
            slot.step_aside();
            aside.push(slot);
        }
        let last = take(lane).await.unwrap();
        last.step_aside();
        assert!(last.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_patient_while_anything_moves() {
        let lanes = Lanes::new(1);
        let lane = Arc::clone(lanes.lane(Observatory::Hst, false).unwrap());
        let first = take(&lane).await.unwrap();
        let second = tokio::spawn({
            let lane = Arc::clone(&lane);
            async move { take(&lane).await.map(drop) }
        });
        for _ in 0..10 {
            tokio::time::sleep(SOON / 2).await;
            lane.note_bytes();
        }
        drop(first);
        second.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_hears_of_the_fault_of_those_before() {
        let lanes = Lanes::new(1);
        let lane = lanes.lane(Observatory::Hst, false).unwrap();
        let _first = take(lane).await.unwrap();
        let stuck = async || match take(lane).await {
            Err(NoSlot::Stuck(fault)) => fault.map(|fault| fault.kind),
            other => panic!("{other:?}"),
        };
        let fault = |kind| FetchError::new(kind, &"hst/it", "a fault");
        for of_one_file in [
            FetchErrorKind::TimedOut,
            FetchErrorKind::Gone,
            FetchErrorKind::Corrupt,
        ] {
            lane.note_fault(&fault(of_one_file));
        }
        assert_eq!(stuck().await, None);
        lane.note_fault(&fault(FetchErrorKind::Unreachable));
        lane.note_fault(&fault(FetchErrorKind::TimedOut));
        assert_eq!(stuck().await, Some(FetchErrorKind::Unreachable));
        // It was told before those began that are in the lane now.
        tokio::time::sleep(SOON * 2).await;
        assert_eq!(stuck().await, None);
        lane.note_fault(&fault(FetchErrorKind::ServerTrouble));
        lane.note_bytes();
        assert_eq!(stuck().await, None);
    }
}
