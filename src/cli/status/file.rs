//! The status of one file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::describe::{progress, shown, waiting};
use super::look::{Look, Tone};
use super::{Report, parse};
use crate::cli::{Failure, output};
use crate::crds::{FileName, Observatory};
use crate::fetch::FileState;
use crate::mount::processes::is_open_to_us;
use crate::mount::unmount;
use crate::mount::users::Users;
use crate::tree::report::FileReport;

const LOCAL: &str = FileState::Local.as_str();
const CACHED: &str = FileState::Cached.as_str();
const FETCHING: &str = FileState::Fetching { done: 0, total: 0 }.as_str();

/// The report on `path`, if that is a file in the mount at `mountpoint`; directories are about the mount as a whole.
pub(super) fn report(
    mountpoint: &Path,
    path: &Path,
    json: bool,
    look: &Look,
) -> Result<Option<Report>, Failure> {
    let failed = |error: io::Error| {
        let doing = format!(
            "cannot look at '{}' ('crds-fs status {}' tells how the mount is)",
            path.display(),
            mountpoint.display()
        );
        Failure::because(doing, error)
    };
    let spelt = std::path::absolute(path).map_err(failed)?;
    // The mount itself, which may be dead, tells how it is.
    if spelt == mountpoint {
        return Ok(None);
    }
    // Nothing below a mount that does not answer is looked at.
    unmount::find(mountpoint)?.must_answer()?;
    // Best references are links to files.
    let file = path.canonicalize().map_err(failed)?;
    let Ok(inside) = file.strip_prefix(mountpoint) else {
        return Ok(None);
    };
    if file.is_dir() {
        return Ok(None);
    }
    let text = match description(inside).map(|below| fs::read_to_string(mountpoint.join(below))) {
        Some(Ok(text)) => text,
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Some(Err(_)) | None => own(inside),
    };
    let report: FileReport = parse(&text)?;
    Ok(Some(Report {
        text: if json {
            text
        } else {
            describe(&report, &users(&file, &report), look)
        },
        trouble: None,
    }))
}

/// The path of the file of this name in the mount at `mountpoint`, if one of its catalogs has it. Nothing is fetched.
pub(super) fn path_of(mountpoint: &Path, name: &FileName) -> Option<PathBuf> {
    let below = mountpoint.join(".crds-fs/files").join(name.kind().area());
    let report: FileReport = Observatory::ALL.iter().find_map(|observatory| {
        let text = fs::read_to_string(below.join(observatory.as_str()).join(name.as_str()));
        parse(&text.ok()?).ok()
    })?;
    Some(mountpoint.join(report.path))
}

/// The path below the mount point of the description of the file at a path below it; `None` if no catalog can have the
/// file.
fn description(inside: &Path) -> Option<PathBuf> {
    let mut parts = inside.iter();
    let (area, observatory) = (parts.next()?, parts.next()?);
    let name = parts.next_back()?;
    (area == "mappings" || area == "references").then(|| {
        [".crds-fs".as_ref(), "files".as_ref(), area, observatory, name]
            .iter()
            .collect()
    })
}

/// The description, as JSON, of a file that no catalog has.
fn own(inside: &Path) -> String {
    let report = serde_json::json!({"path": inside.display().to_string(), "state": LOCAL});
    format!("{report:#}\n")
}

/// The processes that have the file open: those that are seen to, and those that opened it and cannot be looked into.
fn users(file: &Path, report: &FileReport) -> Vec<String> {
    if !report.open {
        return Vec::new();
    }
    let seen = Users::of_file(file);
    let hidden = report.openers.iter().filter(|opener| !is_open_to_us(opener.pid));
    let hidden = hidden.map(|opener| format!("{} ({})", opener.command, opener.pid));
    seen.processes()
        .iter()
        .map(ToString::to_string)
        .chain(hidden)
        .collect()
}

fn describe(file: &FileReport, users: &[String], look: &Look) -> String {
    let line = |name: &str, value: Option<String>, tone: Tone| match value {
        None => String::new(),
        Some(value) => look.field(name, &value, tone),
    };
    let is_local = file.state == LOCAL;
    let sha1 = if is_local { "in catalog:" } else { "sha1:" };
    let transfer = file.transfer.as_ref();
    let open = match (file.open, users.is_empty()) {
        (_, false) => Some(format!("in {}", users.join(", "))),
        (true, true) => Some("in processes that cannot be seen from here".to_owned()),
        (false, true) => None,
    };
    let error = file.error.as_ref();
    let written = file.written.as_deref().map(|when| look.ago(when));
    head(file, look)
        + &line(sha1, file.sha1.clone(), Tone::Plain)
        + &line("source:", file.source.clone().filter(|_| !is_local), Tone::Plain)
        + &line(
            "transfer:",
            transfer.map(|transfer| progress(transfer, look)),
            Tone::Plain,
        )
        + &line("", transfer.and_then(waiting), Tone::Plain)
        + &line(
            if is_local { "written:" } else { "fetched:" },
            written,
            Tone::Plain,
        )
        + &line(
            "last used:",
            file.last_used.as_deref().map(|when| look.ago(when)),
            Tone::Plain,
        )
        + &line("open:", open, Tone::Plain)
        + &line(
            "held:",
            file.held.then(|| "never evicted".to_owned()),
            Tone::Plain,
        )
        + &line("failed:", error.map(|error| error.message.clone()), Tone::Bad)
        + &line("when:", error.map(|error| look.ago(&error.when)), Tone::Plain)
        + &line(
            "remedy:",
            error.and_then(|error| error.remedy.clone()),
            Tone::Doubtful,
        )
}

/// The name, the state and the size.
fn head(file: &FileReport, look: &Look) -> String {
    let size = match file.size.map(output::size) {
        None => String::new(),
        Some(size) if file.state == FETCHING => {
            format!(", {} of {size}", output::size(file.progress.done))
        }
        Some(size) if file.state == LOCAL => {
            let own = file.local_size.map_or_else(|| "-".to_owned(), output::size);
            format!(", {own} of your own in place of the catalogued {size}")
        }
        Some(size) => format!(", {size}"),
    };
    let unverified = if file.state == CACHED && !file.verified {
        ", to be verified when it is opened"
    } else {
        ""
    };
    let name = look.paint(&format!("{}:", shown(&file.path)), Tone::Title);
    format!("{name} {}{size}{unverified}\n", shown(&file.state))
}
