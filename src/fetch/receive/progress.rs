//! The progress of a transfer: only bytes beyond the farthest one so far count. Pure; the time is given.

use std::time::Duration;

use tokio::time::Instant;

/// The rate, in bytes a second over the whole time limit, below which a transfer counts as standing still.
const SLOWEST: f64 = 16.0;

/// The progress of a transfer over all its tries, and the time since the last.
///
/// A server may send the same bytes again and again: it ignores ranges and breaks off, or has another validator each
/// time. None of that moves the time limit. Nor does a byte now and then, which would keep an open waiting for days.
#[derive(Debug)]
pub(super) struct Progress {
    /// Bytes of the present content that have come.
    reached: u64,
    /// The most of them so far.
    farthest: u64,
    /// The value of `farthest` when the time limit was moved last.
    mark: u64,
    /// The time of that, moved on by waits that are left out.
    since: Instant,
    /// The number of bytes beyond `mark` that move the time limit.
    step: u64,
    /// Whether `farthest` has grown in this try.
    advanced: bool,
    /// Whether any byte has come since the transfer began.
    begun: bool,
}

impl Progress {
    /// A transfer that goes on at `reached` bytes and may stand still for `timeout`.
    pub(super) fn new(reached: u64, timeout: Duration, now: Instant) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time limit is not negative, and a cast saturates"
        )]
        let step = (timeout.as_secs_f64() * SLOWEST) as u64;
        Self {
            reached,
            farthest: reached,
            mark: reached,
            since: now,
            step: step.max(1),
            advanced: false,
            begun: false,
        }
    }

    /// Begins another try, with `reached` bytes in the file.
    pub(super) fn begin_try(&mut self, reached: u64) {
        self.reached = reached;
        self.advanced = false;
    }

    /// Begins the file anew, from its first byte.
    pub(super) fn begin_anew(&mut self) {
        self.reached = 0;
        if !self.begun {
            // The bytes of an earlier run are of no use, and this one has none yet.
            self.farthest = 0;
            self.mark = 0;
        }
    }

    /// Takes back all progress, because the file was wrong as a whole.
    pub(super) fn forget(&mut self, now: Instant) {
        self.reached = 0;
        self.farthest = 0;
        self.mark = 0;
        self.since = now;
    }

    /// Counts bytes that have come.
    pub(super) fn note(&mut self, count: u64, now: Instant) {
        self.begun = true;
        self.reached = self.reached.saturating_add(count);
        if self.reached > self.farthest {
            self.farthest = self.reached;
            self.advanced = true;
        }
        if self.farthest >= self.mark.saturating_add(self.step) {
            self.mark = self.farthest;
            self.since = now;
        }
    }

    /// Leaves a wait that ends now, for a slot or for the disk, out of the time without progress. Streams wait at the same
    /// time: together they get no more than there is.
    pub(super) fn excuse(&mut self, waited: Duration, now: Instant) {
        self.since = (self.since + waited).min(now);
    }

    /// Whether this try has brought anything new.
    pub(super) fn advanced(&self) -> bool {
        self.advanced
    }

    /// The most bytes that have been there.
    pub(super) fn farthest(&self) -> u64 {
        self.farthest
    }

    /// The time without progress.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(300);

    /// For any bytes in any tries, the time that a transfer takes is bounded by the number of new bytes.
    fn endures(size: u64, steps: &[(u8, u64, u64)]) -> Result<(), TestCaseError> {
        let start = Instant::now();
        let mut now = start;
        let mut progress = Progress::new(0, TIMEOUT, now);
        let mut file = 0;
        for (what, bytes, millis) in steps {
            now += Duration::from_millis(*millis);
            if progress.idle(now) >= TIMEOUT {
                break;
            }
            match what {
                0 => {
                    progress.begin_anew();
                    file = 0;
                }
                1 => progress.begin_try(file),
                _ => {
                    let count = (*bytes).min(size - file);
                    file += count;
                    progress.note(count, now);
                }
            }
            prop_assert!(progress.farthest() <= size && progress.farthest() >= file);
        }
        let moves = u32::try_from(size / progress.step + 1).unwrap();
        prop_assert!(now - start <= (TIMEOUT + Duration::from_secs(20)) * moves);
        Ok(())
    }

    proptest! {
        #[test]
        fn an_open_ends_whatever_the_server_does(
            size in 1..20_000_u64,
            steps in prop::collection::vec((0..8_u8, 0..5_000_u64, 0..20_000_u64), 0..400),
        ) {
            endures(size, &steps)?;
        }
    }

    #[test]
    fn the_same_bytes_again_are_no_progress() {
        let start = Instant::now();
        let mut progress = Progress::new(0, TIMEOUT, start);
        progress.note(100_000, start);
        assert!(progress.advanced());
        for minute in 1..=10 {
            progress.begin_try(100_000);
            progress.begin_anew();
            progress.note(100_000, start + Duration::from_secs(60 * minute));
            assert!(!progress.advanced());
        }
        let later = start + Duration::from_secs(600);
        assert_eq!(progress.idle(later), Duration::from_secs(600));
        progress.note(5_000, later);
        assert!(progress.advanced());
        assert_eq!(progress.idle(later), Duration::ZERO);
    }

    #[test]
    fn a_byte_a_second_is_no_progress_and_a_slow_line_is() {
        let start = Instant::now();
        for (rate, alive) in [(1, false), (100, true)] {
            let mut progress = Progress::new(0, TIMEOUT, start);
            let ended = (1..=3_000).find(|second| {
                let now = start + Duration::from_secs(*second);
                progress.note(rate, now);
                progress.idle(now) >= TIMEOUT
            });
            assert_eq!(ended.is_none(), alive, "{rate} bytes a second");
        }
    }

    #[test]
    fn what_an_earlier_run_left_is_no_hurdle() {
        let start = Instant::now();
        let mut progress = Progress::new(1_000_000, TIMEOUT, start);
        progress.begin_anew();
        progress.note(5_000, start + Duration::from_secs(200));
        assert_eq!(progress.idle(start + Duration::from_secs(200)), Duration::ZERO);
    }

    #[test]
    fn waits_of_several_streams_for_the_disk_give_no_more_time_than_they_took() {
        let start = Instant::now();
        let mut progress = Progress::new(0, TIMEOUT, start);
        let (written, later) = (start + Duration::from_secs(100), start + Duration::from_secs(150));
        for _ in 0..8 {
            progress.excuse(Duration::from_secs(100), written);
        }
        assert_eq!(progress.idle(later), Duration::from_secs(50));
    }

    #[test]
    fn wrong_content_is_forgotten() {
        let start = Instant::now();
        let mut progress = Progress::new(0, TIMEOUT, start);
        progress.note(100_000, start);
        let later = start + Duration::from_secs(200);
        progress.forget(later);
        progress.note(10_000, later + Duration::from_secs(1));
        assert!(progress.advanced());
        assert_eq!(progress.idle(later + Duration::from_secs(1)), Duration::ZERO);
    }
}
