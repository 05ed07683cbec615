//! One transfer, from the slot in its lane to the file in the store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::error::{FetchError, FetchErrorKind};
use super::in_flight::{Answer, InFlight};
use super::lanes::{NoSlot, Slot};
use super::receive::{Break, Receiver, Target};
use super::small::{self, Stored};
use super::sources::{Located, Source};
use super::state_machine::{Event, State, StateMachine, Step};
use super::{Inner, Provided};
use crate::crds::{CatalogEntry, FileKey, Sha1Sum, Url};
use crate::store::{Found, HoldingKind, LeaseSeeker, Partial, Store, StoreError};

/// The number of times that a file is fetched again because another one took its name and went away again.
const TRIES: u32 = 3;

mod choice;
mod elsewhere;
mod work;

use elsewhere::Here;

/// The task of a transfer. It ends with the file, with a failure, or at the end of the mount.
pub(super) async fn run(inner: Arc<Inner>, in_flight: Arc<InFlight>, entry: CatalogEntry) {
    let completion = Completion {
        inner: Arc::clone(&inner),
        in_flight: Some(Arc::clone(&in_flight)),
    };
    let mut transfer = Transfer {
        inner: &inner,
        in_flight: &in_flight,
        entry,
        sources: Vec::new(),
        answer: None,
        tier_is_wrong: false,
        receiver: None,
        stored: None,
    };
    let answer = tokio::select! {
        biased;
        () = inner.end.cancelled() => Err(FetchError::shutting_down(&in_flight.key)),
        // A panic is cleaned up like any failure: above all the reservation of the file is released.
        answer = AssertUnwindSafe(transfer.go()).catch_unwind() => {
            answer.unwrap_or_else(|_| Err(without_result(&in_flight.key)))
        }
    };
    if let Err(error) = &answer {
        transfer.put_away(error).await;
        let quiet = matches!(error.kind, FetchErrorKind::ShuttingDown | FetchErrorKind::Offline);
        log::log!(
            if quiet {
                log::Level::Debug
            } else {
                log::Level::Warn
            },
            "{error}"
        );
        inner.metrics.failed(error.kind);
    }
    if inner.store.is_shared() {
        transfer.end_seeking().await;
    }
    completion.complete(answer);
}

/// Completes a transfer for those who wait, at the latest when it is dropped.
struct Completion {
    inner: Arc<Inner>,
    in_flight: Option<Arc<InFlight>>,
}

impl Completion {
    fn complete(mut self, answer: Answer) {
        if let Some(in_flight) = self.in_flight.take() {
            self.inner.running.complete(&in_flight, answer);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            let error = without_result(&in_flight.key);
            self.inner.running.complete(&in_flight, Err(error));
        }
    }
}

fn without_result(key: &FileKey) -> FetchError {
    let message = "the transfer has ended without a result, which is a mistake in crds-fs";
    FetchError::new(FetchErrorKind::Store, key, message)
}

struct Transfer<'a> {
    inner: &'a Arc<Inner>,
    in_flight: &'a Arc<InFlight>,
    entry: CatalogEntry,
    /// The sources of the file, in order.
    sources: Vec<Source>,
    /// The last failure that was an answer of a source that was left for the next one.
    answer: Option<FetchError>,
    /// Whether the tier has another file in its place.
    tier_is_wrong: bool,
    receiver: Option<Receiver>,
    /// A small file that is in the store already.
    stored: Option<Stored>,
}

