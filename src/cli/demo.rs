//! `crds-fs demo`: a small observatory, a server for it, a mount of it, and plain commands that show what happens, also after
//! a remount.

mod observatory;
mod steps;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::flags::{CacheFlags, MountFlags};
use super::settings::{Environment, Settings};
use super::{Failure, daemon_main, logging};
use crate::crds::Observatory;
use crate::mount::daemon::{self, Daemon, DaemonMode};
use crate::mount::{namespace, unmount};
use crate::serve::{Handle, Listen, Options, Server};

/// See what crds-fs does: needs no network, no root, no package, and leaves nothing behind.
///
/// Makes a small observatory of its own in a temporary directory, serves it on the loopback address, mounts it in a
/// namespace that only this command sees, and runs plain commands on the mount, before and after a remount. Every claim is checked on the way; the
/// exit status says whether all held.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only write the observatory to DIR, an empty or new directory, for `crds-fs serve DIR --datasets DIR/datasets.json`.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(directory) = &args.write {
        return write(directory);
    }
    let mut scene = Scene::set()?;
    let played = scene.play();
    let struck = scene.strike();
    played.and(struck)
}

/// Runs a part on a runtime of its own, until a signal comes.
fn unless_told_to_stop(part: impl Future<Output = Result<u32, Failure>>) -> Result<u32, Failure> {
    let runtime: Runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            outcome = part => outcome,
            _ = interrupt.recv() => Err(Failure::new("interrupted; everything is taken away again")),
            _ = terminate.recv() => Err(Failure::new("terminated; everything is taken away again")),
            _ = hangup.recv() => Err(Failure::new("the terminal is gone; everything is taken away again")),
        }
    });
    // The server ends first, so that the mount waits for nothing from it; its threads end too, so that this process may
    // fork again.
    runtime.shutdown_timeout(FAREWELL);
    outcome
}

fn write(directory: &Path) -> Result<(), Failure> {
    let doing = |source| {
        Failure::because(
            format!("writing the observatory to {}", directory.display()),
            source,
        )
    };
    std::fs::create_dir_all(directory).map_err(doing)?;
    if std::fs::read_dir(directory).map_err(doing)?.next().is_some() {
        return Err(Failure::usage(format!("{} is not empty", directory.display())));
    }
    observatory::write(directory).map_err(doing)
}

/// The time that the threads of a part get to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// The temporary directory with a mount in it, and the socket where its server will be.
struct Scene {
    /// Whether the mount is in a namespace of its own.
    private: bool,
    directory: TempDir,
    settings: Settings,
    daemon: Daemon,
    socket: Option<TcpListener>,
}

/// Mounts, in a process of its own.
fn mount(settings: &Settings, socket: &mut Option<TcpListener>) -> Result<Daemon, Failure> {
    let log = settings.log_file.as_deref().map(logging::open).transpose()?;
    Ok(daemon::launch(DaemonMode::Attached, |ready| {
        // The server stops only when no process has its socket open.
        drop(socket.take());
        logging::start(settings.log_level, settings.log_format, log);
        u8::from(daemon_main::serve(settings, ready, None).is_err())
    })?)
}

impl Scene {
    /// Mounts. This process has a single thread until here, so that it may change its namespace and fork.
    fn set() -> Result<Self, Failure> {
        // Where the kernel allows no namespace, fusermount3 mounts in the one of all processes.
        let private = namespace::enter().is_ok();
        let directory = tempfile::Builder::new().prefix("crds-fs-demo-").tempdir()?;
        let mountpoint = directory.path().join(steps::MOUNT);
        std::fs::create_dir(&mountpoint)?;
        let socket = TcpListener::bind(("127.0.0.1", 0))?;
        let server = format!("roman=http://{}/{}", socket.local_addr()?, Observatory::Roman);
        let flags = MountFlags {
            server: vec![server],
            common: CacheFlags {
                observatory: Some(Observatory::Roman.to_string()),
                // Downloads are counted for each command: none may come behind it.
                prefetch: Some("none".to_owned()),
                log_file: Some(directory.path().join("log").display().to_string()),
                ..CacheFlags::default()
            },
            ..MountFlags::default()
        };
        // The user's settings must not change what the demonstration shows.
        let settings = Settings::new(mountpoint.to_str(), &flags, &Environment::default())?;
        let mut socket = Some(socket);
        let daemon = mount(&settings, &mut socket)?;
        Ok(Self {
            private,
            directory,
            settings,
            daemon,
            socket,
        })
    }

    /// The first part, another mount of the same store, and the second part.
    fn play(&mut self) -> Result<(), Failure> {
        observatory::write(&self.original())
            .map_err(|source| Failure::because("writing the observatory", source))?;
        let again = self.socket.as_ref().map(TcpListener::try_clone).transpose()?;
        let step = unless_told_to_stop(async {
            let server = self.serve(again).await?;
            steps::first(self.directory.path(), server, self.private).await
        })?;
        self.daemon.stop()?;
        self.daemon = mount(&self.settings, &mut self.socket)?;
        let socket = self.socket.take();
        unless_told_to_stop(async {
            let server = self.serve(socket).await?;
            steps::second(self.directory.path(), server, step).await
        })?;
        Ok(())
    }

    fn original(&self) -> PathBuf {
        self.directory.path().join("observatory")
    }

    async fn serve(&self, socket: Option<TcpListener>) -> Result<Handle, Failure> {
        let original = self.original();
        let options = Options {
            listen: socket.map_or(Listen::Loopback, Listen::Socket),
            datasets: Some(original.join(observatory::DATASETS)),
            ..Options::default()
        };
        Ok(Server::bind(&original, options).await?)
    }

    /// Takes everything away again.
    fn strike(self) -> Result<(), Failure> {
        let stopped = self.daemon.stop();
        let directory = self.directory.path().to_owned();
        // The process of the mount may have been killed, and removal must not go through a mount.
        let _ = unmount::unmount(&directory.join(steps::MOUNT), unmount::How::Lazy);
        self.directory
            .close()
            .map_err(|source| Failure::because(format!("removing {}", directory.display()), source))?;
        stopped?;
        Ok(())
    }
}
