//! The last hour of a mount's counters. Pure: times are handed in, as time spans since the page began.

use std::collections::VecDeque;
use std::time::Duration;

use crate::tree::report::StatusReport;

/// The length of an interval; of the readings in it the last one counts.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);

/// The number of intervals that are kept: an hour.
pub(super) const INTERVALS: usize = 240;

/// The counters of a mount at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading {
    /// The process that serves the mount, and the time of mounting: with others the counters have begun anew.
    process: (u32, String),
    counts: Counts,
}

/// Counts of a mount, since it was made or in some span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Bytes received.
    pub(super) bytes: u64,
    /// Opens that were answered by the store.
    pub(super) hits: u64,
    /// Opens that had to wait.
    pub(super) misses: u64,
    /// Transfers that failed in the end.
    pub(super) failures: u64,
}

/// The use of a mount in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Use {
    /// The counts of this span.
    pub(super) counts: Counts,
    /// The time for which they were counted; none while the mount was not seen.
    pub(super) seen: Duration,
    /// Whether another process serves the mount since this span.
    pub(super) remounted: bool,
}

/// The readings of the last hour.
#[derive(Debug, Default)]
pub(super) struct History {
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    /// The number of the interval since the page began.
    number: u64,
    /// The moment of the last reading in it.
    at: Duration,
    /// The reading; none when the mount did not answer.
    reading: Option<Reading>,
    /// Whether a process before that of the reading was seen in the same interval.
    remounted: bool,
}

impl Reading {
    /// The counters of a status.
    pub(super) fn of(status: &StatusReport) -> Self {
        let counters = &status.counters.transfers;
        Self {
            process: (status.pid, status.started.clone()),
            counts: Counts {
                bytes: counters.bytes,
                hits: counters.hits,
                misses: counters.misses,
                failures: counters.failures,
            },
        }
    }
}

impl Counts {
    /// The part of opens that needed no waiting, in thousandths; none without opens.
    pub(super) fn hit_rate(self) -> Option<u64> {
        let opens = self.hits.saturating_add(self.misses);
        self.hits.saturating_mul(1000).checked_div(opens)
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
            failures: self.failures.saturating_sub(earlier.failures),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            hits: self.hits.saturating_add(other.hits),
            misses: self.misses.saturating_add(other.misses),
            failures: self.failures.saturating_add(other.failures),
        }
    }
}

impl Use {
    /// Bytes received per second; none while the mount was not seen.
    pub(super) fn rate(self) -> Option<u64> {
        let thousandths = u64::try_from(self.seen.as_millis()).unwrap_or(u64::MAX);
        self.counts.bytes.saturating_mul(1000).checked_div(thousandths)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            counts: self.counts.plus(other.counts),
            seen: self.seen + other.seen,
            remounted: self.remounted || other.remounted,
        }
    }
}

impl History {
    /// Takes down a reading, or that the mount did not answer.
    pub(super) fn note(&mut self, at: Duration, reading: Option<Reading>) {
        let number = interval(at);
        let slot = Slot {
            number,
            at,
            reading,
            remounted: false,
        };
        match self.slots.back_mut() {
            Some(last) if last.number >= number => {
                let process = |slot: &Slot| slot.reading.as_ref().map(|reading| reading.process.clone());
                let before = process(last);
                // A mount that does not answer for a moment takes nothing away from what was counted before.
                if slot.reading.is_some() || last.reading.is_none() {
                    let remounted = last.remounted || (before.is_some() && before != process(&slot));
                    *last = Slot { remounted, ..slot };
                }
            }
            _ => self.slots.push_back(slot),
        }
        let oldest = number.saturating_sub(INTERVALS as u64);
        while self.slots.front().is_some_and(|slot| slot.number < oldest) {
            self.slots.pop_front();
        }
    }

    /// The use of the mount in each interval of the last hour, the current one last.
    pub(super) fn uses(&self, now: Duration) -> Vec<Use> {
        let mut uses = vec![Use::default(); INTERVALS];
        let newest = interval(now);
        let mut last: Option<(&Reading, Duration)> = None;
        for slot in &self.slots {
            let Some(reading) = &slot.reading else {
                continue;
            };
            let span = match last {
                Some((earlier, when)) if earlier.process == reading.process => Use {
                    counts: reading.counts.since(earlier.counts),
                    seen: slot.at.saturating_sub(when),
                    remounted: slot.remounted,
                },
                // The counts of a mount that has just been made are all of this interval.
                Some((_, when)) => Use {
                    counts: reading.counts,
                    seen: slot.at.saturating_sub(when),
                    remounted: true,
                },
                None => Use {
                    remounted: slot.remounted,
                    ..Use::default()
                },
            };
            last = Some((reading, slot.at));
            let place = usize::try_from(newest.saturating_sub(slot.number)).unwrap_or(usize::MAX);
            if let Some(place) = INTERVALS.checked_sub(1).and_then(|end| end.checked_sub(place))
                && let Some(entry) = uses.get_mut(place)
            {
                *entry = span;
            }
        }
        uses
    }

