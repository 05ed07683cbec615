//! The opens that wait for their file, and the processes behind them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::Error;
use super::ops::Outcome;
use super::process::Process;
use super::report::WaiterReport;
use crate::crds::FileKey;

/// The most waiting processes that are told of one file. Each costs a read of a file in /proc.
const TOLD: usize = 8;
/// The most that are told in one report.
const TOLD_IN_ALL: usize = 200;

/// All opens that wait. Those that are answered on the spot never come here.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    shared: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// In the order in which they came.
    opens: BTreeMap<u64, Open>,
}

#[derive(Debug, Clone)]
struct Open {
    key: FileKey,
    tid: u32,
    since: Instant,
}

/// An open that waits, noted until this is dropped.
struct Noted {
    shared: Arc<Mutex<Table>>,
    ticket: u64,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.shared.lock().opens.remove(&self.ticket);
    }
}

impl Waiting {
    /// Notes that thread `tid` waits for a file, if it has to, until the outcome is there or given up.
    pub(super) fn note<T: Send + 'static>(
        &self,
        key: &FileKey,
        tid: u32,
        outcome: Outcome<T, Error>,
    ) -> Outcome<T, Error> {
        let Outcome::Later(later) = outcome else {
            return outcome;
        };
        let noted = self.enter(key, tid);
        Outcome::Later(Box::pin(async move {
            let _noted = noted;
            later.await
        }))
    }

    fn enter(&self, key: &FileKey, tid: u32) -> Noted {
        let mut table = self.shared.lock();
        let ticket = table.next;
        table.next += 1;
        let open = Open {
            key: key.clone(),
            tid,
            since: Instant::now(),
        };
        table.opens.insert(ticket, open);
        Noted {
            shared: Arc::clone(&self.shared),
            ticket,
        }
    }

    /// The processes that wait, by the file that they wait for, those that have waited longest first. Those that cannot be
    /// seen from here are left out, as are those beyond [`TOLD`] of a file.
    pub(super) fn report(&self) -> HashMap<FileKey, Vec<WaiterReport>> {
        let opens = self.opens(|_| true);
        let mut by_file: HashMap<FileKey, Vec<WaiterReport>> = HashMap::new();
        let mut told = 0;
        for open in opens {
            if told == TOLD_IN_ALL {
                break;
            }
            let waiters = by_file.entry(open.key.clone()).or_default();
            if waiters.len() < TOLD
                && let Some(waiter) = open.report()
            {
                waiters.push(waiter);
                told += 1;
            }
        }
        by_file
    }

    /// As [`Waiting::report`], of one file.
    pub(super) fn report_on(&self, key: &FileKey) -> Vec<WaiterReport> {
        let opens = self.opens(|open| open.key == *key);
        opens.iter().filter_map(Open::report).take(TOLD).collect()
    }

    fn opens(&self, wanted: impl Fn(&Open) -> bool) -> Vec<Open> {
        let table = self.shared.lock();
        table
            .opens
            .values()
            .filter(|open| wanted(open))
            .cloned()
            .collect()
    }
}

impl Open {
    fn report(&self) -> Option<WaiterReport> {
        let process = Process::of_thread(self.tid)?;
        Some(WaiterReport {
            pid: process.pid,
            command: process.command,
            waited_seconds: self.since.elapsed().as_secs(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> FileKey {
        FileKey {
            observatory: crate::crds::Observatory::Roman,
            name: name.parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn who_waits_is_told_until_it_has_its_answer_or_leaves() {
        let waiting = Waiting::default();
        let own = std::process::id();
        let (answer, later) = tokio::sync::oneshot::channel::<()>();
        let outcome = Outcome::Later(Box::pin(
            async move { later.await.map_err(|_| Error::ShuttingDown) },
        ));
        let first = waiting.note(&key("a.asdf"), own, outcome);
        let leaver = waiting.note(
            &key("b.asdf"),
            own,
            Outcome::<(), _>::Later(Box::pin(std::future::pending())),
        );
        let told = waiting.report();
        assert_eq!(told[&key("a.asdf")][0].pid, own);
        assert!(!told[&key("a.asdf")][0].command.is_empty());
        assert_eq!(told.len(), 2);
        assert_eq!(waiting.report_on(&key("b.asdf")).len(), 1);
        drop(leaver);
        assert_eq!(waiting.report().len(), 1);
        answer.send(()).unwrap();
        first.wait().await.unwrap();
        assert!(waiting.report().is_empty());
        let now = waiting.note(&key("a.asdf"), own, Outcome::Ready(Ok(())));
        assert!(matches!(now, Outcome::Ready(Ok(()))) && waiting.report().is_empty());
    }

    #[test]
    fn a_crowd_is_told_in_part() {
        let waiting = Waiting::default();
        let crowd: Vec<_> = (0..100)
            .map(|_| waiting.enter(&key("a.asdf"), std::process::id()))
            .collect();
        assert_eq!(waiting.report()[&key("a.asdf")].len(), TOLD);
        drop(crowd);
        let unseen = waiting.enter(&key("a.asdf"), 0);
        assert!(waiting.report()[&key("a.asdf")].is_empty());
        drop(unseen);
    }
}
