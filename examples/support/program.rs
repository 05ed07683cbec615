//! The `crds-fs` that an example runs: the example itself, under that name, so that there is nothing else to build.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Fallible;

const NAME: &str = "crds-fs";

/// Set by SIGINT and SIGTERM, so that nothing is left behind.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Puts this program into a directory as `crds-fs`.
pub(crate) fn install(directory: &Path) -> Fallible<PathBuf> {
    let binary = directory.join(NAME);
    std::fs::copy("/proc/self/exe", &binary)?;
    Ok(binary)
}

/// The exit status of `crds-fs`, if this process was started under that name; it is run here, to its end.
pub(crate) fn as_crds_fs() -> Option<ExitCode> {
    let path = PathBuf::from(std::env::args_os().next()?);
    (path.file_name()? == NAME).then(crds_fs::main)
}

/// A command that knows nothing of this process's CRDS settings or proxies.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).env("LC_ALL", "C");
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// An error once somebody wants this program to end.
pub(crate) fn go_on() -> Fallible<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err("interrupted".into());
    }
    Ok(())
}

/// Notices SIGINT and SIGTERM from now on, for [`go_on`].
pub(crate) fn notice_signals() -> Fallible<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}
