//! The number of streams for a large file. Pure; times and measurements are given.
//!
//! It begins with two and doubles as long as that makes the file come faster, measured over short times in which all
//! streams bring bytes. Where it does not, it goes back, and tries again after a while that grows. A server that refuses a
//! stream (429, 503, no connection) gets half as many, and is left alone with more for at least as long as it says.

use std::time::Duration;

use tokio::time::Instant;

/// The number of streams at the beginning.
const FIRST: usize = 2;
/// The time over which the throughput is measured.
const WINDOW: Duration = Duration::from_millis(150);
/// The longest wait until all streams bring bytes; then those that do are measured.
const LATE: Duration = Duration::from_secs(2);
/// The factor by which twice as many streams must be faster.
const GAIN: f64 = 1.25;
/// The time after which more streams are tried again, at first and at most.
const AGAIN: Duration = Duration::from_secs(4);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// The least time for which a server that has refused a stream is not asked for more.
const REFUSED: Duration = Duration::from_secs(10);
/// The interval at which it is checked whether all streams bring bytes.
const LOOK: Duration = Duration::from_millis(25);

/// The number of streams of one transfer.
#[derive(Debug)]
pub(super) struct StreamCount {
    most: usize,
    wanted: usize,
    phase: Phase,
    /// The time to stay at a number the next time that more streams turn out to be of no use.
    again: Duration,
    /// The most streams after a refusal, and the time until which that holds.
    refused: Option<(usize, Instant)>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Waits until all streams bring bytes; `since` then.
    Starting { since: Instant, before: Option<Level> },
    /// Measures.
    Measuring {
        since: Instant,
        bytes: u64,
        before: Option<Level>,
    },
    /// Stays as it is.
    Settled { until: Instant },
}

/// The throughput of a number of streams, in bytes a second.
#[derive(Debug, Clone, Copy)]
struct Level {
    streams: usize,
    rate: f64,
}

impl StreamCount {
    /// The number for a transfer that may have `most` streams.
    pub(super) fn new(most: usize, now: Instant) -> Self {
        let most = most.max(1);
        Self {
            most,
            wanted: FIRST.min(most),
            phase: Phase::Starting {
                since: now,
                before: None,
            },
            again: AGAIN,
            refused: None,
        }
    }

    /// The number of streams wanted now.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// The time to call [`StreamCount::look`] next.
    pub(super) fn due(&self, now: Instant) -> Instant {
        match self.phase {
            Phase::Starting { .. } => now + LOOK,
            Phase::Measuring { since, .. } => since + WINDOW,
            Phase::Settled { until } => until,
        }
    }

    /// Forgets an unfinished measurement, because a new try begins.
    pub(super) fn restart(&mut self, now: Instant) {
        if let Phase::Starting { .. } | Phase::Measuring { .. } = self.phase {
            self.phase = Phase::Starting {
                since: now,
                before: None,
            };
        }
    }

    /// Measures, given the bytes of all streams so far and the number of streams that bring some, and adjusts the
    /// number wanted.
    pub(super) fn look(&mut self, now: Instant, bytes: u64, flowing: usize) {
        match self.phase {
            Phase::Starting { since, before } => {
                let late = now.saturating_duration_since(since) >= LATE && flowing > 0;
                if flowing >= self.wanted || late {
                    self.phase = Phase::Measuring {
                        since: now,
                        bytes,
                        before,
                    };
                }
            }
            Phase::Measuring {
                since,
                bytes: first,
                before,
            } => {
                let time = now.saturating_duration_since(since);
                if time >= WINDOW {
                    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
                    let rate = bytes.saturating_sub(first) as f64 / time.as_secs_f64();
                    self.judge(now, rate, before);
                }
            }
            Phase::Settled { until } if now >= until => {
                self.phase = Phase::Starting {
                    since: now,
                    before: None,
                };
            }
            Phase::Settled { .. } => {}
        }
    }

    fn judge(&mut self, now: Instant, rate: f64, before: Option<Level>) {
        let more = (self.wanted * 2).min(self.limit(now));
        match before {
            Some(before) if rate < before.rate * GAIN => {
                self.wanted = before.streams;
                self.settle(now);
            }
            _ if more > self.wanted => {
                let before = Some(Level {
                    streams: self.wanted,
                    rate,
                });
                self.wanted = more;
                self.phase = Phase::Starting { since: now, before };
            }
            _ => self.settle(now),
        }
    }

    fn settle(&mut self, now: Instant) {
        self.phase = Phase::Settled {
            until: now + self.again,
        };
        self.again = (self.again * 2).min(AGAIN_AT_MOST);
    }

    /// The most streams that there may be now.
    pub(super) fn limit(&self, now: Instant) -> usize {
        match self.refused {
            Some((most, until)) if now < until => most,
            _ => self.most,
        }
    }

