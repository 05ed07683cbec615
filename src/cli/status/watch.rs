//! `--watch`: a report that is shown anew every second, on a terminal in place.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Report;
use super::look::Look;
use super::screen::{Screen, keys};
use crate::cli::{Failure, output};

/// The time between two reports.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows reports until the user has seen enough. A report that cannot be had is one, too: what is wrong may pass.
pub(super) fn watch(
    json: bool,
    report: impl Fn(&Look) -> Result<Report, Failure> + Send + Sync + 'static,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot wait for signals", error))?;
    let text = move || match report(&Look::of_output()) {
        Ok(report) => report.text,
        Err(failure) => format!("crds-fs: {failure}\n"),
    };
    let watched = if json || !Look::of_output().is_terminal() {
        runtime.block_on(print(&text))
    } else {
        runtime.block_on(show(Arc::new(text)))
    };
    // A mount that does not answer is not waited for.
    runtime.shutdown_background();
    watched
}

/// Prints one report after the other.
async fn print(text: &impl Fn() -> String) -> Result<(), Failure> {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        output::write(text().as_bytes())?;
    }
}

/// Shows reports on the terminal, in place. They are made on a thread of their own, so that signals and keys count also
/// while a mount does not answer.
async fn show(text: Arc<impl Fn() -> String + Send + Sync + 'static>) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::because("cannot wait for signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(cannot)?;
    let mut quit = signal(SignalKind::quit()).map_err(cannot)?;
    let mut resize = signal(SignalKind::window_change()).map_err(cannot)?;
    let mut suspend = signal(SignalKind::from_raw(libc::SIGTSTP)).map_err(cannot)?;
    let mut keys: mpsc::UnboundedReceiver<u8> = keys();
    let mut ticks = ticks();
    let mut screen = Screen::enter();
    let (sender, mut texts) = mpsc::unbounded_channel();
    let mut making = false;
    let mut shown = String::new();
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = quit.recv() => return Ok(()),
            Some(key) = keys.recv() => match key {
                b'q' | b'Q' => return Ok(()),
                _ => continue,
            },
            _ = suspend.recv() => {
                drop(screen);
                // It goes on from here when it is continued.
                let _ = kill_process(getpid(), Signal::STOP);
                screen = Screen::enter();
            }
            Some(text) = texts.recv() => {
                making = false;
                shown = text;
            }
            _ = resize.recv() => ticks.reset_immediately(),
            _ = ticks.tick(), if !making => {
                making = true;
                let (text, sender) = (Arc::clone(&text), sender.clone());
                // Nobody receives it only at the end.
                tokio::task::spawn_blocking(move || sender.send(text()));
                continue;
            }
        }
        screen.draw(&shown).map_err(output::OutputError::from)?;
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(PERIOD);
    // After a pause there is nothing to catch up on.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
