//! What is known of one file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::describe::{bytes, shown};
use super::{Report, parse};
use crate::cli::Failure;
use crate::mount::unmount;

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
    let text = match description(inside).map(|told| fs::read_to_string(mountpoint.join(told))) {
        Some(Ok(text)) => text,
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Some(Err(_)) | None => own(inside),
    };
    let told = parse(&text)?;
    Ok(Some(Report {
        text: if json { text } else { describe(&told) },
        trouble: None,
    }))
}

/// Where the mount tells what it knows of the file at a path below it, if the file can be in a catalog.
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

/// What there is to tell of a file that no catalog has.
fn own(inside: &Path) -> String {
    let told = serde_json::json!({"path": inside.display().to_string(), "state": "local"});
    format!("{told:#}\n")
}

fn describe(told: &Value) -> String {
    let line = |name: &str, value: &Value| match value {
        Value::Null => String::new(),
        value => format!("{name}: {}\n", shown(value)),
    };
    let size = match &told["size"] {
        Value::Null => String::new(),
        size if told["state"] == "fetching" => {
            format!(", {} of {}", bytes(&told["progress"]["done"]), bytes(size))
        }
        size if told["state"] == "local" => {
            let own = bytes(&told["local_size"]);
            format!(", {own} of your own in place of the catalogued {}", bytes(size))
        }
        size => format!(", {}", bytes(size)),
    };
    let head = format!("{}: {}{size}\n", shown(&told["path"]), shown(&told["state"]));
    if told["state"] == "local" {
        return head + &line("sha1 in the catalog", &told["sha1"]);
    }
    head + &line("sha1", &told["sha1"])
        + &line("source", &told["source"])
        + &line("failed", &told["error"]["message"])
}
