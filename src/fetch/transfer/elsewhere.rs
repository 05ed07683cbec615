//! A file that another mount of a shared store may bring.

use std::time::Duration;

use super::Transfer;
use crate::fetch::Provided;
use crate::fetch::error::FetchError;
use crate::fetch::state_machine::State;
use crate::store::{LeaseSeeker, Sought};

/// The number of looks at a file that others have brought and that cannot be used, before it is fetched all the same.
const LOOKS: usize = 5;

/// The finding of [`Transfer::go`].
pub(super) enum Here {
    /// The file is here.
    Provided(Provided),
    /// Another mount fetches it; look again after a pause.
    Elsewhere(Duration),
    /// It is to be fetched.
    Not,
}

impl Transfer<'_> {
    /// Looks whether the file is here by now, and else asks for the lease on it, where the store is shared.
    pub(super) async fn here_or_leased(&mut self, seeker: &mut LeaseSeeker) -> Result<Here, FetchError> {
        for _ in 0..LOOKS {
            if let Some(provided) = self.adopt().await? {
                return Ok(Here::Provided(provided));
            }
            if self.inner.is_offline(self.key().observatory) {
                return Err(FetchError::offline(self.key()));
            }
            match self.seek(seeker, true).await? {
                Sought::Fetch | Sought::Free => return Ok(Here::Not),
                Sought::Wait(pause) => return Ok(Here::Elsewhere(pause)),
                Sought::There => self.look().await?,
            }
        }
        // The file comes and goes; fetched without a lease in the end.
        Ok(Here::Not)
    }

    /// Waits until another mount has brought the file, or nobody fetches it.
    pub(super) async fn wait_elsewhere(
        &mut self,
        seeker: &mut LeaseSeeker,
        pause: Duration,
    ) -> Result<(), FetchError> {
        self.in_flight.enter(State::Elsewhere);
        let mut pause = Some(pause);
        while let Some(time) = pause {
            tokio::time::sleep(time).await;
            pause = match self.seek(seeker, false).await? {
                Sought::Wait(pause) => Some(pause),
                Sought::There => {
                    self.look().await?;
                    None
                }
                Sought::Fetch | Sought::Free => None,
            };
        }
        self.in_flight.enter(State::Queued);
        Ok(())
    }

    async fn seek(&self, seeker: &mut LeaseSeeker, may_take: bool) -> Result<Sought, FetchError> {
        if !self.inner.store.is_shared() {
            return Ok(Sought::Fetch);
        }
        let (entry, mut asked) = (self.entry, std::mem::take(seeker));
        let asking = self.blocking(move |store, key| {
            let sought = store.seek(key, entry, &mut asked, may_take)?;
            Ok((sought, asked))
        });
        let (sought, asked) = asking.await?;
        *seeker = asked;
        Ok(sought)
    }

    pub(super) async fn end_seeking(&self) {
        let ended = self.blocking(|store, key| {
            store.end_seeking(key);
            Ok(())
        });
        if let Err(error) = ended.await {
            log::debug!("{error}");
        }
    }

    /// Lets the store look at what lies under the name, which [`Transfer::adopt`] then verifies.
    async fn look(&self) -> Result<(), FetchError> {
        let entry = self.entry;
        self.short_work(move |store, key| store.open(key, entry).map(drop))
            .await
    }
}
