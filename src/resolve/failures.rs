//! The questions that failed last, for the status. Pure.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::error::ResolveError;

/// The number of failures that are shown.
const LAST: usize = 20;

/// A question that had no answer.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The subject of the question, as a path: `bestrefs/<context>` or `bestrefs/<context>/<dataset>`.
    pub subject: String,
    /// The error.
    pub error: ResolveError,
    /// The time of that.
    pub when: SystemTime,
}

/// The last failures, oldest first; one of each subject.
#[derive(Debug, Default)]
pub(super) struct Failures(VecDeque<Failure>);

impl Failures {
    /// Notes a failure; whether it is news.
    pub(super) fn note(&mut self, failure: Failure) -> bool {
        let text = failure.error.to_string();
        let place = self.0.iter().position(|known| known.subject == failure.subject);
        let known = place.and_then(|place| self.0.remove(place));
        self.0.push_back(failure);
        if self.0.len() > LAST {
            self.0.pop_front();
        }
        known.is_none_or(|known| known.error.to_string() != text)
    }

    /// The subject has an answer now.
    pub(super) fn forget(&mut self, subject: &str) {
        self.0.retain(|known| known.subject != subject);
    }

    pub(super) fn all(&self) -> Vec<Failure> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(subject: &str, reason: &str) -> Failure {
        let (context, reason) = (subject.to_owned(), reason.to_owned());
        Failure {
            subject: subject.to_owned(),
            error: ResolveError::UnknownContext { context, reason },
            when: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_last_failure_of_each_subject_is_kept() {
        let mut failures = Failures::default();
        assert!(failures.note(failure("a", "why")));
        assert!(failures.note(failure("b", "why")));
        assert!(!failures.note(failure("a", "why")));
        assert!(failures.note(failure("a", "another reason")));
        let subjects = |failures: &Failures| -> String {
            failures
                .all()
                .iter()
                .map(|failure| failure.subject.as_str())
                .collect()
        };
        assert_eq!(subjects(&failures), "ba");
        failures.forget("b");
        assert_eq!(subjects(&failures), "a");
        for number in 0..100 {
            failures.note(failure(&number.to_string(), "why"));
        }
        assert_eq!(failures.all().len(), LAST);
    }
}
