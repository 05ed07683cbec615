//! The servers of one run: files by nginx or by this program, JSON-RPC by this program, both behind the far link if
//! wanted.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};

use crate::data::{Data, Entry};
use crate::{Fallible, far, http};

/// The servers of one run, stopped when dropped.
pub(crate) struct Service {
    /// The base URL of the data's directory, without a slash at its end.
    pub(crate) files: String,
    /// The base URL of JSON-RPC; an observatory's name follows.
    pub(crate) calls: String,
    /// The program that serves the files.
    pub(crate) name: &'static str,
    nginx: Option<Child>,
}

impl Service {
    pub(crate) fn start(data: &Data, scratch: &Path, far: bool) -> Fallible<Self> {
        let nginx = start_nginx(data.root(), scratch)?;
        let files = match &nginx {
            Some((_, address)) => *address,
            None => http::serve(http::Site {
                files: Some(data.root().to_owned()),
                ..http::Site::default()
            })?,
        };
        let name = match nginx {
            Some(_) => "nginx",
            None => "a server of this program",
        };
        let reach = |address| if far { far::link(address) } else { Ok(address) };
        // In force from here on, so that nginx ends with it also where the rest fails.
        let mut service = Self {
            files: format!("http://{}", reach(files)?),
            calls: String::new(),
            name,
            nginx: nginx.map(|(child, _)| child),
        };
        let descriptions = ["hst", "jwst"]
            .map(|observatory| {
                Ok((
                    observatory.to_owned(),
                    describe(data, observatory, &service.files)?,
                ))
            })
            .into_iter()
            .collect::<Fallible<HashMap<_, _>>>()?;
        let calls = http::serve(http::Site {
            descriptions,
            ..http::Site::default()
        })?;
        service.calls = format!("http://{}", reach(calls)?);
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut nginx) = self.nginx.take() {
            // SIGTERM, so that it ends its workers.
            let pid = rustix::process::Pid::from_child(&nginx);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = nginx.wait();
        }
    }
}

/// nginx over the data with one worker, as long as it is installed.
fn start_nginx(root: &Path, scratch: &Path) -> Fallible<Option<(Child, SocketAddr)>> {
    if Command::new("nginx")
        .arg("-v")
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        return Ok(None);
    }
    let run = scratch.join("nginx");
    fs::create_dir_all(&run)?;
    // The port is free again when nginx takes it, and it says so where somebody else was quicker.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {}/{what};", run.display()))
        .concat();
    let mut configuration = fs::File::create(run.join("nginx.conf"))?;
    write!(
        configuration,
        "daemon off; {user} worker_processes 1; pid {run}/pid; error_log {run}/error.log;
         events {{ worker_connections 512; }}
         http {{
           access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; sendfile_max_chunk 2m;
           open_file_cache max=8000 inactive=600s; open_file_cache_valid 600s;
           keepalive_timeout 75s; keepalive_requests 1000000; {temporary}
           default_type application/octet-stream;
           server {{ listen {address} backlog=512; root {root}; autoindex on; }}
         }}",
        run = run.display(),
        root = root.display(),
    )?;
    let mut nginx = Command::new("nginx")
        .arg("-c")
        .arg(run.join("nginx.conf"))
        .arg("-e")
        .arg(run.join("error.log"))
        .stdin(Stdio::null())
        .spawn()?;
    for _ in 0..500 {
        if let Some(status) = nginx.try_wait()? {
            return Err(format!("nginx ended with {status}").into());
        }
        if TcpStream::connect(address).is_ok() {
            return Ok(Some((nginx, address)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    nginx.kill()?;
    nginx.wait()?;
    Err("nginx does not answer".into())
}

/// The result of `get_server_info`.
fn describe(data: &Data, observatory: &str, files: &str) -> Fallible<String> {
    let entry = |entry: &&Entry| {
        (
            entry.name.clone(),
            json!({"size": entry.size.to_string(), "sha1sum": entry.sha1}),
        )
    };
    let catalog: Map<String, Value> = data.catalog(observatory).iter().map(entry).collect();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(serde_json::to_string(&catalog)?.as_bytes())?;
    let context = format!("{observatory}_0001.pmap");
    let now = "2026-01-01 00:00:00.000000";
    let mut described = json!({
        "observatory": observatory,
        "latest_context": context, "operational_context": context, "edit_context": context, "build_context": context,
        "versions_context": "", "context_history": [[0, now, context, "the first"]], "mappings": [],
        "bad_files": "", "bad_files_list": [], "force_remote_mode": 0, "crds_version": {"str": "14.0.3"},
        "download_metadata": {"crds_encoded": "1.0", "crds_payload": STANDARD.encode(packed.finish()?)},
        "last_refreshed": now, "last_synced": now, "max_bestrefs_per_rpc": 1000, "max_headers_per_rpc": 1000,
    });
    for part in ["mapping", "reference", "config", "pickle"] {
        let url = json!({observatory: format!("{files}/crds/")});
        described[format!("{part}_url")] = json!({"checked": url, "unchecked": url});
    }
    Ok(described.to_string())
}
