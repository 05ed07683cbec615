//! The log of requests: one line each, written by a thread of its own.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

/// Lines that wait for a slow disk; further ones are dropped, and their number is told.
const WAITING: usize = 10_000;

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// As in the common log format, with the seconds and the origin of a file (`hit` or `fetched`) behind it.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// A request that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The time at which its head had come.
    pub(super) when: SystemTime,
    pub(super) client: IpAddr,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) status: u16,
    /// Bytes of the body that were sent.
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// The origin of a file.
    pub(super) came: Option<&'static str>,
}

/// A log of requests.
pub struct AccessLog {
    lines: SyncSender<String>,
    format: LogFormat,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    reopen: AtomicBool,
    dropped: AtomicU64,
}

impl AccessLog {
    /// A log in a file, which is made or continued.
    pub fn to_file(path: &Path, format: LogFormat) -> io::Result<Self> {
        let target = Target {
            file: open(path)?,
            path: path.to_owned(),
        };
        Self::start(target, format)
    }

    /// A log on standard output.
    pub fn to_standard_output(format: LogFormat) -> io::Result<Self> {
        Self::start(io::stdout(), format)
    }

    fn start(target: impl Reopen + Send + 'static, format: LogFormat) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(target, &waiting, &shared))?;
        Ok(Self { lines, format, state })
    }

    /// Adds a line. Never waits.
    pub(super) fn write(&self, entry: &Entry) {
        let line = match self.format {
            LogFormat::Text => entry.to_text(),
            LogFormat::Json => entry.to_json(),
        };
        if self.lines.try_send(line).is_err() {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Continues, from the next line on, in the file that has the name then.
    pub(super) fn reopen(&self) {
        self.state.reopen.store(true, Ordering::Relaxed);
    }
}

/// Writes lines until nobody can send any more. What cannot be written is told once.
fn write_all(mut target: impl Reopen, lines: &Receiver<String>, state: &State) {
    let mut told = false;
    while let Ok(line) = lines.recv() {
        if state.reopen.swap(false, Ordering::Relaxed)
            && let Err(error) = target.reopen()
        {
            log::warn!("the access log stays where it is: {error}");
        }
        let dropped = state.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            log::warn!("{dropped} lines of the access log are missing: they could not be written in time");
        }
        if let Err(error) = target.write_all(line.as_bytes())
            && !std::mem::replace(&mut told, true)
        {
            log::warn!("the access log cannot be written: {error}");
        }
    }
}

/// A place for lines.
trait Reopen: Write {
    /// Goes on in what has the name now.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reopen for io::Stdout {}

struct Target {
    file: File,
    path: PathBuf,
}

impl Write for Target {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.file.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Reopen for Target {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Entry {
    fn to_text(&self) -> String {
        let when = Timestamp::try_from(self.when).unwrap_or_default();
        let when = when
            .to_zoned(TimeZone::UTC)
            .strftime("%d/%b/%Y:%H:%M:%S %z")
            .to_string();
        let came = self.came.unwrap_or("-");
        let Self {
            client,
            method,
            status,
            bytes,
            seconds,
            ..
        } = self;
        let mut line = format!("{client} - - [{when}] \"{method} ");
        for letter in self.path.chars() {
            match letter {
                '"' | '\\' => line.extend(['\\', letter]),
                plain if plain.is_ascii_graphic() => line.push(plain),
                // Writing to a String cannot fail.
                other => drop(write!(line, "\\u{{{:x}}}", u32::from(other))),
            }
        }
        let _ = writeln!(line, " HTTP/1.1\" {status} {bytes} {seconds:.3} {came}");
        line
    }

    fn to_json(&self) -> String {
        let when = Timestamp::try_from(self.when).unwrap_or_default();
        let object = json!({
            "time": when.to_string(),
            "client": self.client.to_string(),
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "bytes": self.bytes,
            "seconds": (self.seconds * 1e6).round() / 1e6,
            "from": self.came,
        });
        format!("{object}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            when: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            client: [192, 0, 2, 7].into(),
            method: "GET".to_owned(),
            path: path.to_owned(),
            status: 200,
            bytes: 303,
            seconds: 0.012_345_6,
            came: Some("hit"),
        }
    }

    #[test]
    fn lines_are_those_of_the_common_log_format() {
        assert_eq!(
            entry("/roman/x").to_text(),
            "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /roman/x HTTP/1.1\" 200 303 0.012 hit\n"
        );
        let odd = entry("/a\"b\n\\\u{e9}").to_text();
        assert!(odd.contains(r#""GET /a\"b\u{a}\\\u{e9} HTTP/1.1""#), "{odd}");
        assert_eq!(odd.lines().count(), 1);
    }

    #[test]
    fn lines_of_json_are_objects() {
        let line = entry("/a\"b").to_json();
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            object,
            json!({"time": "2023-11-14T22:13:20Z", "client": "192.0.2.7", "method": "GET", "path": "/a\"b",
                   "status": 200, "bytes": 303, "seconds": 0.012_346, "from": "hit"})
        );
    }

    #[test]
    fn a_log_goes_on_in_the_file_that_has_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (lines, waiting) = sync_channel(4);
        let state = State::default();
        let target = Target {
            file: open(&path).unwrap(),
            path: path.clone(),
        };
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        state.reopen.store(true, Ordering::Relaxed);
        lines.send("a line\n".to_owned()).unwrap();
        drop(lines);
        write_all(target, &waiting, &state);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "a line\n");
    }
}
