//! A CRDS server that misbehaves on command: the double with which tests make every failure that a network has.
//!
//! It serves one observatory that is given in code, speaks just enough HTTP/1.1 and JSON-RPC by hand (a real HTTP library
//! refuses to be this rude), and counts what it is asked. Each file, and the JSON-RPC service, can be told to behave
//! otherwise at any moment.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries, each of which uses a part"
)]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crds_fs::crds::Sha1Sum;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How requests for one file, or JSON-RPC calls, are answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Behaviour {
    /// As it should be, ranges and validators included.
    Well,
    /// With this status and a page of text.
    Status(u16),
    /// So many times with this status (and `Retry-After` in seconds), then well.
    StatusTimes {
        status: u16,
        times: u32,
        retry_after: Option<u64>,
    },
    /// With nothing, until [`Origin::release`]; then well.
    StallBeforeHead,
    /// With the head and so many bytes, the rest after [`Origin::release`].
    StallAfter(usize),
    /// So many bytes of what the head promises; then the connection closes.
    DropAfter(usize),
    /// So many times as [`Behaviour::DropAfter`], then well.
    DropTimes { after: usize, times: u32 },
    /// A shorter file, without a sign in the protocol that anything is wrong.
    Truncate(usize),
    /// A longer file, likewise.
    Extend(usize),
    /// One bit of this byte is wrong.
    Flip(usize),
    /// As [`Behaviour::Flip`] so many times, then well.
    FlipTimes { at: usize, times: u32 },
    /// 200 and a friendly page in HTML.
    Html,
    /// The whole file, whatever range is asked for.
    IgnoreRange,
    /// As [`Behaviour::IgnoreRange`], without any validator.
    NoValidators,
    /// Another `ETag` with every answer; ranges are given without regard to `If-Range`.
    ChangingEtag,
    /// The connection closes without an answer.
    Hang,
    /// A few bytes at a time.
    Drip { bytes: usize, every: Duration },
    /// 302 to this path on the same server.
    Redirect(&'static str),
}

/// What is served.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// `hst`, `jwst` or `roman`.
    pub observatory: &'static str,
    /// The default context.
    pub context: String,
    /// Contents by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Names of bad files.
    pub bad_files: Vec<String>,
    /// Answers by upper-case dataset id: header, and answers by context and type.
    pub datasets: BTreeMap<String, (Value, BTreeMap<String, Value>)>,
    /// Entries that the catalog has although there is no such file: name, size, SHA-1.
    pub phantoms: Vec<(String, u64, String)>,
}

impl Content {
    /// A file with contents of this length that depend on the name alone.
    pub fn file(mut self, name: &str, size: usize) -> Self {
        self.files.insert(name.to_owned(), bytes_for(name, size));
        self
    }
}

/// Bytes that look random, the same for the same name.
pub fn bytes_for(name: &str, size: usize) -> Vec<u8> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn sha1_of(bytes: &[u8]) -> String {
    Sha1Sum::from_bytes(Sha1::digest(bytes).into()).to_string()
}

/// One request for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
}

/// The server. It ends, with all its connections, when it is dropped.
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    port: Mutex<Option<Port>>,
    runtime: Option<Runtime>,
}