    /// The time of the first reading that is kept.
    pub(super) fn begin(&self) -> Option<Duration> {
        self.slots.front().map(|slot| slot.at)
    }
}

/// The sums of each so many intervals, and of all.
pub(super) fn sums(uses: &[Use], size: usize) -> Vec<Use> {
    uses.chunks(size.max(1)).map(total).collect()
}

/// The sum of all intervals.
pub(super) fn total(uses: &[Use]) -> Use {
    uses.iter().fold(Use::default(), |sum, used| sum.plus(*used))
}

/// The number of the interval that a moment is in.
fn interval(at: Duration) -> u64 {
    at.as_secs() / INTERVAL.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes down a reading of a process.
    fn note(history: &mut History, at: u64, pid: u32, bytes: u64) {
        let counts = Counts {
            bytes,
            ..Counts::default()
        };
        let process = (pid, String::new());
        history.note(seconds(at), Some(Reading { process, counts }));
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The uses of the last intervals: bytes, seconds seen, remounted.
    fn last(history: &History, now: u64, count: usize) -> Vec<(u64, u64, bool)> {
        let uses = history.uses(seconds(now));
        assert_eq!(uses.len(), INTERVALS);
        let last = uses.iter().skip(INTERVALS - count);
        last.map(|used| (used.counts.bytes, used.seen.as_secs(), used.remounted))
            .collect()
    }

    #[test]
    fn counts_are_differences_of_the_last_readings_of_intervals() {
        let mut history = History::default();
        for (at, bytes) in [
            (0, 1000),
            (2, 1010),
            (14, 1100),
            (16, 1150),
            (29, 1400),
            (31, 1400),
        ] {
            note(&mut history, at, 1, bytes);
        }
        assert_eq!(
            last(&history, 31, 4),
            [(0, 0, false), (0, 0, false), (300, 15, false), (0, 2, false)],
            "what was counted before the page began is not of the hour"
        );
        let uses = history.uses(seconds(31));
        assert_eq!(
            uses.iter().filter_map(|used| used.rate()).collect::<Vec<_>>(),
            [20, 0]
        );
        assert_eq!(total(&uses).counts.bytes, 300);
        assert_eq!(history.begin(), Some(seconds(14)));
        // As time goes by the intervals move to the left.
        assert_eq!(
            last(&history, 61, 4),
            [(300, 15, false), (0, 2, false), (0, 0, false), (0, 0, false)]
        );
    }

    #[test]
    fn an_hour_is_kept() {
        let mut history = History::default();
        for number in 0..2000 {
            note(&mut history, number * 15, 1, number * 30);
        }
        let uses = history.uses(seconds(1999 * 15));
        assert!(uses.iter().all(|used| used.rate() == Some(2)), "{uses:?}");
        assert!(history.slots.len() <= INTERVALS + 1);
        assert_eq!(sums(&uses, 20).len(), 12);
        assert_eq!(sums(&uses, 20)[0].counts.bytes, 600);
        assert!(
            history
                .uses(seconds(100_000))
                .iter()
                .all(|used| used.rate().is_none())
        );
    }

    #[test]
    fn a_silent_mount_is_a_gap_and_a_new_process_counts_from_zero() {
        let mut history = History::default();
        note(&mut history, 0, 1, 500);
        history.note(seconds(15), None);
        note(&mut history, 30, 1, 560);
        assert_eq!(
            last(&history, 30, 3),
            [(0, 0, false), (0, 0, false), (60, 30, false)]
        );
        history.note(seconds(32), None);
        assert_eq!(last(&history, 32, 1), [(60, 30, false)], "a moment is no gap");
        note(&mut history, 46, 2, 7);
        assert_eq!(last(&history, 46, 2), [(60, 30, false), (7, 16, true)]);
        // Also when it comes within an interval.
        note(&mut history, 47, 3, 8);
        note(&mut history, 61, 3, 9);
        assert_eq!(last(&history, 61, 2), [(8, 17, true), (1, 14, false)]);
    }

    #[test]
    fn a_new_process_in_the_first_interval_is_told() {
        let mut history = History::default();
        note(&mut history, 0, 1, 500);
        history.note(seconds(2), None);
        note(&mut history, 4, 2, 0);
        assert_eq!(last(&history, 4, 1), [(0, 0, true)]);
    }

    #[test]
    fn the_hit_rate_is_of_opens() {
        let counts = |hits, misses| Counts {
            hits,
            misses,
            ..Counts::default()
        };
        assert_eq!(counts(0, 0).hit_rate(), None);
        assert_eq!(counts(0, 3).hit_rate(), Some(0));
        assert_eq!(counts(2, 1).hit_rate(), Some(666));
        assert_eq!(counts(u64::MAX, 1).hit_rate(), Some(1), "no overflow");
    }
}
