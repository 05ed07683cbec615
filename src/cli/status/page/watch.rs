//! The state of the mount, looked at again and again: often while somebody looks at the page, else for the history only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch::{self, Receiver, Sender};
use tokio::time::Instant;

use super::history::{History, INTERVAL, Reading, Use};
use crate::cli::Failure;
use crate::cli::target::STATUS;
use crate::mount::Error;
use crate::mount::health::Reader;
use crate::mount::mountinfo::{self, MountEntry};
use crate::tree::report::StatusReport;

/// The time between two looks while somebody looks at the page.
const LIVE: Duration = Duration::from_secs(2);

/// The time after a request in which somebody looks at the page.
const ATTENDED: Duration = Duration::from_secs(12);

/// The longest wait of a request for a look.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest wait for the status.
const LIMIT: Duration = Duration::from_secs(10);

/// The state of the mount as it was seen last.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// The mount point.
    pub(super) mountpoint: PathBuf,
    /// The last status that could be read.
    pub(super) status: Arc<StatusReport>,
    /// The time of that; none when there was none so far.
    pub(super) read: Option<SystemTime>,
    /// The reason why there is no newer one.
    pub(super) trouble: Option<Trouble>,
    /// The use of the mount in the last hour.
    pub(super) uses: Arc<Vec<Use>>,
    /// The time that the readings of the last hour span.
    pub(super) watched: Duration,
}

/// The reason why a mount cannot be asked.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// In a few words.
    pub(super) kind: TroubleKind,
    /// With the remedy.
    pub(super) message: String,
    /// The time since which it is so.
    pub(super) since: SystemTime,
}

/// The kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TroubleKind {
    /// Nothing is mounted there.
    NotMounted,
    /// The process of the mount has ended.
    Dead,
    /// It does not answer.
    Silent,
    /// Anything else.
    Unreadable,
}

/// Looks at a mount for the page.
pub(super) struct Watch {
    mountpoint: PathBuf,
    seen: Receiver<(Instant, Arc<Snapshot>)>,
    asked: Sender<Instant>,
}

/// The memory between two looks.
struct Eye {
    mountpoint: PathBuf,
    reader: Reader,
    history: History,
    begun: Instant,
    status: Arc<StatusReport>,
    read: Option<SystemTime>,
    trouble: Option<Trouble>,
}

impl Watch {
    /// Looks once, and from then on as long as the runtime lives.
    pub(super) async fn start(mountpoint: &Path) -> Self {
        let eye = Arc::new(Mutex::new(Eye::new(mountpoint)));
        let first = look(&eye).await;
        let (tell, seen) = watch::channel((Instant::now(), first));
        let (asked, asking) = watch::channel(Instant::now());
        tokio::spawn(keep_looking(eye, tell, asking));
        Self {
            mountpoint: mountpoint.to_owned(),
            seen,
            asked,
        }
    }

    pub(super) fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// The mount as it was moments ago, or longer if it does not answer.
    pub(super) async fn now(&self) -> Arc<Snapshot> {
        let now = Instant::now();
        self.asked.send_replace(now);
        let mut seen = self.seen.clone();
        let fresh = seen.wait_for(|(when, _)| now.duration_since(*when) < LIVE);
        // After that the last snapshot is shown, however old.
        let _ = tokio::time::timeout(PATIENCE, fresh).await;
        Arc::clone(&self.seen.borrow().1)
    }
}

async fn keep_looking(
    eye: Arc<Mutex<Eye>>,
    tell: Sender<(Instant, Arc<Snapshot>)>,
    mut asking: Receiver<Instant>,
) {
    loop {
        let attended = asking.borrow_and_update().elapsed() < ATTENDED;
        tokio::select! {
            () = tokio::time::sleep(if attended { LIVE } else { INTERVAL }) => {}
            changed = asking.changed(), if !attended => if changed.is_err() {
                return;
            },
        }
        let when = Instant::now();
        tell.send_replace((when, look(&eye).await));
    }
}

/// Looks on a thread for blocking work.
async fn look(eye: &Arc<Mutex<Eye>>) -> Arc<Snapshot> {
    let looking = Arc::clone(eye);
    let looked = tokio::task::spawn_blocking(move || looking.lock().look()).await;
    if let Err(error) = looked {
        log::warn!("the mount was not looked at: {error}");
    }
    Arc::new(eye.lock().snapshot())
}

impl Eye {
    fn new(mountpoint: &Path) -> Self {
        Self {
            mountpoint: mountpoint.to_owned(),
            reader: Reader::default(),
            history: History::default(),
            begun: Instant::now(),
            status: Arc::default(),
            read: None,
            trouble: None,
        }
    }

    fn look(&mut self) {
        let found = find(&self.mountpoint)
            .and_then(|entry| self.reader.read(&entry, STATUS, LIMIT))
            .map_err(|error| (kind(&error), Failure::from(error).to_string()))
            .and_then(|text| {
                serde_json::from_slice::<StatusReport>(&text).map_err(|error| {
                    (
                        TroubleKind::Unreadable,
                        format!("its status makes no sense: {error}"),
                    )
                })
            });
        let reading = match found {
            Ok(status) => {
                let reading = Reading::of(&status);
                self.status = Arc::new(status);
                self.read = Some(SystemTime::now());
                self.trouble = None;
                Some(reading)
            }
            Err((kind, message)) => {
                let before = self.trouble.take().filter(|trouble| trouble.kind == kind);
                let since = before.map_or_else(SystemTime::now, |trouble| trouble.since);
                self.trouble = Some(Trouble { kind, message, since });
                None
            }
        };
        self.history.note(self.begun.elapsed(), reading);
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.begun.elapsed();
        Snapshot {
            mountpoint: self.mountpoint.clone(),
            status: Arc::clone(&self.status),
            read: self.read,
            trouble: self.trouble.clone(),
            uses: Arc::new(self.history.uses(now)),
            watched: now.saturating_sub(self.history.begin().unwrap_or(now)),
        }
    }
}

/// The mount of ours at exactly this place, found without touching it.
pub(super) fn find(mountpoint: &Path) -> Result<MountEntry, Error> {
    let entry = mountinfo::at(mountpoint)?;
    entry
        .filter(MountEntry::is_ours)
        .ok_or_else(|| Error::NotMounted(mountpoint.to_owned()))
}

fn kind(error: &Error) -> TroubleKind {
    match error {
        Error::NotMounted(_) => TroubleKind::NotMounted,
        Error::Dead(_) => TroubleKind::Dead,
        Error::Silent { .. } => TroubleKind::Silent,
        _ => TroubleKind::Unreadable,
    }
}
