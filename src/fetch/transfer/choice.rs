//! The choice of the source of a transfer, and what is learnt of each.

use super::Transfer;
use crate::crds::FileKind;
use crate::fetch::error::{FetchError, FetchErrorKind};
use crate::fetch::receive::Receiver;
use crate::fetch::sources::{Source, is_absence, is_of_source};
use crate::fetch::state_machine::StateMachine;
use crate::remote::{RemoteError, RemoteErrorKind};

/// Whether nobody has answered.
fn is_silence(error: &FetchError) -> bool {
    matches!(error.kind, FetchErrorKind::Unreachable | FetchErrorKind::TimedOut)
}

impl Transfer<'_> {
    /// Changes the receiver over to the source whose turn it is, if it is another one.
    pub(super) fn choose_source(
        &mut self,
        machine: &StateMachine,
        reason: &FetchError,
    ) -> Result<(), FetchError> {
        let can_verify = self.inner.settings.checksums && self.entry.sha1.is_some();
        let Some(source) = self.sources.get(machine.source()).cloned() else {
            return Ok(());
        };
        let receiver = self.receiver()?;
        if *receiver.url() != source.url {
            if receiver.is_of_tier() {
                log::debug!("now from {}", source.url);
            } else {
                log::warn!("{reason}; now from {}", source.url);
            }
            receiver.go_on_with(&source);
            if !can_verify {
                // It could not be noticed that the bytes do not belong together.
                receiver.begin_anew()?;
            }
        }
        Ok(())
    }

    /// Goes on with the other layout of a source that does not have the file in this one; false if that is known.
    pub(super) fn try_other_layout(
        &mut self,
        source: usize,
        error: &RemoteError,
    ) -> Result<bool, FetchError> {
        let other = self
            .sources
            .get(source)
            .and_then(|source| source.in_other_layout(error));
        let Some(other) = other else { return Ok(false) };
        self.receiver()?.go_on_with(&other);
        if let Some(source) = self.sources.get_mut(source) {
            *source = other;
        }
        Ok(true)
    }

    /// Whether a source is the tier, and not the only one: then its failures are not those of the transfer.
    pub(super) fn is_mere_tier(&self, source: usize) -> bool {
        self.sources.len() > 1 && self.sources.get(source).is_some_and(|source| source.is_tier)
    }

    /// Notes a fault of a source for the opens that wait, and as the reason of a failure.
    pub(super) fn note_fault(
        &mut self,
        tried: usize,
        error: &RemoteError,
        reason: &mut FetchError,
    ) -> Result<(), FetchError> {
        let fault = FetchError::remote(&self.in_flight.key, error);
        log::debug!("{fault}");
        if self.is_mere_tier(tried) {
            return Ok(());
        }
        self.receiver()?.note_fault(&fault);
        // Silence tells less than what was told before, whatever ends it: the server, or the time limit in the
        // middle of a try.
        let is_silent = error.kind == RemoteErrorKind::TimedOut;
        let is_first = matches!(
            reason.kind,
            FetchErrorKind::ShuttingDown | FetchErrorKind::TimedOut
        );
        if !is_silent || is_first {
            *reason = fault;
        }
        Ok(())
    }

    /// Notes that a source is left because of a failure, which is the transfer's for now.
    pub(super) fn leave(&mut self, source: usize, error: &RemoteError, reason: &FetchError) {
        let observatory = self.key().observatory;
        let mut is_tier = false;
        if let Some(Source { number, other, .. }) = self.sources.get(source) {
            is_tier = self.is_mere_tier(source);
            let states = &self.inner.source_states;
            if is_of_source(error) {
                if is_tier && !states.is_failing(observatory, *number) {
                    log::warn!("the tier is left alone for a while: {error}");
                }
                states.note_failure(observatory, *number, error);
            } else {
                states.note_answer(observatory, *number);
            }
            if is_tier
                && is_absence(error)
                && other.is_none()
                && self.key().name.kind() == FileKind::Reference
            {
                states.note_absent(observatory, *number);
            }
        }
        if !is_tier && !is_silence(reason) {
            self.answer = Some(reason.clone());
        }
    }

    /// The failure that the transfer ends with: the last one, unless that source could not be reached and another one has
    /// given an answer.
    pub(super) fn telling(&mut self, last: FetchError) -> FetchError {
        let answer = self.answer.take().filter(|_| is_silence(&last));
        answer.unwrap_or(last)
    }

    /// Has the file written to the tier, if none of it came from there.
    pub(super) fn offer_to_tier(&self) {
        let served = self.in_flight.served();
        let gave = |source: &Source| served.iter().any(|one| one.url == source.url);
        let has_it = self.sources.iter().any(|source| source.is_tier && gave(source));
        if !has_it && !self.tier_is_wrong {
            self.inner.offer_to_tier(self.key(), self.entry);
        }
    }

    /// Notes which sources have given the file.
    pub(super) fn note_served(&self) {
        let served = self.in_flight.served();
        let last = self.receiver.as_ref().map(Receiver::url);
        if let Some(most) = served.iter().max_by_key(|source| source.bytes) {
            self.inner.origins.note(self.key(), self.entry, &most.url);
        }
        for source in &self.sources {
            if let Some(bytes) = served.iter().find(|one| one.url == source.url) {
                let is_last = last == Some(&source.url);
                let states = &self.inner.source_states;
                states.note_served(self.key().observatory, source, bytes.bytes, is_last);
            }
        }
    }
}
