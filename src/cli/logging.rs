//! The log: where it goes, and how much of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use env_logger::{Builder, Target};
use log::LevelFilter;

use super::Failure;
use super::settings::Environment;

/// A log that has grown beyond this, in bytes, begins anew at the next start; the old one is kept beside it.
const LARGE: u64 = 10 << 20;

/// Sends this process's log to `file`, else to standard error. A second call has no effect.
pub(super) fn start(level: LevelFilter, file: Option<File>) {
    let mut builder = Builder::new();
    // Of other libraries only what is wrong, unless everything is asked for.
    let others = if level == LevelFilter::Trace {
        LevelFilter::Debug
    } else {
        level.min(LevelFilter::Warn)
    };
    builder
        .filter_level(others)
        .filter_module("crds_fs", level)
        // It tells URLs with what is secret in them.
        .filter_module("reqwest", level.min(LevelFilter::Warn))
        .format_timestamp_millis();
    if let Some(file) = file {
        builder.target(Target::Pipe(Box::new(file)));
    }
    // It fails when there is a log already, which then stays.
    let _ = builder.try_init();
}

/// Opens a log file for appending.
pub(super) fn open(path: &Path) -> Result<File, Failure> {
    try_open(path).map_err(|error| Failure::because(format!("cannot log to '{}'", path.display()), error))
}

fn try_open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > LARGE) {
        let mut old = path.as_os_str().to_owned();
        old.push(".old");
        fs::rename(path, old)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Where a process in the background logs when nobody says: `~/.local/state/crds-fs/<mount point>.log`.
pub(super) fn default_path(mountpoint: &Path, environment: &Environment) -> Option<PathBuf> {
    let absolute = |name: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let place = mountpoint.to_string_lossy();
    let name = place.trim_matches('/').replace('/', "-");
    Some(state.join("crds-fs").join(format!("{name}.log")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_for_the_log() {
        let environment = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<Environment>()
        };
        let place = Path::new("/home/a/crds_cache");
        assert_eq!(
            default_path(place, &environment(&[("HOME", "/home/a")])),
            Some("/home/a/.local/state/crds-fs/home-a-crds_cache.log".into())
        );
        assert_eq!(
            default_path(
                place,
                &environment(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")])
            ),
            Some("/s/crds-fs/home-a-crds_cache.log".into())
        );
        assert_eq!(default_path(place, &environment(&[("HOME", "relative")])), None);
    }

    #[test]
    fn a_large_log_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/log");
        let file = open(&path).unwrap();
        file.set_len(LARGE).unwrap();
        open(&path).unwrap();
        assert!(!directory.path().join("below/log.old").exists());
        file.set_len(LARGE + 1).unwrap();
        open(&path).unwrap();
        assert!(directory.path().join("below/log.old").exists());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
