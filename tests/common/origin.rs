//! A CRDS server that misbehaves on command, with which tests make every failure that a network has.
//!
//! It serves one observatory that is given in code, speaks just enough HTTP/1.1 and JSON-RPC by hand (a real HTTP
//! library refuses to misbehave like this), and counts its requests. Each file, and the JSON-RPC service, can be told
//! to behave otherwise at any moment.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries, each of which uses a part"
)]

#[path = "origin/content.rs"]
pub mod content;
#[path = "origin/http.rs"]
mod http;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use content::{Blob, Content, encoded};

/// The way requests for one file, or JSON-RPC calls, are answered.
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
    /// The part asked for up to this byte of the file, the rest after [`Origin::release`].
    StallAt(usize),
    /// The part asked for up to about this byte of the file; then the connection is reset.
    ResetAt(usize),
    /// The part asked for up to this byte of the file; then the connection closes, whatever the head has promised.
    CloseAt(usize),
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
    /// One bit of this byte is wrong, under the validator of what is right.
    FlipUnseen(usize),
    /// As [`Behaviour::Flip`] so many times, then well.
    FlipTimes { at: usize, times: u32 },
    /// 200 and a friendly page in HTML.
    Html,
    /// `Content-Encoding: gzip`, and few bytes that unfold to many.
    Bomb,
    /// So many bytes of text instead of what is right.
    Flood(usize),
    /// Ranges whose `Content-Range` says that they begin a byte later.
    WrongContentRange,
    /// Ranges without `Content-Range`.
    NoContentRange,
    /// Ranges with the bytes of other ones.
    ShiftedRange,
    /// The whole file, whatever range is asked for.
    IgnoreRange,
    /// As [`Behaviour::IgnoreRange`], and the connection closes after so many bytes.
    IgnoreRangeDrop(usize),
    /// As [`Behaviour::ChangingEtag`], and the connection closes after so many bytes.
    ChangingEtagDrop(usize),
    /// As [`Behaviour::IgnoreRange`], without any validator.
    NoValidators,
    /// Another `ETag` with every answer; ranges are given without regard to `If-Range`.
    ChangingEtag,
    /// Chunked, without a length.
    Chunked,
    /// Chunked, without a length, and the connection closes after so many bytes.
    ChunkedDrop(usize),
    /// As long as the connection lasts, without a length, and it closes after so many bytes.
    CloseAfter(usize),
    /// Header after header, without an end.
    EndlessHead,
    /// The connection closes without an answer.
    Hang,
    /// A few bytes at a time.
    Drip { bytes: usize, every: Duration },
    /// 302 to this URL, or path on the same server. `{name}` in it is the name of the file, `{port}` the port of this
    /// server. What lies below `/plain/` is always served well, and `/login` is a page.
    Redirect(&'static str),
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
    files: Mutex<HashMap<String, VecDeque<Behaviour>>>,
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
                        _ = http::converse(stream, &state, &base) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        }));
        *lock(&self.port) = Some(port);
    }

    /// The address that it listens on.
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
        self.set_each(name, &[behaviour]);
    }

    /// From now on each request for this file is answered by the next of these, and all further ones by the last.
    pub fn set_each(&self, name: &str, behaviours: &[Behaviour]) {
        lock(&self.state.files).insert(name.to_owned(), behaviours.iter().copied().collect());
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

    /// Lets stalled replies go on.
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

    /// Opens the port again. Another process may have it for a while, for a connection of its own.
    pub fn accept(&self) {
        let begun = std::time::Instant::now();
        let listener = loop {
            match self.runtime().block_on(TcpListener::bind(self.address)) {
                Ok(listener) => break listener,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        self.listen(listener);
    }

    /// Changes what is served; clients learn of it when they ask for the description again.
    pub fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut lock(&self.state.content));
    }

    /// The right contents of a file.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        self.blob(name).to_vec()
    }

    /// The right contents of a file, without a copy of them.
    pub fn blob(&self, name: &str) -> Blob {
        lock(&self.state.content).files[name].clone()
    }

    /// All that is served. Files are shared with it, not copied.
    pub fn content(&self) -> Content {
        lock(&self.state.content).clone()
    }

    /// The requests for a file so far.
    pub fn asked(&self, name: &str) -> Vec<Asked> {
        lock(&self.state.asked).get(name).cloned().unwrap_or_default()
    }

    /// The number of requests for all files.
    pub fn all_asked(&self) -> usize {
        lock(&self.state.asked).values().map(Vec::len).sum()
    }

    /// The number of calls of all methods.
    pub fn all_called(&self) -> usize {
        lock(&self.state.called).len()
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

impl State {
    /// The behaviour for this request; the counted ones count down.
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

    /// The behaviour for this request for a file.
    fn next_for(&self, name: &str) -> Behaviour {
        let mut files = lock(&self.files);
        match files.get_mut(name) {
            Some(row) if row.len() > 1 => row.pop_front(),
            Some(row) => row.front_mut().map(Self::next),
            None => None,
        }
        .unwrap_or(Behaviour::Well)
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
