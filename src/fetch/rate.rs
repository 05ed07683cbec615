//! The rate of a transfer in its last seconds. Pure; times are given.

use std::time::Duration;

use tokio::time::Instant;

/// The time over which the rate is smoothed: bytes that came so long ago count a third of those that come now.
const MEMORY: Duration = Duration::from_secs(3);

/// The smoothed rate of a transfer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// The end of the last interval.
    at: Instant,
    /// Bytes per second up to then; none before the first interval is over.
    smoothed: Option<f64>,
}

impl Rate {
    /// The rate of a transfer whose first byte may come from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            at: now,
            smoothed: None,
        }
    }

    /// Forgets everything but the time, because nothing was received for a reason that is none of the source's.
    pub(super) fn restart(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Counts the bytes that have come since the last call.
    pub(super) fn note(&mut self, bytes: u64, now: Instant) {
        let time = now.saturating_duration_since(self.at);
        if time.is_zero() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
        let rate = bytes as f64 / time.as_secs_f64();
        let old = Self::weight(time);
        self.smoothed = Some(
            self.smoothed
                .map_or(rate, |before| before * old + rate * (1.0 - old)),
        );
        self.at = now;
    }

    /// Bytes per second at this moment; 0 while it is not measured. It fades where nothing comes any more.
    pub(super) fn per_second(&self, now: Instant) -> u64 {
        let silent = now.saturating_duration_since(self.at);
        let rate = self.smoothed.unwrap_or_default() * Self::weight(silent.saturating_sub(MEMORY));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and a cast saturates"
        )]
        let rate = rate as u64;
        rate
    }

    /// The weight of what was measured `time` ago.
    fn weight(time: Duration) -> f64 {
        (-time.as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_millis(500);

    /// The rate after so many intervals of half a second with `bytes` each.
    fn after(rate: &mut Rate, now: &mut Instant, intervals: u32, bytes: u64) -> u64 {
        for _ in 0..intervals {
            *now += HALF;
            rate.note(bytes, *now);
        }
        rate.per_second(*now)
    }

    #[test]
    fn a_steady_rate_is_told_from_the_first_interval_on() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        assert_eq!(rate.per_second(now), 0);
        assert_eq!(after(&mut rate, &mut now, 1, 1000), 2000);
        let steady = after(&mut rate, &mut now, 20, 1000);
        assert!((1999..=2001).contains(&steady), "{steady}");
    }

    #[test]
    fn it_follows_a_change_within_seconds_and_one_interval_does_not_decide() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        after(&mut rate, &mut now, 20, 1000);
        let once = after(&mut rate, &mut now, 1, 0);
        assert!((1500..2000).contains(&once), "{once}");
        let faster = after(&mut rate, &mut now, 20, 5000);
        assert!((9000..=10_000).contains(&faster), "{faster}");
    }

    #[test]
    fn it_fades_where_nothing_comes() {
        let mut now = Instant::now();
        let mut rate = Rate::new(now);
        after(&mut rate, &mut now, 10, 1000);
        assert_eq!(rate.per_second(now + MEMORY), rate.per_second(now));
        assert!(rate.per_second(now + MEMORY * 2) < 1000);
        assert_eq!(rate.per_second(now + MEMORY * 20), 0);
        rate.restart(now);
        assert_eq!(rate.per_second(now), 0);
    }
}
