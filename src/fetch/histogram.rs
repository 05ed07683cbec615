//! Counts of durations by their length, for `.crds-fs/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::crds::Observatory;
use crate::metrics::Durations;

/// The upper bounds of the buckets, in milliseconds. Above the last one there is one more bucket.
const BOUNDS: [u64; 14] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
];

/// Durations, counted by any thread at the cost of two additions.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; BOUNDS.len()],
    longer: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    pub(super) fn note(&self, duration: Duration) {
        let bucket = BOUNDS
            .iter()
            .position(|bound| duration <= Duration::from_millis(*bound));
        let count = bucket.and_then(|bucket| self.counts.get(bucket));
        count.unwrap_or(&self.longer).fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn durations(&self) -> Durations {
        let seconds = |bound: &u64| Duration::from_millis(*bound).as_secs_f64();
        let longer = (f64::INFINITY, &self.longer);
        let counts = BOUNDS.iter().map(seconds).zip(&self.counts).chain([longer]);
        Durations {
            buckets: counts
                .map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
                .collect(),
            sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

/// A histogram for each observatory.
#[derive(Debug, Default)]
pub(super) struct ByObservatory([Histogram; Observatory::ALL.len()]);

impl ByObservatory {
    pub(super) fn note(&self, observatory: Observatory, duration: Duration) {
        if let Some(histogram) = self.0.get(observatory as usize) {
            histogram.note(duration);
        }
    }

    pub(super) fn durations(&self) -> [(Observatory, Durations); Observatory::ALL.len()] {
        let none = Histogram::default();
        Observatory::ALL.map(|observatory| {
            let histogram = self.0.get(observatory as usize).unwrap_or(&none);
            (observatory, histogram.durations())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_the_bucket_that_ends_at_or_after_them() {
        let all = ByObservatory::default();
        for millis in [0, 5, 6, 300_000, 300_001] {
            all.note(Observatory::Roman, Duration::from_millis(millis));
        }
        let [(_, none), _, (observatory, durations), _] = all.durations();
        assert_eq!((observatory, none.count()), (Observatory::Roman, 0));
        let filled: Vec<_> = durations.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            filled,
            [&(0.005, 2), &(0.01, 1), &(300.0, 1), &(f64::INFINITY, 1)]
        );
        assert_eq!(durations.count(), 5);
        assert!((durations.sum - 600.012).abs() < 1e-6, "{}", durations.sum);
    }
}
