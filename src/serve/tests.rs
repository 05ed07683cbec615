//! The server over a small cache, asked as any client asks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::crds::{FileKey, Sha1Sum, literal};

mod calls;
mod files;
mod life;
mod rules;

const DARK: &[u8] = b"0123456789";

const FILES: &[(&str, &[u8])] = &[
    ("mappings/hst/hst.pmap", b"bare"),
    ("mappings/hst/hst_0002.pmap", b"two"),
    ("mappings/hst/hst_0010.pmap", b"ten"),
    ("mappings/hst/hst_acs_0001.imap", b"imap"),
    ("mappings/hst/hst_acs_darkfile_0001.rmap", b"rmap"),
    ("mappings/hst/stray.fits", b"not a mapping"),
    ("references/hst/acs/x_drk.fits", DARK),
    ("references/hst/y_drk.r0h", b"header"),
    ("references/hst/.tmp_x_drk.fits_1", b"partial"),
    ("references/hst/x_drk.fits.lock", b""),
    ("references/hst/a%b.fits", b"bad name"),
    ("mappings/roman/roman_0001.pmap", b"roman"),
    ("config/hst/server_config", b"{'latest_context': 'hst_0002.pmap', 'edit_context': 'hst_0010.pmap',\
      'context_history': [('2020-01-02 00:00:00', 'hst_0002.pmap', 'two'), ['2019-01-02 00:00:00', 'hst.pmap', 'one']],\
      'bad_files_list': ['x_drk.fits']}"),
];

fn dark() -> FileKey {
    FileKey {
        observatory: Observatory::Hst,
        name: "x_drk.fits".parse().unwrap(),
    }
}

struct Rig {
    server: Handle,
    cache: TempDir,
}

async fn rig() -> Rig {
    let cache = TempDir::new().unwrap();
    for (path, bytes) in FILES {
        let path = cache.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    std::os::unix::fs::symlink("acs", cache.path().join("references/hst/jref")).unwrap();
    let datasets = cache.path().join("datasets.json");
    let answers = json!({
        "jaaa01010:JAAA01ABQ": {
            "header": {"INSTRUME": "ACS", "DETECTOR": "WFC"},
            "bestrefs": {"hst_0002.pmap": {"darkfile": "x_drk.fits", "biasfile": "NOT FOUND n/a"}},
        },
        "R1_01.WFI16": {"header": {"ROMAN.META.INSTRUMENT.NAME": "WFI"}, "bestrefs": {"roman_0001.pmap": {}}},
    });
    fs::write(&datasets, answers.to_string()).unwrap();
    let server = Server::bind(
        cache.path(),
        Options {
            datasets: Some(datasets),
            ..Options::default()
        },
    )
    .await
    .unwrap();
    Rig { server, cache }
}

/// Status, headers in lower case, body.
struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Rig {
    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: crds.example:99\r\nConnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(reply[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Reply {
            status,
            headers,
            body: reply[end + 4..].to_vec(),
        }
    }

    async fn file(&self, headers: &[(&str, &str)]) -> Reply {
        self.request("GET", "/hst/unchecked_get/references/hst/x_drk.fits", headers, "")
            .await
    }

    /// The whole reply of a call.
    async fn reply(&self, observatory: &str, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "1.0", "method": method, "params": params, "id": "me-1"}).to_string();
        let reply = self
            .request("POST", &format!("/{observatory}/json/{method}/me-1/"), &[], &body)
            .await;
        assert_eq!(reply.status, 200);
        let reply: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply["id"], "me-1");
        reply
    }

    /// The result of a call that is answered.
    async fn call(&self, method: &str, params: Value) -> Value {
        let reply = self.reply("hst", method, params).await;
        assert!(reply["error"].is_null(), "{reply}");
        reply["result"].clone()
    }

    /// The text of a call that is refused.
    async fn rpc_error(&self, method: &str, params: Value) -> String {
        let reply = self.reply("hst", method, params).await;
        assert!(reply["result"].is_null(), "{reply}");
        reply["error"]["message"].as_str().unwrap().to_owned()
    }
}
