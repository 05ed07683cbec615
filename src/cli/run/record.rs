//! The opens of a command, as the tree knows them: written as a lock file, or told where they were refused.

use std::fs;
use std::path::Path;

use crate::cli::client::InForce;
use crate::cli::lock_files::NewLockFile;
use crate::cli::{Failure, output};
use crate::crds::{LockFile, Observatory};
use crate::tree::report::OpenedReport;

/// The file of a mount with the opens since it was made.
const OPENED: &str = ".crds-fs/opened.json";

/// The number of names that a message tells.
const TOLD: usize = 3;

/// Writes the lock file of what was opened in a mount, and says what no lock file can bring.
pub(super) fn write(mountpoint: &Path, found: &InForce, file: NewLockFile<'_>) -> Result<(), Failure> {
    let failed = |error| Failure::because("what the command has opened is not known", error);
    let text = fs::read_to_string(mountpoint.join(OPENED)).map_err(failed)?;
    let mut lock = LockFile::parse(&text)?;
    if let (Some(observatory), Some(context)) = (found.observatory, &found.context) {
        lock.contexts.insert(observatory, context.clone());
    }
    for observatory in Observatory::ALL {
        let is_used = lock.files.keys().any(|key| key.observatory == observatory);
        if is_used && !lock.contexts.contains_key(&observatory) {
            let latest = mountpoint.join(format!("bestrefs/{observatory}-latest"));
            let name = fs::canonicalize(latest).ok();
            let name = name
                .as_deref()
                .and_then(Path::file_name)
                .and_then(|name| name.to_str()?.parse().ok());
            lock.contexts.extend(name.map(|name| (observatory, name)));
        }
    }
    file.write(&lock)?;
    let OpenedReport { local, .. } = serde_json::from_str(&text)?;
    if !local.is_empty() {
        output::remark(&format!(
            "crds-fs: {} of your own files were opened, which no lock file can bring: {}\n",
            local.len(),
            some(&local, ", ")
        ));
    }
    Ok(())
}

/// Tells which opens were refused because of the lock file: the command itself may not say it.
pub(super) fn tell_refused(mountpoint: &Path) {
    let text = fs::read(mountpoint.join(OPENED)).unwrap_or_default();
    // Without an answer there is nothing to tell.
    let report: OpenedReport = serde_json::from_slice(&text).unwrap_or_default();
    if !report.refused.is_empty() {
        output::remark(&format!("crds-fs: {}\n", some(&report.refused, "\ncrds-fs: ")));
    }
}

/// The first texts of a list, and that there are more.
fn some(texts: &[String], between: &str) -> String {
    let more = (texts.len() > TOLD).then(|| format!("and {} more", texts.len() - TOLD));
    let told = texts.iter().take(TOLD).cloned().chain(more);
    told.collect::<Vec<_>>().join(between)
}