/// An open port and the connections through it.
struct Port {
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct State {
    content: Mutex<Content>,
    files: Mutex<HashMap<String, Behaviour>>,
    calls: Mutex<Behaviour>,
    asked: Mutex<HashMap<String, Vec<Asked>>>,
    called: Mutex<Vec<(String, Value)>>,
    stalled: watch::Sender<usize>,
    released: watch::Sender<u64>,
    answers: Mutex<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Origin {
    /// Starts it on a free port of the loopback address.
    pub fn start(content: Content) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(State {
            content: Mutex::new(content),
            files: Mutex::default(),
            calls: Mutex::new(Behaviour::Well),
            asked: Mutex::default(),
            called: Mutex::default(),
            stalled: watch::channel(0).0,
            released: watch::channel(0).0,
            answers: Mutex::new(0),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Self {
            address,
            state,
            port: Mutex::new(None),
            runtime: Some(runtime),
        };
        origin.listen(listener);
        origin
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    fn listen(&self, listener: TcpListener) {
        let port = Port {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (stop, tasks, state) = (port.stop.clone(), port.tasks.clone(), Arc::clone(&self.state));
        let base = self.url();
        self.runtime().spawn(port.tasks.track_future(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = stop.cancelled() => return,
                };
                let (state, base) = (Arc::clone(&state), base.clone());
                let stop = stop.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        // The client may go away at any moment; that is its right.
                        _ = converse(stream, &state, &base) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        }));
        *lock(&self.port) = Some(port);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, as `CRDS_SERVER_URL` wants it.
    pub fn url(&self) -> String {
        format!(
            "http://{}/{}",
            self.address,
            lock(&self.state.content).observatory
        )
    }

    /// From now on requests for this file are answered so.
    pub fn set(&self, name: &str, behaviour: Behaviour) {
        lock(&self.state.files).insert(name.to_owned(), behaviour);
    }

    /// From now on JSON-RPC calls are answered so.
    pub fn set_calls(&self, behaviour: Behaviour) {
        *lock(&self.state.calls) = behaviour;
    }

    /// From now on everything is answered well.
    pub fn mend(&self) {
        lock(&self.state.files).clear();
        *lock(&self.state.calls) = Behaviour::Well;
        self.release();
    }

    /// What is stalled goes on.
    pub fn release(&self) {
        self.state.released.send_modify(|epoch| *epoch += 1);
    }

    /// Waits until so many requests are stalled.
    pub fn wait_for_stalled(&self, count: usize) {
        let mut stalled = self.state.stalled.subscribe();
        let enough = async {
            tokio::time::timeout(Duration::from_secs(60), stalled.wait_for(|now| *now >= count))
                .await
                .is_ok()
        };
        let enough = self.runtime().block_on(enough);
        assert!(
            enough,
            "only {} of {count} requests stalled",
            *self.state.stalled.borrow()
        );
    }

    /// Closes the port and every connection: from now on connections are refused.
    pub fn refuse(&self) {
        if let Some(port) = lock(&self.port).take() {
            port.stop.cancel();
            port.tasks.close();
            self.runtime().block_on(port.tasks.wait());
        }
    }

    /// Opens the port again.
    pub fn accept(&self) {
        let listener = self.runtime().block_on(TcpListener::bind(self.address)).unwrap();
        self.listen(listener);
    }

    /// Changes what is served; clients learn of it when they ask for the description again.
    pub fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut lock(&self.state.content));
    }

    /// The right contents of a file.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        lock(&self.state.content).files[name].clone()
    }

    /// The requests for a file so far.
    pub fn asked(&self, name: &str) -> Vec<Asked> {
        lock(&self.state.asked).get(name).cloned().unwrap_or_default()
    }

    /// How many requests there were for all files.
    pub fn all_asked(&self) -> usize {
        lock(&self.state.asked).values().map(Vec::len).sum()
    }

    /// The parameters of the calls of a method so far.
    pub fn called(&self, method: &str) -> Vec<Value> {
        lock(&self.state.called)
            .iter()
            .filter(|(called, _)| called == method)
            .map(|(_, params)| params.clone())
            .collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

type Io<T> = std::io::Result<T>;

/// Answers one request after the other, until the client leaves or an answer wants the connection closed.
async fn converse(stream: TcpStream, state: &State, base: &str) -> Io<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let keep = if request.path.contains("/json/") {
            answer_call(&mut stream, state, base, &request).await?
        } else {
            answer_file(&mut stream, state, &request).await?
        };
        if !keep {
            break;
        }
    }
    stream.shutdown().await
}

async fn read(stream: &mut BufReader<TcpStream>) -> Io<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(Request {
        method,
        path,
        headers,
        body,
    }))
}

impl State {
    /// Which behaviour holds for this request; the counted ones count down.
    fn next(behaviour: &mut Behaviour) -> Behaviour {
        let now = *behaviour;
        match behaviour {
            Behaviour::StatusTimes { times, .. }
            | Behaviour::DropTimes { times, .. }
            | Behaviour::FlipTimes { times, .. } => {
                if *times == 0 {
                    return Behaviour::Well;
                }
                *times -= 1;
            }
            _ => {}
        }
        now
    }

    /// Waits until everything that is stalled is released.
    async fn stall(&self) {
        let mut released = self.released.subscribe();
        self.stalled.send_modify(|count| *count += 1);
        let _guard = Stalled(&self.stalled);
        // The sender lives as long as the server.
        let _ = released.changed().await;
    }
}

struct Stalled<'a>(&'a watch::Sender<usize>);

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A head with a length, for a body that follows.
fn head(status: u16, length: usize, headers: &[(&str, String)]) -> String {
    let mut head = format!("HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&[name, ": ", value, "\r\n"].concat());
    }
    head + "\r\n"
}

