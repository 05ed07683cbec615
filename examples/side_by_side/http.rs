//! A small HTTP/1.1 server on loopback: files with ranges and listings, and JSON-RPC. One thread for each connection, and
//! bodies go from the page cache to the socket by sendfile, so that it is not what is measured.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::Fallible;

/// Files up to this size are sent in one write with their head.
const SMALL_BYTES: u64 = 64 << 10;

/// The files and answers of one server.
#[derive(Default)]
pub(crate) struct Site {
    /// Files and directories below this one.
    pub(crate) files: Option<PathBuf>,
    /// Results of `get_server_info`, as JSON texts, by the first part of the path.
    pub(crate) descriptions: HashMap<String, String>,
}

/// Serves on a free port until the process ends.
pub(crate) fn serve(site: Site) -> Fallible<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let site = Arc::new(site);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let site = Arc::clone(&site);
            // The client may leave at any moment.
            std::thread::spawn(move || drop(converse(stream, &site)));
        }
    });
    Ok(address)
}

struct Request {
    method: String,
    path: String,
    range: Option<String>,
    length: u64,
}

fn converse(stream: TcpStream, site: &Site) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read(&mut input)? {
        if request.method == "POST" {
            let mut body = Vec::new();
            input.by_ref().take(request.length).read_to_end(&mut body)?;
            let text = answer_call(site, &request.path, &body);
            send(&mut output, "200 OK", "application/json", text.as_bytes(), true)?;
        } else {
            answer_file(&mut output, site, &request)?;
        }
    }
    Ok(())
}

fn read(input: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let mut request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        range: None,
        length: 0,
    };
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(Some(request));
        };
        if name.eq_ignore_ascii_case("range") {
            request.range = Some(value.trim().to_owned());
        } else if name.eq_ignore_ascii_case("content-length") {
            request.length = value.trim().parse().unwrap_or(0);
        }
    }
}

fn send(output: &mut TcpStream, status: &str, kind: &str, body: &[u8], whole: bool) -> io::Result<()> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if whole {
        answer.extend_from_slice(body);
    }
    output.write_all(&answer)
}

fn answer_call(site: &Site, path: &str, body: &[u8]) -> String {
    let call: Value = serde_json::from_slice(body).unwrap_or_default();
    let observatory = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match site.descriptions.get(observatory) {
        Some(description) if call["method"] == "get_server_info" => {
            format!(
                r#"{{"error":null,"jsonrpc":"1.0","id":{},"result":{description}}}"#,
                call["id"]
            )
        }
        _ => {
            json!({"error": {"name": "MethodNotFoundError", "code": 404, "data": null, "message": "not here"},
                    "jsonrpc": "1.0", "id": call["id"], "result": null})
            .to_string()
        }
    }
}

fn answer_file(output: &mut TcpStream, site: &Site, request: &Request) -> io::Result<()> {
    let whole = request.method != "HEAD";
    let missing =
        |output: &mut TcpStream| send(output, "404 Not Found", "text/plain", b"no such file\n", whole);
    let Some(root) = &site.files else {
        return missing(output);
    };
    let relative = Path::new(request.path.trim_start_matches('/'));
    let inside = relative
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    let path = root.join(relative);
    if !inside {
        return missing(output);
    }
    if path.is_dir() {
        return send(output, "200 OK", "text/html", listing(&path)?.as_bytes(), whole);
    }
    match File::open(&path) {
        Ok(file) => send_file(output, file, request, whole),
        Err(_) => missing(output),
    }
}

/// A page with a link to each entry.
fn listing(directory: &Path) -> io::Result<String> {
    let mut page = String::from("<html><body><pre>\n");
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let mark = if entry.file_type()?.is_dir() { "/" } else { "" };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<a href=\"{name}{mark}\">{name}{mark}</a>");
    }
    Ok(page + "</pre></body></html>\n")
}

fn send_file(output: &mut TcpStream, mut file: File, request: &Request, whole: bool) -> io::Result<()> {
    let metadata = file.metadata()?;
    let size = metadata.len();
    let modified = validator(&metadata);
    let range = request.range.as_deref().and_then(|range| satisfy(range, size));
    let (start, end) = range.unwrap_or((0, size));
    let mut head = match range {
        Some(_) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}\r\n",
            end - 1
        ),
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    // Writing to a string cannot fail.
    let _ = write!(
        head,
        "Content-Type: application/octet-stream\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n{modified}\r\n",
        end - start
    );
    let mut head = head.into_bytes();
    let length = end - start;
    if !whole {
        return output.write_all(&head);
    }
    file.seek(SeekFrom::Start(start))?;
    if length <= SMALL_BYTES {
        file.take(length).read_to_end(&mut head)?;
        return output.write_all(&head);
    }
    output.write_all(&head)?;
    // From a file to a socket this is sendfile.
    io::copy(&mut file.take(length), output)?;
    Ok(())
}

/// A strong validator made of length and time.
fn validator(metadata: &std::fs::Metadata) -> String {
    let modified = metadata.modified().unwrap_or(std::time::UNIX_EPOCH);
    let seconds = modified
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    format!("ETag: \"{:x}-{seconds:x}\"\r\n", metadata.len())
}

/// One satisfiable range, as a half-open interval.
fn satisfy(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start = first.parse().ok()?;
    let end = match last {
        "" => size,
        last => last.parse::<u64>().ok()?.saturating_add(1).min(size),
    };
    (start < end).then_some((start, end))
}
