//! Notes which files are opened, for `run --record`, and limits them, for `run --lock`.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;

use super::core::Core;
use super::error::Error;
use super::ino::Area;
use super::ops::Ino;
use super::options::UseOfFiles;
use super::report::{self, OpenedReport};
use super::views::Catalogued;

impl Core {
    /// Whether `.crds-fs/opened.json` is there.
    pub(super) fn tells_opens(&self) -> bool {
        !matches!(self.options.use_of_files, UseOfFiles::Free)
    }

    /// A catalogued file is to be opened: notes it, or refuses it.
    pub(super) fn use_catalogued(&self, file: &Catalogued) -> Result<(), Error> {
        match &self.options.use_of_files {
            UseOfFiles::Free => Ok(()),
            UseOfFiles::Recorded => {
                let mut state = self.opens.state.lock();
                state.files.files.insert(file.key.clone(), file.entry);
                Ok(())
            }
            UseOfFiles::Locked(lock) => match lock.files.get(&file.key) {
                None => self.refuse_use(&file.key.to_string(), "it is not in the lock file"),
                Some(locked) if locked.sha1.is_some() && locked.sha1 != file.entry.sha1 => self.refuse_use(
                    &file.key.to_string(),
                    "the catalog has other contents for it than the lock file",
                ),
                Some(_) => Ok(()),
            },
        }
    }

    /// One of the user's own files is to be read: notes it, or refuses it, if it lies among rules or references.
    pub(super) fn use_local(&self, ino: Ino) -> Result<(), Error> {
        if matches!(self.options.use_of_files, UseOfFiles::Free) {
            return Ok(());
        }
        let path = self.nodes.path(ino).unwrap_or_default();
        let areas = [Area::Mappings, Area::References];
        if !areas
            .iter()
            .any(|area| path.starts_with(Path::new(area.as_str())))
        {
            return Ok(());
        }
        let path = path.display().to_string();
        if matches!(self.options.use_of_files, UseOfFiles::Recorded) {
            self.opens.state.lock().local.insert(path);
            return Ok(());
        }
        self.refuse_use(&path, "it is a file of your own, which no lock file has")
    }

    fn refuse_use(&self, file: &str, reason: &str) -> Result<(), Error> {
        let text = format!("{file} is not opened: {reason}");
        if self.opens.state.lock().refused.insert(text.clone()) {
            log::warn!("{text}");
        }
        Err(Error::NotLocked(text))
    }

    /// The text of `.crds-fs/opened.json`: a lock file of what was opened, with the user's own files and refusals beside it.
    pub(super) fn opened_json(&self) -> Bytes {
        let state = self.opens.state.lock();
        let names = |names: &BTreeSet<String>| names.iter().cloned().collect();
        report::text(&OpenedReport::new(
            &state.files,
            names(&state.local),
            names(&state.refused),
        ))
    }
}