impl Transfer<'_> {
    fn key(&self) -> &FileKey {
        &self.in_flight.key
    }

    async fn go(&mut self) -> Answer {
        let mut seeker = LeaseSeeker::default();
        let mut tries = 0;
        loop {
            let slot = Arc::new(self.slot().await?);
            let answer = match self.here_or_leased(&mut seeker).await {
                // Nobody waits in a slot for another mount.
                Ok(Here::Elsewhere(pause)) => {
                    drop(slot);
                    self.wait_elsewhere(&mut seeker, pause).await?;
                    continue;
                }
                Ok(Here::Provided(provided)) => Ok(provided),
                Ok(Here::Not) => match self.go_on(&slot).await {
                    Ok(Some(provided)) => Ok(provided),
                    Ok(None) if tries < TRIES => {
                        tries += 1;
                        seeker = LeaseSeeker::default();
                        continue;
                    }
                    Ok(None) => {
                        let message = "other files take its name and go away again; open it once more";
                        Err(FetchError::new(FetchErrorKind::Store, self.key(), message))
                    }
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            slot.lane().note_end(answer.as_ref().err());
            return answer;
        }
    }

    /// Fetches the file. There is none where another file took its name meanwhile and went away again.
    async fn go_on(&mut self, slot: &Arc<Slot>) -> Result<Option<Provided>, FetchError> {
        self.prepare(slot).await?;
        let tier = self.sources.iter().position(|source| source.is_tier);
        let mut machine = StateMachine::new(&self.inner.settings, self.sources.len()).with_tier(tier);
        let mut step = self.enter(&mut machine, &Event::Slot);
        let mut reason = FetchError::shutting_down(self.key());
        loop {
            step = match step {
                Step::Receive => {
                    self.choose_source(&machine, &reason)?;
                    self.receive(&mut machine, &mut reason).await?
                }
                Step::ReceiveAnew => {
                    self.inner.metrics.retries.add(1);
                    self.choose_source(&machine, &reason)?;
                    self.receiver()?.begin_anew()?;
                    self.receive(&mut machine, &mut reason).await?
                }
                Step::Pause(pause) => {
                    self.inner.metrics.retries.add(1);
                    slot.step_aside();
                    tokio::time::sleep(pause).await;
                    match slot.take_again(self.inner.settings.timeout).await {
                        Ok(waited) => self.receiver()?.excuse(waited),
                        Err(_) => return Err(self.telling(reason)),
                    }
                    self.enter(&mut machine, &Event::Rested)
                }
                Step::Verify => self.verify(&mut machine, &mut reason).await?,
                Step::Publish => {
                    let provided = self.publish().await?;
                    self.enter(&mut machine, &Event::Published);
                    return Ok(provided);
                }
                Step::Finish | Step::GiveUp => return Err(self.telling(reason)),
            };
        }
    }

    fn enter(&self, machine: &mut StateMachine, event: &Event<'_>) -> Step {
        let step = machine.on(event, &mut fastrand::Rng::new());
        self.in_flight.enter(machine.state());
        step
    }

    fn receiver(&mut self) -> Result<&mut Receiver, FetchError> {
        let key = &self.in_flight.key;
        self.receiver
            .as_mut()
            .ok_or_else(|| FetchError::new(FetchErrorKind::Store, key, "the transfer was not prepared"))
    }

    /// Waits for a slot of the file's lane. Fails only if nothing moves in the lane for `--timeout`, and then for the reason
    /// why those in it stand still.
    async fn slot(&self) -> Result<Slot, FetchError> {
        let settings = &self.inner.settings;
        let small = self.entry.size.is_none_or(|size| size <= settings.small);
        let observatory = self.key().observatory;
        let Some(lane) = self.inner.lanes.lane(observatory, small) else {
            return Err(FetchError::not_in_catalog(self.key()));
        };
        Slot::new(lane, settings.timeout).await.map_err(|no| match no {
            NoSlot::Closed => FetchError::shutting_down(self.key()),
            NoSlot::Stuck(None) => {
                let message = "the transfers before it have not received a byte for too long (--timeout)";
                FetchError::new(FetchErrorKind::TimedOut, self.key(), message)
            }
            NoSlot::Stuck(Some(fault)) => FetchError {
                message: format!("the transfers before it do not come: {}", fault.message),
                subject: self.key().to_string(),
                ..fault
            },
        })
    }

    /// Verifies the file that the store has found under this name, if there is one. A copy that is verified already
    /// came with a transfer that ended between the opener's look into the store and the beginning of this one.
    async fn adopt(&self) -> Result<Option<Provided>, FetchError> {
        let Some(holding) = self.inner.store.holding(self.key()) else {
            return Ok(None);
        };
        let entry = self.entry;
        if holding.kind != HoldingKind::Unverified {
            let open =
                move |store: &dyn Store, key: &FileKey| Provided::found(key, store.open(key, entry)?, entry);
            return self.short_work(open).await;
        }
        self.in_flight.enter(State::Verifying);
        let verify =
            move |store: &dyn Store, key: &FileKey| Provided::found(key, store.verify(key, entry)?, entry);
        let provided = if holding.size <= self.inner.settings.whole {
            self.short_work(verify).await?
        } else {
            self.blocking(verify).await?
        };
        self.in_flight.enter(State::Queued);
        if provided.is_some() {
            self.inner.metrics.adopted.add(1);
        }
        Ok(provided)
    }

    /// Locates the file and prepares the receiver of its bytes. For a small file the store is not touched before all of
    /// them are there.
    async fn prepare(&mut self, slot: &Arc<Slot>) -> Result<(), FetchError> {
        let locating = tokio::time::timeout(self.inner.settings.timeout, self.inner.locate(self.key()));
        let located = slot.lend_while(locating).await;
        let Located { entry, sources } = located.unwrap_or_else(|_| {
            let message = "its server has not said in time where it is (--timeout)";
            Err(FetchError::new(FetchErrorKind::TimedOut, self.key(), message))
        })?;
        self.entry = entry;
        self.sources = sources;
        self.in_flight.set_entry(entry);
        let url = self.sources.first().map(|source| source.url.clone());
        if let Some(url) = &url {
            self.in_flight.set_url(url);
        }
        let size = self.entry.size;
        let settings = &self.inner.settings;
        let is_small = |size: &u64| settings.lengths && *size <= settings.whole;
        // In a store that cannot be written the reservation fails, before any byte is requested.
        let small = size.filter(|size| is_small(size) && self.inner.store.is_writable());
        let target = if let Some(size) = small {
            Target::memory(size)
        } else {
            let at = |error: FetchError| match &url {
                Some(url) => error.at(url),
                None => error,
            };
            Target::Disk(self.begin(size).await.map_err(at)?)
        };
        let receiver = Receiver::new(self.inner, self.in_flight, slot, &self.sources, target, size)?;
        self.receiver = Some(receiver);
        Ok(())
    }

    /// Reserves the space of a file and opens its partial file.
    async fn begin(&self, size: Option<u64>) -> Result<Partial, FetchError> {
        self.blocking(move |store, key| {
            if let Some(size) = size {
                store.reserve(key, size)?;
            }
            match store.begin(key) {
                Err(error) if error.is_no_space() => {
                    store.make_room(key, size.unwrap_or(1 << 20))?;
                    store.begin(key)
                }
                other => other,
            }
        })
        .await
    }

    async fn receive(
        &mut self,
        machine: &mut StateMachine,
        reason: &mut FetchError,
    ) -> Result<Step, FetchError> {
        let key = self.in_flight.key.clone();
        let receiver = self.receiver()?;
        let outcome = receiver.receive().await;
        let url = receiver.url().clone();
        Ok(match outcome {
            Ok(()) => self.enter(machine, &Event::Complete),
            Err(Break::Remote { error, .. }) if self.try_other_layout(machine.source(), &error)? => {
                Step::Receive
            }
            Err(Break::Remote {
                error,
                progress,
                idle,
            }) => {
                let tried = machine.source();
                self.note_fault(tried, &error, reason)?;
                let broke = Event::Broke {
                    error: &error,
                    progress,
                    idle,
                };
                let step = self.enter(machine, &broke);
                if step == Step::GiveUp || machine.source() != tried {
                    self.leave(tried, &error, reason);
                }
                step
            }
            Err(Break::Changed) => {
                let message = "the content on the server changes while it is received";
                *reason = FetchError::new(FetchErrorKind::ServerTrouble, &key, message).at(&url);
                self.enter(machine, &Event::Changed)
            }
            Err(Break::WrongLength(found)) => {
                let expected = self.entry.size.unwrap_or_default();
                let what = format!("the server sends {found} bytes where the catalog says {expected}");
                self.receiver()?.forget_progress();
                self.mismatch(machine, reason, &what, &url, false)
            }
            Err(Break::Store(error)) => return Err(FetchError::store(&key, error).at(&url)),
        })
    }

    async fn verify(
        &mut self,
        machine: &mut StateMachine,
        reason: &mut FetchError,
    ) -> Result<Step, FetchError> {
        let checksums = self.inner.settings.checksums;
        let expected = self.entry.sha1.filter(|_| checksums);
        self.inner.store.note_complete(self.key());
        let receiver = self.receiver()?;
        let url = receiver.url().clone();
        let found = match receiver.take_bytes() {
            None => Some(receiver.digest().await?).filter(|found| expected.is_some_and(|it| it != *found)),
            Some(bytes) => self.store_whole(bytes, expected).await?,
        };
        let Some(found) = found else {
            return Ok(self.enter(machine, &Event::Match));
        };
        let expected = expected.as_ref().map(Sha1Sum::to_string).unwrap_or_default();
        let receiver = self.receiver()?;
        receiver.forget_progress();
        let mixed = receiver.is_mixed();
        let what = format!("the SHA-1 of what arrived is {found} where the catalog says {expected}");
        Ok(self.mismatch(machine, reason, &what, &url, mixed))
    }

    /// Stores the bytes of a small file if they have the `expected` digest; else returns the digest that they have.
    async fn store_whole(
        &mut self,
        bytes: Vec<u8>,
        expected: Option<Sha1Sum>,
    ) -> Result<Option<Sha1Sum>, FetchError> {
        let entry = self.entry;
        let stored = self.shortest_work(move |store, key| small::store(store, key, &bytes, entry, expected));
        match stored.await? {
            Stored::Mismatch(found) => Ok(Some(found)),
            stored => {
                self.stored = Some(stored);
                Ok(None)
            }
        }
    }

    fn mismatch(
        &mut self,
        machine: &mut StateMachine,
        reason: &mut FetchError,
        what: &str,
        url: &Url,
        mixed: bool,
    ) -> Step {
        self.inner.metrics.mismatches.add(1);
        let is_tier = self.is_mere_tier(machine.source());
        if !mixed && let Some(Source { number, .. }) = self.sources.get(machine.source()) {
            self.inner.source_states.note_wrong(*number, self.key(), url);
            if is_tier {
                self.tier_is_wrong = true;
                self.inner.note_wrong_in_tier(self.key(), url);
            }
        }
        let step = self.enter(machine, &Event::Mismatch { mixed });
        let fault = |message| FetchError::new(FetchErrorKind::Corrupt, self.key(), message).at(url);
        if step == Step::GiveUp {
            *reason = fault(format!("{what}, twice; nothing of it is kept"));
        } else {
            let once_more = fault(format!("{what}: thrown away and fetched once more"));
            log::warn!("{once_more}");
            if !is_tier {
                self.answer = Some(once_more.clone());
                *reason = once_more;
            }
        }
        step
    }

    async fn publish(&mut self) -> Result<Option<Provided>, FetchError> {
        let stored = if let Some(stored) = self.stored.take() {
            stored
        } else {
            let (partial, sha1) = self.receiver()?.result()?;
            let entry = self.entry;
            let published = self.blocking(move |store, key| match store.publish(key, &partial, sha1) {
                Ok(file) => Provided::new(key, file, Some(entry)).map(Stored::File),
                Err(StoreError::Overridden(_)) => {
                    store.abandon(key, false)?;
                    Ok(Stored::Overridden)
                }
                Err(error) => Err(error),
            });
            published.await?
        };
        let Stored::File(provided) = stored else {
            return self.open_other().await;
        };
        self.inner.metrics.downloads.add(1);
        self.note_served();
        self.offer_to_tier();
        log::info!(
            "fetched {} ({} bytes in {:.2?})",
            self.key(),
            self.in_flight.progress().0,
            self.in_flight.age()
        );
        Ok(Some(provided))
    }

    /// Opens the file that has taken the name of this one meanwhile: the user's own, or one that came into a shared store.
    async fn open_other(&self) -> Result<Option<Provided>, FetchError> {
        let entry = self.entry;
        let provided = self.blocking(move |store, key| {
            let found = match store.open(key, entry)? {
                Found::Unverified => store.verify(key, entry)?,
                other => other,
            };
            Provided::found(key, found, entry)
        });
        provided.await
    }

    /// Cleans up after a failure: keeps the bytes that have arrived if the next attempt can resume from them, and
    /// removes them otherwise.
    async fn put_away(&mut self, error: &FetchError) {
        let record = match (&self.receiver, error.kind) {
            (_, FetchErrorKind::Corrupt) | (None, _) => None,
            (Some(receiver), _) => receiver.record(),
        };
        let receiver = self.receiver.take();
        if receiver.as_ref().is_some_and(|receiver| !receiver.is_on_disk()) {
            return;
        }
        // Without a receiver nothing was written: an earlier attempt's bytes stay as they are.
        let keep = record.is_some() || receiver.is_none();
        let put_away = self.blocking(move |store, key| {
            if let Some(record) = &record {
                store.record(key, record)?;
            }
            store.abandon(key, keep)
        });
        if let Err(error) = put_away.await {
            log::debug!("{error}");
        }
    }
}