async fn page(
    stream: &mut BufReader<TcpStream>,
    status: u16,
    headers: &[(&str, String)],
    text: &str,
) -> Io<bool> {
    let headers = [&[("Content-Type", "text/html".to_owned())], headers].concat();
    stream
        .write_all((head(status, text.len(), &headers) + text).as_bytes())
        .await?;
    Ok(true)
}

async fn answer_file(stream: &mut BufReader<TcpStream>, state: &State, request: &Request) -> Io<bool> {
    let name = request.path.rsplit('/').next().unwrap_or_default().to_owned();
    lock(&state.asked).entry(name.clone()).or_default().push(Asked {
        method: request.method.clone(),
        range: request.headers.get("range").cloned(),
        if_range: request.headers.get("if-range").cloned(),
    });
    let behaviour = lock(&state.files)
        .get_mut(&name)
        .map_or(Behaviour::Well, State::next);
    match behaviour {
        Behaviour::Hang => return Ok(false),
        Behaviour::StallBeforeHead => state.stall().await,
        Behaviour::Status(status) => return page(stream, status, &[], "<html>no</html>").await,
        Behaviour::StatusTimes {
            status, retry_after, ..
        } => {
            let headers: Vec<_> = retry_after
                .iter()
                .map(|seconds| ("Retry-After", seconds.to_string()))
                .collect();
            return page(stream, status, &headers, "<html>not now</html>").await;
        }
        Behaviour::Html => return page(stream, 200, &[], "<html>Welcome to the archive</html>").await,
        Behaviour::Redirect(path) => {
            return page(stream, 302, &[("Location", path.to_owned())], "elsewhere").await;
        }
        _ => {}
    }
    let Some(bytes) = lock(&state.content).files.get(&name).cloned() else {
        return page(stream, 404, &[], "<html>no such file</html>").await;
    };
    send(stream, state, request, behaviour, bytes).await
}

/// Sends a file, in the way of `behaviour`.
async fn send(
    stream: &mut BufReader<TcpStream>,
    state: &State,
    request: &Request,
    behaviour: Behaviour,
    mut bytes: Vec<u8>,
) -> Io<bool> {
    let mut etag = format!("\"{}\"", sha1_of(&bytes));
    match behaviour {
        Behaviour::Truncate(size) => bytes.truncate(size),
        Behaviour::Extend(more) => bytes.resize(bytes.len() + more, b'!'),
        Behaviour::Flip(at) | Behaviour::FlipTimes { at, .. } => bytes[at] ^= 1,
        Behaviour::ChangingEtag => {
            let mut answers = lock(&state.answers);
            *answers += 1;
            etag = format!("\"answer-{answers}\"");
        }
        _ => {}
    }
    let range = match behaviour {
        Behaviour::IgnoreRange | Behaviour::NoValidators => None,
        _ => request
            .headers
            .get("range")
            .and_then(|range| parse_range(range, bytes.len())),
    };
    let same = request.headers.get("if-range").is_none_or(|given| *given == etag);
    let range = range.filter(|_| same || behaviour == Behaviour::ChangingEtag);
    let mut headers = vec![("Content-Type", "application/octet-stream".to_owned())];
    if behaviour != Behaviour::NoValidators {
        headers.push(("ETag", etag));
    }
    let (status, body) = match range {
        Some((start, end)) => {
            headers.push((
                "Content-Range",
                format!("bytes {start}-{}/{}", end - 1, bytes.len()),
            ));
            (206, &bytes[start..end])
        }
        None => (200, &bytes[..]),
    };
    stream
        .write_all(head(status, body.len(), &headers).as_bytes())
        .await?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    match behaviour {
        Behaviour::StallAfter(count) => {
            let (first, rest) = body.split_at(count.min(body.len()));
            stream.write_all(first).await?;
            state.stall().await;
            stream.write_all(rest).await?;
        }
        Behaviour::DropAfter(count) | Behaviour::DropTimes { after: count, .. } if count < body.len() => {
            stream.write_all(&body[..count]).await?;
            return Ok(false);
        }
        Behaviour::Drip { bytes, every } => {
            for piece in body.chunks(bytes) {
                stream.write_all(piece).await?;
                tokio::time::sleep(every).await;
            }
        }
        _ => stream.write_all(body).await?,
    }
    Ok(true)
}

