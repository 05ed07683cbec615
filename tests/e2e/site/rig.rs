//! A site server as a process, and raw HTTP with it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::origin::Origin;
use crate::rig::{PATIENCE, eventually, program, wait};
use crate::server_flag;

/// A site server, in a cache directory of its own that outlives it. It ends with this.
pub(super) struct Site {
    root: TempDir,
    pub(super) arguments: Vec<String>,
    pub(super) process: Option<Child>,
    pub(super) address: SocketAddr,
}

/// A reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The words beside the status.
    pub(super) reason: String,
    /// By lower-case name.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Site {
    /// A site server of an origin that is not started yet; its cache is empty.
    pub(super) fn new(origin: &Origin, arguments: &[&str]) -> Self {
        let upstream = server_flag(origin);
        let all = [&["--upstream", &upstream], arguments].concat();
        let site = Self {
            root: TempDir::new().unwrap(),
            arguments: all.into_iter().map(str::to_owned).collect(),
            process: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        fs::create_dir(site.cache()).unwrap();
        site
    }

    /// A site server of an origin that runs.
    pub(super) fn of(origin: &Origin, arguments: &[&str]) -> Self {
        let mut site = Self::new(origin, arguments);
        site.start();
        site
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    pub(super) fn start(&mut self) {
        let log = self.root.path().join("log");
        let mut process = program()
            .arg("serve")
            .arg(self.cache())
            .args(["--listen", "127.0.0.1:0"])
            .args(&self.arguments)
            .env("CRDS_IGNORE_MAPPING_CHECKSUM", "1")
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        self.process = Some(process);
        while !said.ends_with("ready\n") {
            assert_ne!(lines.read_line(&mut said).unwrap(), 0, "{said}{}", self.log());
        }
        let address = said.split("://").nth(1).and_then(|rest| rest.split('/').next());
        self.address = address.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.process.as_ref().unwrap()), signal).unwrap();
    }

    pub(super) fn end(&mut self) {
        self.signal(Signal::TERM);
        let status = wait(self.process.take().unwrap());
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Sends bytes as they are and reads until the server closes the connection.
    pub(super) fn send(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        Reply::read(&reply)
    }

    pub(super) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let (address, length) = (self.address, body.len());
        self.send(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            )
            .as_bytes(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Reply {
        self.ask("GET", &path(name), "", "")
    }

    /// The reply to a call.
    pub(super) fn call(&self, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "1.0", "method": method, "params": params, "id": "it"}).to_string();
        let reply = self.ask("POST", &format!("/roman/json/{method}/it/"), "", &body);
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_slice(&reply.body).unwrap()
    }

    pub(super) fn result(&self, method: &str, params: &Value) -> Value {
        let mut reply = self.call(method, params);
        assert!(reply["error"].is_null(), "{reply}");
        reply["result"].take()
    }

    pub(super) fn error(&self, method: &str, params: &Value) -> String {
        let reply = self.call(method, params);
        reply["error"]["message"]
            .as_str()
            .unwrap_or_else(|| panic!("{reply}"))
            .to_owned()
    }

    pub(super) fn metrics(&self) -> String {
        String::from_utf8(self.ask("GET", "/metrics", "", "").body).unwrap()
    }

    /// Waits until all of these lines are among the metrics: what has ended is counted a moment later.
    #[track_caller]
    pub(super) fn until_metrics(&self, lines: &[&str]) {
        eventually("the metrics are told", || {
            let metrics = self.metrics();
            let is_missing = |line: &&&str| !metrics.lines().any(|found| found == **line);
            match lines.iter().find(is_missing) {
                Some(missing) => Err(format!("no {missing} in {metrics}")),
                None => Ok(()),
            }
        });
    }

    /// Waits until the counters say so.
    #[track_caller]
    pub(super) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        eventually(what, || {
            let counters = self.ask("GET", "/.counters", "", "");
            let counters = serde_json::from_slice(&counters.body).unwrap();
            if holds(&counters) { Ok(()) } else { Err(counters) }
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            println!("the log of {}:\n{}", self.address, self.log());
        }
    }
}

impl Reply {
    pub(super) fn read(reply: &[u8]) -> Self {
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(reply)));
        let head = String::from_utf8(reply[..end].to_vec()).unwrap();
        let (status, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
        let mut words = status.splitn(3, ' ').skip(1);
        Self {
            status: words.next().unwrap().parse().unwrap(),
            reason: words.next().unwrap_or_default().to_owned(),
            headers: headers
                .lines()
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: reply[end + 4..].to_vec(),
        }
    }
}

/// The path of a file on any server of Roman's.
pub(super) fn path(name: &str) -> String {
    let part = if name.ends_with("map") {
        "mappings"
    } else {
        "references"
    };
    format!("/roman/unchecked_get/{part}/roman/{name}")
}

/// The reason in a status line and in a body, which must say the same.
pub(super) fn why(reply: &Reply) -> &str {
    let text = String::from_utf8_lossy(&reply.body);
    let begin: String = text.trim().chars().take(60).collect();
    assert!(reply.reason.contains(&begin), "{reply:?}");
    &reply.reason
}
