//! Panics of this process, counted on whatever thread they happen, for the status and the metrics.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::time::SystemTime;

use parking_lot::Mutex;

/// The number of panics, and the last one.
#[derive(Debug, Clone)]
pub(crate) struct Panics {
    /// The number of panics.
    pub count: u64,
    /// The time of the last one.
    pub when: SystemTime,
    /// Its thread, its position in the source, and its message.
    pub text: String,
}

static PANICS: Mutex<Option<Panics>> = Mutex::new(None);

/// Counts and logs every panic from now on, in place of printing it. A second call has no effect.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| panic::set_hook(Box::new(note)));
}

/// The panics since [`watch`]; `None` when there were none.
pub(crate) fn seen() -> Option<Panics> {
    PANICS.lock().clone()
}

fn note(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let text = format!("thread '{name}' panicked at {location}: {message}");
    // Taken only where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        log::error!("a bug in crds-fs, please report it: {text}\n{backtrace}");
    } else {
        log::error!("a bug in crds-fs, please report it: {text}");
    }
    let mut seen = PANICS.lock();
    let count = seen.as_ref().map_or(0, |panics| panics.count) + 1;
    let when = SystemTime::now();
    *seen = Some(Panics { count, when, text });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests of this process may panic meanwhile.
    #[test]
    fn a_panic_on_any_thread_is_counted() {
        watch();
        let before = seen().map_or(0, |panics| panics.count);
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let task = runtime.spawn(async { panic!("in a task") });
        assert!(runtime.block_on(task).is_err());
        let task = runtime.spawn_blocking(|| panic!("where blocking is allowed"));
        assert!(runtime.block_on(task).is_err());
        assert!(std::thread::spawn(|| panic!("on a thread")).join().is_err());
        let after = seen().unwrap();
        assert!(after.count >= before + 3, "{before} and {after:?}");
        assert!(after.text.contains("panicked at src/"), "{after:?}");
    }
}
