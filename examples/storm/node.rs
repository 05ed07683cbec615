//! The process of a node: in a mount namespace of its own it has a view of the shared directory, a mount, and readers. It is
//! told what to do on its input, a word a line, and tells what happened on its output, a line each.

use std::fs;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mount::{MARK, Mount, View};
use crate::readers::{Readers, Way};
use crate::{Fallible, double};

/// The first argument with which this program is a node.
pub(crate) const COMMAND: &str = "--node";

/// A node, as it is told to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) name: String,
    /// The shared directory itself.
    pub(crate) shared: PathBuf,
    /// What this node has for itself.
    pub(crate) scratch: PathBuf,
    /// The view through which it sees the shared directory; none: as it is.
    pub(crate) double: Option<double::Options>,
    pub(crate) binary: PathBuf,
    pub(crate) server: String,
    pub(crate) files: u32,
    pub(crate) readers: u32,
    pub(crate) seed: u64,
    pub(crate) apart: bool,
    /// References lie below their instrument.
    pub(crate) instrument: bool,
    pub(crate) state_beside: bool,
}

/// A node that runs a Python client instead of a mount.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClientSetup {
    pub(crate) node: Setup,
    pub(crate) python: PathBuf,
    pub(crate) script: PathBuf,
    pub(crate) server: String,
}

/// The process of a node.
pub(crate) fn run(setup: &str) -> Fallible<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    if let Ok(client) = serde_json::from_str::<ClientSetup>(setup) {
        return run_client(&client);
    }
    let setup: Setup = serde_json::from_str(setup)?;
    let (_view, store) = see(&setup)?;
    let mut mount = Mount::start(&setup, &store)?;
    let readers = Arc::new(Readers::new(&setup, mount.point()));
    println!("ready");
    let mut under_way = None;
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "pass" => under_way = Some(readers.start(Way::Once)),
            "loop" => under_way = Some(readers.start(Way::UntilStopped)),
            "stop" => readers.stop(),
            "kill" => {
                readers.away(true);
                readers.note_deaths(mount.kill()?);
                mount.restart()?;
                readers.away(false);
            }
            "done" => {
                if let Some(running) = under_way.take() {
                    running.join().map_err(|_| "a reader panicked")?;
                }
                println!("done");
            }
            other => return Err(format!("no such word: {other}").into()),
        }
    }
    let ended = mount.end();
    for (text, count) in mount.complaints() {
        println!("said {count} {text}");
    }
    readers.tell();
    ended
}

/// The view of a node, and where it is.
fn see(setup: &Setup) -> Fallible<(Option<View>, PathBuf)> {
    fs::create_dir_all(&setup.scratch)?;
    match setup.double {
        None => Ok((None, setup.shared.clone())),
        Some(options) => {
            let point = setup.scratch.join("shared");
            let view = View::start(&setup.shared, &point, options)?;
            Ok((Some(view), point))
        }
    }
}

/// Runs a client in the shared directory, which is told what to do like a node with a mount.
fn run_client(setup: &ClientSetup) -> Fallible<()> {
    let (_view, store) = see(&setup.node)?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(&setup.python)
        .arg("-B")
        .arg(&setup.script);
    let names = (0..setup.node.files)
        .map(crate::library::name)
        .collect::<Vec<_>>();
    let names_file = setup.node.scratch.join("names.json");
    fs::write(&names_file, serde_json::to_string(&names)?)?;
    let status = command
        .arg(&names_file)
        .arg(setup.node.seed.to_string())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", &setup.node.scratch)
        .env("TMPDIR", &setup.node.scratch)
        .env("NO_PROXY", "*")
        .env("CRDS_PATH", &store)
        .env("CRDS_OBSERVATORY", crate::library::OBSERVATORY)
        .env("CRDS_SERVER_URL", &setup.server)
        .env("CRDS_CLIENT_RETRY_COUNT", "3")
        .env(MARK, "client")
        .stderr(fs::File::create(setup.node.scratch.join("log"))?)
        .status()?;
    if !status.success() {
        let log = fs::read_to_string(setup.node.scratch.join("log")).unwrap_or_default();
        let words: Vec<_> = log.lines().rev().take(3).collect();
        return Err(format!("the client ended with {status}: {}", words.join(" | ")).into());
    }
    Ok(())
}
