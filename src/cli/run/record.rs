//! The lock file of what a command has opened, as the tree knows it.

use std::fs;
use std::path::Path;

use crate::cli::client::InForce;
use crate::cli::lock_files::NewLockFile;
use crate::cli::{Failure, output};
use crate::crds::{LockFile, Observatory};
use crate::tree::report::OpenedReport;

/// The file of a mount that tells which files were opened.
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
        let more = if local.len() > TOLD { ", ..." } else { "" };
        let told = local
            .iter()
            .take(TOLD)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        output::remark(&format!(
            "crds-fs: {} of your own files were opened, which no lock file can bring: {told}{more}\n",
            local.len()
        ));
    }
    Ok(())
}
