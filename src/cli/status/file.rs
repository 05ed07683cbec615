//! The status of one file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::describe::shown;
use super::{Report, parse};
use crate::cli::{Failure, output};
use crate::fetch::FileState;
use crate::mount::unmount;
use crate::tree::report::FileReport;

const LOCAL: &str = FileState::Local.as_str();
const FETCHING: &str = FileState::Fetching { done: 0, total: 0 }.as_str();

/// The report on `path`, if that is a file in the mount at `mountpoint`; directories are about the mount as a whole.
pub(super) fn report(mountpoint: &Path, path: &Path, json: bool) -> Result<Option<Report>, Failure> {
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
    let file: FileReport = parse(&text)?;
    Ok(Some(Report {
        text: if json { text } else { describe(&file) },
        trouble: None,
    }))
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

fn describe(file: &FileReport) -> String {
    let line = |name: &str, value: Option<&str>| match value {
        None => String::new(),
        Some(value) => format!("{name}: {value}\n"),
    };
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
    let head = format!("{}: {}{size}\n", shown(&file.path), shown(&file.state));
    let sha1 = file.sha1.as_deref();
    if file.state == LOCAL {
        return head + &line("sha1 in the catalog", sha1);
    }
    let error = file.error.as_ref().map(|error| error.message.as_str());
    head + &line("sha1", sha1) + &line("source", file.source.as_deref()) + &line("failed", error)
}
