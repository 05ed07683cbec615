//! The report on several mounts: a line for each.

use serde::Serialize;

use super::look::{Cell, Look, Tone};
use super::{Report, parse, text_of, trouble};
use crate::cli::Failure;
use crate::cli::target::STATUS;
use crate::mount::Error;
use crate::mount::mountinfo::MountEntry;
use crate::tree::report::StatusReport;

/// The report on these mounts.
pub(super) fn report(mounts: &[MountEntry], json: bool, look: &Look) -> Report {
    let mounts: Vec<MountLine> = mounts.iter().map(line).collect();
    let count = mounts.len();
    let is_well = |line: &&MountLine| line.state == MountState::Well;
    let unwell = count - mounts.iter().filter(is_well).count();
    let text = if json {
        let all = MountList { mounts };
        format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default())
    } else {
        table(&mounts, look)
    };
    Report {
        text,
        trouble: (unwell > 0).then(|| {
            format!("{unwell} of {count} mounts are not well; 'crds-fs status MOUNTPOINT' tells more of one")
        }),
    }
}

/// The JSON about several mounts.
#[derive(Debug, Serialize)]
struct MountList {
    mounts: Vec<MountLine>,
}

/// The entry of one mount among several.
#[derive(Debug, Serialize)]
struct MountLine {
    mountpoint: String,
    /// The process that serves it, where that can be seen.
    pid: Option<u32>,
    /// The directory of the store, if the mount answers.
    store: Option<String>,
    state: MountState,
    /// The reason why it is not well.
    error: Option<String>,
}

/// The state of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum MountState {
    /// It answers, and nothing is wrong with it.
    Well,
    /// It answers, but something does not work.
    Failing,
    /// Its process has ended.
    Dead,
    /// It does not answer.
    Silent,
    /// It cannot be asked.
    Unknown,
}

impl MountState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Failing => "failing",
            Self::Dead => "dead",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Well => Tone::Good,
            Self::Failing | Self::Dead | Self::Silent => Tone::Bad,
            Self::Unknown => Tone::Doubtful,
        }
    }
}

fn table(mounts: &[MountLine], look: &Look) -> String {
    let titles = ["mount point", "state", "process", "cache"];
    let title = |text: &str| (text.to_owned(), Tone::Faint);
    let mut rows: Vec<Vec<Cell>> = vec![titles.into_iter().map(title).collect()];
    rows.extend(mounts.iter().map(|mount| {
        let pid = mount.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let store = mount.store.as_deref().unwrap_or("-");
        vec![
            (mount.mountpoint.clone(), Tone::Title),
            (mount.state.as_str().to_owned(), mount.state.tone()),
            (pid, Tone::Plain),
            (store.to_owned(), Tone::Plain),
        ]
    }));
    let mut lines = look.table(&rows, &[false, false, true, false]).into_iter();
    let mut text = lines.next().unwrap_or_default();
    for (line, mount) in lines.zip(mounts) {
        text += &line;
        if let Some(error) = &mount.error {
            text += &look.wrap(error, 6, mount.state.tone());
        }
    }
    text
}

fn line(mount: &MountEntry) -> MountLine {
    let mountpoint = mount.mountpoint.display().to_string();
    let text = match mount.read(STATUS) {
        Ok(text) => text,
        Err(error) => {
            let state = match &error {
                Error::Dead(_) => MountState::Dead,
                Error::Silent { .. } => MountState::Silent,
                _ => MountState::Unknown,
            };
            return MountLine {
                mountpoint,
                pid: mount.server().pid(),
                store: None,
                state,
                error: Some(Failure::from(error).to_string()),
            };
        }
    };
    match text_of(text).and_then(|text| parse::<StatusReport>(&text)) {
        Ok(status) => {
            let error = trouble(&status);
            let state = if error.is_some() {
                MountState::Failing
            } else {
                MountState::Well
            };
            MountLine {
                mountpoint,
                pid: Some(status.pid),
                store: Some(status.store),
                state,
                error,
            }
        }
        Err(failure) => MountLine {
            mountpoint,
            pid: None,
            store: None,
            state: MountState::Failing,
            error: Some(failure.to_string()),
        },
    }
}