    /// Halves the number of streams after the server has refused one; it gets no more for `pause`, or longer. `others`
    /// are going on.
    pub(super) fn refused(&mut self, now: Instant, pause: Duration, others: usize) {
        self.wanted = (self.wanted / 2).min(others).max(1);
        let until = now + pause.max(REFUSED);
        self.refused = Some((self.wanted, until));
        self.phase = Phase::Settled { until };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server and a link: the bytes a second of a number of streams together, and the time until a new one begins.
    struct Link {
        rate: fn(u32) -> f64,
        delay: Duration,
        /// It refuses more streams than this.
        most: usize,
    }

    const FAR: Link = Link {
        rate: |streams| f64::from(streams) * 20e6,
        delay: Duration::from_millis(60),
        most: usize::MAX,
    };

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of bytes"
    )]
    fn whole(bytes: f64) -> u64 {
        bytes as u64
    }

    /// Plays a transfer; the number of streams wanted in each step of 5 ms, and the bytes that came.
    fn play(link: &Link, most: usize, time: Duration) -> (Vec<usize>, f64) {
        const STEP: Duration = Duration::from_millis(5);
        let begin = Instant::now();
        let mut count = StreamCount::new(most, begin);
        let (mut now, mut bytes, mut wanted) = (begin, 0.0, Vec::new());
        // The time of the first byte of each running stream.
        let mut streams: Vec<Instant> = Vec::new();
        let mut due = count.due(now);
        while now < begin + time {
            while streams.len() < count.wanted() {
                if streams.len() >= link.most {
                    count.refused(now, Duration::ZERO, streams.len());
                    due = count.due(now);
                    continue;
                }
                streams.push(now + link.delay);
            }
            streams.truncate(count.wanted());
            now += STEP;
            let flowing = streams.iter().filter(|first| **first <= now).count();
            bytes += (link.rate)(u32::try_from(flowing).unwrap()) * STEP.as_secs_f64();
            if now >= due {
                count.look(now, whole(bytes), flowing);
                due = count.due(now);
            }
            assert!(count.wanted() >= 1 && count.wanted() <= most);
            wanted.push(count.wanted());
        }
        (wanted, bytes)
    }

    #[test]
    fn grows_while_that_helps() {
        let (wanted, bytes) = play(&FAR, 8, Duration::from_secs(7));
        assert_eq!(wanted[0], 2);
        assert_eq!(*wanted.last().unwrap(), 8);
        // Of a file that eight streams would bring in seven seconds, the growing costs less than half a second.
        assert!(bytes >= 6.5 * 160e6, "{bytes}");
        let (wanted, _) = play(&FAR, 5, Duration::from_secs(7));
        assert_eq!(*wanted.last().unwrap(), 5);
        let (wanted, _) = play(&FAR, 1, Duration::from_secs(7));
        assert!(wanted.iter().all(|wanted| *wanted == 1));
    }

    #[test]
    fn goes_back_where_it_does_not() {
        let near = Link {
            rate: |streams| if streams == 0 { 0.0 } else { 1e9 },
            delay: Duration::ZERO,
            most: usize::MAX,
        };
        let (wanted, _) = play(&near, 8, Duration::from_secs(60));
        assert!(wanted.iter().all(|wanted| *wanted <= 4));
        let more = wanted.iter().filter(|wanted| **wanted > 2).count();
        assert!(more * 20 < wanted.len(), "{more} of {}", wanted.len());
        assert_eq!(*wanted.last().unwrap(), 2);
    }

    #[test]
    fn stops_where_the_link_is_full() {
        let full = Link {
            rate: |streams| (f64::from(streams) * 20e6).min(90e6),
            ..FAR
        };
        let (wanted, bytes) = play(&full, 16, Duration::from_secs(10));
        let last = *wanted.last().unwrap();
        assert!((4..=8).contains(&last), "{last}");
        assert!(bytes >= 9.0 * 80e6, "{bytes}");
    }

    #[test]
    fn takes_a_refusal_for_an_answer() {
        let shy = Link { most: 3, ..FAR };
        let (wanted, bytes) = play(&shy, 8, Duration::from_secs(9));
        // 2, 4 (refused), 2 from then on: the server is not asked again within ten seconds.
        assert_eq!(wanted.windows(2).filter(|pair| pair[1] < pair[0]).count(), 1);
        assert_eq!(*wanted.last().unwrap(), 2);
        assert!(bytes > 8.0 * 40e6, "{bytes}");
        let mut count = StreamCount::new(8, Instant::now());
        let now = Instant::now();
        count.refused(now, Duration::from_secs(100), 1);
        assert_eq!(count.wanted(), 1);
        assert!(
            count.due(now) >= now + Duration::from_secs(100),
            "Retry-After is honoured"
        );
    }

    #[test]
    fn streams_that_bring_nothing_are_given_up() {
        // The server takes any number of connections, and serves two.
        let now = Instant::now();
        let mut count = StreamCount::new(8, now);
        let (mut time, mut bytes, mut due) = (now, 0, count.due(now));
        let mut most = 0;
        for _ in 0..1000 {
            time += Duration::from_millis(10);
            bytes += 400_000;
            if time >= due {
                count.look(time, bytes, 2);
                due = count.due(time);
            }
            most = most.max(count.wanted());
        }
        assert_eq!(most, 4);
        assert_eq!(count.wanted(), 2);
    }
}
