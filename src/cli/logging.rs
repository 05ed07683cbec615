//! The log: its file or standard error, and its level.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use env_logger::fmt::Formatter;
use env_logger::{Builder, Target};
use jiff::Timestamp;
use log::{LevelFilter, Record};
use parking_lot::{Mutex, MutexGuard};
use rustix::process::getuid;
use rustix::stdio;
use serde_json::json;

use super::Failure;
use super::output::{Colours, plain};
use super::settings::Environment;
use crate::serve::LogFormat;

/// A log that has grown beyond this, in bytes, begins anew at the next start; the old one is kept beside it.
const LARGE: u64 = 10 << 20;

/// The log in use, if it is a file.
static IN_USE: OnceLock<LogFile> = OnceLock::new();

/// A log in a file that can be put aside while it is written.
#[derive(Debug, Clone)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
    /// Whether standard output and standard error go there as well.
    all_output: bool,
}

/// Logs to standard error, for a command that tells its own failures: from this level on, unless `RUST_LOG` names another.
pub(super) fn to_standard_error(level: &str) {
    Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(|out, record| {
            let time = out.timestamp_seconds();
            write_text(out, &time, record)
        })
        .init();
}

impl LogFile {
    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Another descriptor of it.
    pub(super) fn try_clone(&self) -> io::Result<File> {
        self.file().try_clone()
    }

    /// The same in a process whose whole output goes there.
    pub(super) fn for_all_output(self) -> Self {
        Self {
            all_output: true,
            ..self
        }
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock()
    }

    /// Continues in the file that has the name now, which is made if it is missing.
    fn reopen(&self) -> io::Result<()> {
        let new = try_open(&self.path)?;
        if self.all_output {
            stdio::dup2_stdout(&new)?;
            stdio::dup2_stderr(&new)?;
        }
        *self.file() = new;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.file().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

/// Sends this process's log to `file`, else to standard error. A second call has no effect.
pub(super) fn start(level: LevelFilter, format: LogFormat, file: Option<LogFile>) {
    let mut builder = Builder::new();
    // Of other libraries only what is wrong, unless everything is asked for.
    let others = if level == LevelFilter::Trace {
        LevelFilter::Debug
    } else {
        level.min(LevelFilter::Warn)
    };
    builder.filter_level(others).filter_module("crds_fs", level);
    match format {
        LogFormat::Json => {
            builder.format(|out, record| writeln!(out, "{}", to_json(record, Timestamp::now())));
        }
        LogFormat::Text => {
            builder.format(|out, record| {
                let time = out.timestamp_millis();
                write_text(out, &time, record)
            });
        }
    }
    if let Some(file) = &file {
        builder.target(Target::Pipe(Box::new(file.clone())));
    }
    // It fails when there is a log already, which then stays.
    if let (Ok(()), Some(file)) = (builder.try_init(), file) {
        let _ = IN_USE.set(file);
    }
}

/// Writes a record as a line of text. Further lines of a message are indented, so that they are not taken for records, and
/// nothing in it commands the terminal that shows it: names of files are the choice of whoever made them.
fn write_text(out: &mut Formatter, time: &dyn Display, record: &Record<'_>) -> io::Result<()> {
    let level = record.level();
    let style = out.default_level_style(level);
    let message = record.args().to_string();
    let message = plain(&message, Colours::Go).replace('\n', "\n    ");
    writeln!(
        out,
        "[{time} {style}{level:<5}{style:#} {}] {message}",
        record.target()
    )
}

/// A record as an object on one line: time (UTC), level, module, message.
fn to_json(record: &Record<'_>, when: Timestamp) -> serde_json::Value {
    json!({
        "time": format!("{when:.3}"),
        "level": record.level().as_str(),
        "module": record.target(),
        "message": record.args().to_string(),
    })
}

/// A function that opens the log anew after it was put aside, as by logrotate; `None` when it goes to standard error.
pub(super) fn reopener() -> Option<Box<dyn Fn() + Send + Sync>> {
    let log = IN_USE.get()?;
    Some(Box::new(|| match log.reopen() {
        Ok(()) => log::info!("the log goes on in '{}'", log.path.display()),
        Err(error) => log::warn!("the log stays where it is: '{}': {error}", log.path.display()),
    }))
}

/// Opens a log file for appending.
pub(super) fn open(path: &Path) -> Result<LogFile, Failure> {
    let file = try_open(path)
        .map_err(|error| Failure::because(format!("cannot log to '{}'", path.display()), error))?;
    Ok(LogFile {
        path: path.to_owned(),
        file: Arc::new(Mutex::new(file)),
        all_output: false,
    })
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

/// The log file of a process in the background when none is named: `~/.local/state/crds-fs/<mount point>.log`; without a home,
/// as when the system starts, `/var/log/crds-fs/<mount point>.log` for root.
pub(super) fn default_path(mountpoint: &Path, environment: &Environment) -> Option<PathBuf> {
    let absolute = |name: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .or_else(|| getuid().is_root().then(|| "/var/log".into()))?;
    let mountpoint = mountpoint.to_string_lossy();
    let name = mountpoint.trim_matches('/').replace('/', "-");
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
        let mountpoint = Path::new("/home/a/crds_cache");
        assert_eq!(
            default_path(mountpoint, &environment(&[("HOME", "/home/a")])),
            Some("/home/a/.local/state/crds-fs/home-a-crds_cache.log".into())
        );
        assert_eq!(
            default_path(
                mountpoint,
                &environment(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")])
            ),
            Some("/s/crds-fs/home-a-crds_cache.log".into())
        );
        let homeless = default_path(mountpoint, &environment(&[("HOME", "relative")]));
        let log = "/var/log/crds-fs/home-a-crds_cache.log".into();
        assert_eq!(homeless, getuid().is_root().then_some(log));
    }

    #[test]
    fn a_large_log_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/log");
        let log = open(&path).unwrap();
        let file = log.try_clone().unwrap();
        file.set_len(LARGE).unwrap();
        open(&path).unwrap();
        assert!(!directory.path().join("below/log.old").exists());
        file.set_len(LARGE + 1).unwrap();
        open(&path).unwrap();
        assert!(directory.path().join("below/log.old").exists());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
