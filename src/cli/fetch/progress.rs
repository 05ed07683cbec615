//! The progress of a fetch: on a terminal a line for each large file that is on its way and one for all, elsewhere a line
//! for each file that has come or cannot be had.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::cli::output;
use crate::cli::target::Opened;
use crate::crds::FileKey;

/// The size in bytes up to which files come many at a time over a connection each, and are shown as a number only. Larger
/// ones come a few at a time, each over several connections, and have a bar.
pub(super) const SMALL: u64 = 256 << 10;

/// The pause between two looks at the bytes that have arrived.
const PERIOD: Duration = Duration::from_millis(200);

/// A file that is here and takes longer to verify gets a line.
const SLOW: Duration = Duration::from_secs(1);

/// The time left is told once the rate is known well enough.
const SETTLED: Duration = Duration::from_secs(2);

/// One large file: its name, how much of it is here, and how fast the rest comes.
const FILE: &str = "{bar:20} {bytes:>11}/{total_bytes:<11} {bytes_per_sec:>12}  {msg}";

/// All files.
const ALL: &str = "{bar:20} {bytes:>11}/{total_bytes:<11} {bytes_per_sec:>12}  {msg}";

/// The display of a fetch. Counts go on when nothing is shown.
pub(super) struct Progress {
    bars: MultiProgress,
    total: ProgressBar,
    is_terminal: bool,
    is_silent: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: usize,
    done: usize,
    failed: usize,
    /// Bytes of all files that are expected and were not here at the beginning.
    expected: u64,
    /// Bytes of files that have ended.
    ended: u64,
    running: BTreeMap<FileKey, Running>,
    /// Files that are expected, with their sizes.
    announced: BTreeMap<FileKey, u64>,
}

/// A file that is on its way.
struct Running {
    size: u64,
    was_here: bool,
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bars = MultiProgress::new();
        let total = if is_terminal {
            bars.add(ProgressBar::new(0).with_style(style(ALL)))
        } else {
            ProgressBar::hidden()
        };
        Self {
            bars,
            total,
            is_terminal,
            is_silent: false,
            state: Mutex::default(),
        }
    }

    /// A display that shows nothing.
    pub(super) fn silent() -> Self {
        Self {
            bars: MultiProgress::new(),
            total: ProgressBar::hidden(),
            is_terminal: false,
            is_silent: true,
            state: Mutex::default(),
        }
    }

    /// A file will be wanted.
    pub(super) fn announce(&self, key: &FileKey, size: Option<u64>) {
        let mut state = self.state.lock();
        let size = size.unwrap_or_default();
        if state.announced.insert(key.clone(), size).is_none() {
            state.files += 1;
            state.expected += size;
        }
    }

    /// A file is asked for.
    pub(super) fn begin(&self, key: &FileKey, size: Option<u64>, was_here: bool) {
        self.announce(key, size);
        let size = size.unwrap_or_default();
        let mut state = self.state.lock();
        if was_here {
            // Nothing of it has to come.
            state.expected = state.expected.saturating_sub(size);
        }
        let has_bar = self.is_terminal && !was_here && size > SMALL;
        let running = Running {
            size,
            was_here,
            begun: Instant::now(),
            bar: has_bar.then(|| self.bar(size, key.name.to_string())),
        };
        state.running.insert(key.clone(), running);
        self.show(&state, 0);
    }

    /// A file is here, or cannot be had.
    pub(super) fn end(&self, key: &FileKey, what: &str, error: Option<&str>) {
        let mut state = self.state.lock();
        state.done += 1;
        state.failed += usize::from(error.is_some());
        if let Some(running) = state.running.remove(key) {
            if !running.was_here {
                state.ended += running.size;
            }
            if let Some(bar) = running.bar {
                self.bars.remove(&bar);
            }
        }
        let (done, files) = (state.done, state.files);
        if self.is_terminal {
            if let Some(error) = error {
                self.say(&format!("{key}: {error}"));
            }
            self.show(&state, 0);
            return;
        }
        drop(state);
        if what == "cached" {
            return;
        }
        let line = match error {
            Some(error) => format!("{done}/{files} {what} {key}: {error}"),
            None => format!("{done}/{files} {what} {key}"),
        };
        self.say(&line);
    }

    /// Tells something above the bars.
    pub(super) fn say(&self, line: &str) {
        if self.is_silent {
            return;
        }
        self.bars.suspend(|| output::remark(&format!("{line}\n")));
    }

    /// Looks at what has arrived of the files on their way, again and again.
    pub(super) async fn watch(&self, target: &Opened) {
        if !self.is_terminal {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(PERIOD).await;
            let mut arrived = 0;
            for (key, bar, was_here) in self.shown() {
                let done = target.status(&key).done;
                bar.set_position(done);
                arrived += if was_here { 0 } else { done };
            }
            self.show(&self.state.lock(), arrived);
        }
    }

    /// The files that have a line of their own, with whether they were here before. One that was gets it when verifying it
    /// takes long.
    fn shown(&self) -> Vec<(FileKey, ProgressBar, bool)> {
        let mut state = self.state.lock();
        let running = state.running.iter_mut();
        running
            .filter_map(|(key, running)| {
                let is_slow = running.size > SMALL && running.begun.elapsed() > SLOW;
                if running.bar.is_none() && is_slow {
                    running.bar = Some(self.bar(running.size, format!("{}, to be verified", key.name)));
                }
                Some((key.clone(), running.bar.clone()?, running.was_here))
            })
            .collect()
    }

    fn bar(&self, size: u64, message: String) -> ProgressBar {
        let bar = ProgressBar::new(size).with_style(style(FILE));
        self.bars.insert_before(&self.total, bar.with_message(message))
    }

    fn show(&self, state: &State, arrived: u64) {
        if !self.is_terminal {
            return;
        }
        let failed = if state.failed > 0 {
            format!(", {} failed", state.failed)
        } else {
            String::new()
        };
        self.total.set_length(state.expected);
        let position = (state.ended + arrived).max(self.total.position());
        self.total.set_position(position.min(state.expected));
        let eta = self.total.eta();
        let left = if eta.is_zero() || self.total.elapsed() < SETTLED {
            String::new()
        } else {
            format!(", {:#} left", HumanDuration(eta))
        };
        self.total
            .set_message(format!("{} of {} files{failed}{left}", state.done, state.files));
    }

    /// Takes back what the terminal shows for Ctrl-C: the bars end in the last column, so that `^C` comes on a line of its own,
    /// from which on the bars would be cleared.
    pub(super) fn interrupted(&self) {
        let state = self.state.lock();
        if self.is_terminal && (state.done > 0 || !state.running.is_empty()) {
            // With standard error closed nothing is shown.
            let _ = io::stderr().lock().write_all(b"\r\x1b[2K\x1b[1A");
        }
    }

    /// Takes the bars away, and tells the bytes that have come, and their rate.
    pub(super) fn finish(&self, begun: Instant) -> String {
        // A terminal that is gone is no failure.
        let _ = self.bars.clear();
        // Transfers that go on when a fetch is interrupted would draw their bars again.
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
        let bytes = self.state.lock().ended;
        let milliseconds = u64::try_from(begun.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let rate = bytes.saturating_mul(1000) / milliseconds;
        format!(
            "{} in {}.{} s, {}/s",
            output::size(bytes),
            milliseconds / 1000,
            milliseconds % 1000 / 100,
            output::size(rate)
        )
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are right.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