/// One satisfiable range, as a half-open interval.
fn parse_range(header: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = first.parse().ok()?;
    let end = if last.is_empty() {
        size
    } else {
        last.parse::<usize>().ok()?.saturating_add(1).min(size)
    };
    (start < end).then_some((start, end))
}

async fn answer_call(
    stream: &mut BufReader<TcpStream>,
    state: &State,
    base: &str,
    request: &Request,
) -> Io<bool> {
    let call: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let method = call["method"].as_str().unwrap_or_default().to_owned();
    lock(&state.called).push((method.clone(), call["params"].clone()));
    let behaviour = State::next(&mut lock(&state.calls));
    match behaviour {
        Behaviour::Hang => return Ok(false),
        Behaviour::StallBeforeHead => state.stall().await,
        Behaviour::Status(status) | Behaviour::StatusTimes { status, .. } => {
            return page(stream, status, &[], "<html>no</html>").await;
        }
        Behaviour::Html => return page(stream, 200, &[], "<html>Down for maintenance</html>").await,
        _ => {}
    }
    let answer = lock(&state.content).answer(base, &method, &call["params"]);
    let reply = match answer {
        Ok(result) => json!({"error": null, "jsonrpc": "1.0", "id": call["id"], "result": result}),
        Err(text) => json!({"error": {"name": "OtherError", "code": 500, "message": text, "data": null},
                            "jsonrpc": "1.0", "id": call["id"], "result": null}),
    };
    let text = reply.to_string();
    let body = &text.as_bytes()[..match behaviour {
        Behaviour::DropAfter(count) | Behaviour::DropTimes { after: count, .. } => count.min(text.len()),
        _ => text.len(),
    }];
    let kind = [("Content-Type", "application/json-rpc".to_owned())];
    stream.write_all(head(200, text.len(), &kind).as_bytes()).await?;
    stream.write_all(body).await?;
    Ok(body.len() == text.len())
}

impl Content {
    /// The result of a JSON-RPC method, or the text of the error.
    fn answer(&self, base: &str, method: &str, params: &Value) -> Result<Value, String> {
        match method {
            "get_server_info" => Ok(self.description(base)),
            "get_default_context" => Ok(json!(self.context)),
            "get_best_references_by_ids" => Ok(self.best_references(params)),
            _ => Err(format!("OtherError: no method &#39;{method}&#39;")),
        }
    }

    fn description(&self, base: &str) -> Value {
        let is_mapping = |name: &&String| [".pmap", ".imap", ".rmap"].iter().any(|end| name.ends_with(end));
        let catalog: serde_json::Map<_, _> = self
            .files
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.len() as u64, sha1_of(bytes)))
            .chain(self.phantoms.iter().cloned())
            .map(|(name, size, sha1)| (name, json!({"size": size.to_string(), "sha1sum": sha1})))
            .collect();
        let url = |part: &str| json!({self.observatory: format!("{base}/unchecked_get/{part}/{}/", self.observatory)});
        json!({
            "observatory": self.observatory,
            "latest_context": self.context, "operational_context": self.context, "edit_context": self.context,
            "versions_context": "", "context_history": [["2020-01-01 00:00:00", self.context, "the first"]],
            "mappings": self.files.keys().filter(is_mapping).collect::<Vec<_>>(),
            "bad_files_list": self.bad_files, "force_remote_mode": 0, "download_metadata": catalog,
            "mapping_url": url("mappings"), "reference_url": url("references"), "config_url": url("config"),
            "max_bestrefs_per_rpc": 1000, "max_headers_per_rpc": 1000,
            "crds_version": {"str": "13.0.0"}, "last_synced": "2026-01-01 00:00:00.000000",
        })
    }

    /// Keys of the two-part form, as newer servers answer.
    fn best_references(&self, params: &Value) -> Value {
        let context = params[0].as_str().unwrap_or_default();
        let (mut answers, mut headers) = (serde_json::Map::new(), serde_json::Map::new());
        for id in params[1]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            let id = id.to_ascii_uppercase();
            if let Some((header, contexts)) = self.datasets.get(&id) {
                let types = contexts.get(context).cloned().unwrap_or_else(|| json!({}));
                answers.insert(format!("{id}:{id}"), json!([true, types]));
                headers.insert(format!("{id}:{id}"), header.clone());
            } else {
                let text = format!("NOT FOUND dataset ID does not exist '{id}'");
                answers.insert(id, json!([false, text]));
            }
        }
        if params[3] == json!(true) {
            answers.insert("headers".to_owned(), Value::Object(headers));
        }
        Value::Object(answers)
    }
}
