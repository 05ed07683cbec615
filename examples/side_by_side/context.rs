//! A cold context: the Python client loads all rules of HST's default context through the mount.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::columns::Column;
use crate::rig::Rig;
use crate::rows::{Goal, Row};
use crate::table::Table;
use crate::{Fallible, far, program};

static CONTEXT: Row = Row::new(
    "context",
    "cold context of HST by the Python client",
    Column::Again,
    Goal::Plus(1.0),
);

pub(crate) fn measure(rig: &Rig, table: &mut Table) -> Fallible<()> {
    let missing = if rig.python().is_err() {
        "no Python client".to_owned()
    } else if !rig.rules().join("mappings/hst").is_dir() {
        format!("no rules of HST in {}: --rules DIR", rig.rules().display())
    } else {
        return measured(rig, table);
    };
    println!("the row \"context\" is not measured: {missing}");
    Ok(())
}

fn measured(rig: &Rig, table: &mut Table) -> Fallible<()> {
    let server = RulesServer::start(rig)?;
    for _ in 0..rig.repetitions() {
        if rig.columns(&[Column::Python]).len() == 1 {
            rig.settle()?;
            let seconds = load(rig, &rig.directory("client")?, &server.url, &server.context)?;
            table.add(&CONTEXT, Column::Python, seconds);
        }
        rig.settle()?;
        let mount = RulesMount::start(rig, &server.url)?;
        let cold = load(rig, &mount.point, "https://serverless", &server.context)?;
        let warm = load(rig, &mount.point, "https://serverless", &server.context)?;
        table.add(&CONTEXT, Column::Again, warm);
        table.add(&CONTEXT, Column::CrdsFs, cold);
    }
    Ok(())
}

/// Seconds in which a new process of the client loads a context from this cache.
fn load(rig: &Rig, cache: &Path, server: &str, context: &str) -> Fallible<f64> {
    let output = program::command(rig.python()?)
        .args(["-c", include_str!("context.py"), context])
        .env("CRDS_PATH", cache)
        .env("CRDS_SERVER_URL", server)
        .env("CRDS_OBSERVATORY", "hst")
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [seconds, rules] if rules.parse::<u32>().is_ok_and(|rules| rules > 100) => Ok(seconds.parse()?),
        _ => Err(format!("the Python client did not load {context}: {text:?}").into()),
    }
}

/// `crds-fs serve` over the rules, near or far.
struct RulesServer {
    process: Child,
    url: String,
    context: String,
}

impl RulesServer {
    fn start(rig: &Rig) -> Fallible<Self> {
        let mut process = program::command(rig.binary())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg(rig.rules())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut server = Self {
            process,
            url: String::new(),
            context: String::new(),
        };
        // The reader stays, so that the server can go on to print.
        let mut lines = BufReader::new(output).lines();
        let address: SocketAddr = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.strip_prefix("http://")?;
                let (address, rest) = rest.split_once('/')?;
                rest.starts_with("hst").then(|| address.parse().ok())?
            })
            .ok_or("crds-fs serve did not say where it listens")?;
        let address = if rig.far() { far::link(address)? } else { address };
        server.url = format!("http://{address}/hst");
        let told = program::command(rig.python()?)
            .args([
                "-c",
                "from crds.client import api; print(api.get_default_context('hst'))",
            ])
            .env("CRDS_SERVER_URL", &server.url)
            .env("CRDS_PATH", rig.directory("client")?)
            .stderr(Stdio::null())
            .output()?;
        String::from_utf8_lossy(&told.stdout)
            .trim()
            .clone_into(&mut server.context);
        Ok(server)
    }
}

impl Drop for RulesServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// crds-fs with an empty store over the rules' server; unmounted when dropped.
struct RulesMount {
    point: PathBuf,
    binary: PathBuf,
}

impl RulesMount {
    fn start(rig: &Rig, server: &str) -> Fallible<Self> {
        let mount = Self {
            point: rig.directory("mount")?,
            binary: rig.binary().to_owned(),
        };
        let status = program::command(rig.binary())
            .args([
                "mount",
                "-q",
                "--observatory",
                "hst",
                "--server",
                server,
                "--cache",
            ])
            .arg(rig.directory("store")?)
            .args(rig.mount_options())
            .arg(&mount.point)
            .status()?;
        if status.success() {
            Ok(mount)
        } else {
            Err(format!("crds-fs mount ended with {status}").into())
        }
    }
}

impl Drop for RulesMount {
    fn drop(&mut self) {
        let _ = program::command(&self.binary)
            .arg("umount")
            .arg(&self.point)
            .status();
    }
}
