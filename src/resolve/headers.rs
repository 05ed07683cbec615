//! The headers of one dataset that servers told under different contexts, and what they tell together. Pure.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::answer::{Header, memory};
use crate::crds::FileName;

/// Contexts under which a header is kept; the oldest goes first.
const CONTEXTS: usize = 8;

/// The entries of a header in which a server describes the header itself.
const NOTES: &str = "PARAMS_";

/// The parameters that were told under one context: as a rule, those that its rules ask for.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// The context; `None` in notes of earlier versions.
    pub(super) context: Option<FileName>,
    pub(super) header: Arc<Header>,
    pub(super) when: SystemTime,
}

/// All that was told of a dataset, the latest last.
#[derive(Debug, Clone, Default)]
pub(super) struct Headers(Vec<Told>);

impl Headers {
    /// Keeps a header that was told just now. Earlier ones that contradict it are forgotten: they are out of date.
    pub(super) fn keep(&mut self, told: Told) {
        self.0
            .retain(|old| old.context != told.context && agree(&old.header, &told.header));
        self.0.push(told);
        if self.0.len() > CONTEXTS {
            self.0.remove(0);
        }
    }

    /// Whether the dataset was asked for under this context, as far as `counts` lets it count.
    pub(super) fn is_of(&self, context: &FileName, counts: impl Fn(SystemTime) -> bool) -> bool {
        self.0
            .iter()
            .any(|told| told.context.as_ref() == Some(context) && counts(told.when))
    }

    /// All parameters of the headers that count.
    pub(super) fn united(&self, counts: impl Fn(SystemTime) -> bool) -> Option<Arc<Header>> {
        let mut counting = self.0.iter().filter(|told| counts(told.when));
        let first = counting.next()?;
        let mut united = Arc::clone(&first.header);
        for told in counting {
            let header = Arc::make_mut(&mut united);
            header.extend(
                told.header
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
            header.retain(|name, _| !name.starts_with(NOTES));
        }
        Some(united)
    }

    /// Makes everything that was told count as old from now on.
    pub(super) fn outdate(&mut self) {
        for told in &mut self.0 {
            told.when = UNIX_EPOCH;
        }
    }

    /// The bytes that all take in memory, roughly.
    pub(super) fn memory(&self) -> usize {
        self.iter().map(|told| memory(&told.header)).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Told> {
        self.0.iter()
    }
}

/// Whether both give the same values to the parameters that they share.
fn agree(left: &Header, right: &Header) -> bool {
    left.iter()
        .all(|(name, value)| name.starts_with(NOTES) || right.get(name).is_none_or(|other| other == value))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(context: &str, seconds: u64, header: &[(&str, &str)]) -> Told {
        let header = header
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Told {
            context: Some(context.parse().unwrap()),
            header: Arc::new(header.collect()),
            when: UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    fn shown(headers: &Headers) -> String {
        format!("{:?}", headers.united(|_| true).unwrap())
    }

    #[test]
    fn what_was_told_under_several_contexts_is_united() {
        let mut headers = Headers::default();
        headers.keep(told("a.pmap", 1, &[("A", "1"), ("B", "2"), ("PARAMS_CTX", "a")]));
        assert_eq!(shown(&headers), r#"{"A": "1", "B": "2", "PARAMS_CTX": "a"}"#);
        headers.keep(told("b.pmap", 2, &[("A", "1"), ("C", "3"), ("PARAMS_CTX", "b")]));
        assert_eq!(shown(&headers), r#"{"A": "1", "B": "2", "C": "3"}"#);
        let late = |when| when > UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!(headers.united(late).unwrap().len(), 3);
        assert!(headers.is_of(&"a.pmap".parse().unwrap(), |_| true));
        assert!(!headers.is_of(&"a.pmap".parse().unwrap(), late));
    }

    #[test]
    fn what_is_contradicted_is_forgotten() {
        let mut headers = Headers::default();
        headers.keep(told("a.pmap", 1, &[("A", "1"), ("B", "2")]));
        headers.keep(told("b.pmap", 2, &[("C", "3")]));
        headers.keep(told("c.pmap", 3, &[("A", "other")]));
        assert_eq!(shown(&headers), r#"{"A": "other", "C": "3"}"#);
        // Asked again, whatever it said before.
        headers.keep(told("b.pmap", 4, &[("D", "4")]));
        assert_eq!(shown(&headers), r#"{"A": "other", "D": "4"}"#);
    }

    #[test]
    fn not_more_than_some_are_kept() {
        let mut headers = Headers::default();
        for number in 0..20 {
            headers.keep(told(&format!("{number}.pmap"), number, &[("A", "1")]));
        }
        assert_eq!(headers.iter().count(), CONTEXTS);
        assert!(headers.is_of(&"19.pmap".parse().unwrap(), |_| true));
    }
}
