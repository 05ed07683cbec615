//! A CRDS server in memory: it knows some datasets, counts what it is asked, and misbehaves on command.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value, json};

use crate::crds::Observatory;
use crate::remote::{CrdsServer, RemoteError, RemoteErrorKind, Retry};

const URL: &str = "https://archive.example";

/// The archive. Clones share it.
#[derive(Clone)]
pub(in crate::resolve) struct Archive(Arc<Mutex<State>>);

struct State {
    info: Value,
    /// `{id: payload}` as the service gives them, `[ok, payload]`.
    answers: BTreeMap<String, Value>,
    headers: BTreeMap<String, Value>,
    /// Ids whose presence spoils a whole request, with the message.
    poison: BTreeMap<String, String>,
    /// The failures of the next requests, in order.
    failures: VecDeque<RemoteError>,
    /// The next request is answered by a panic.
    panics_next: bool,
    /// The failure of every request from now on.
    down: Option<RemoteErrorKind>,
    /// Each reply comes so late; never where that is nothing.
    delay: Option<Duration>,
    /// The ids of each request for best references.
    requests: Vec<Vec<String>>,
    /// Under which context each was made.
    contexts: Vec<String>,
    contexts_by_date: BTreeMap<String, Value>,
}

impl Archive {
    pub(in crate::resolve) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            info: json!({}),
            answers: BTreeMap::new(),
            headers: BTreeMap::new(),
            poison: BTreeMap::new(),
            failures: VecDeque::new(),
            panics_next: false,
            down: None,
            delay: Some(Duration::ZERO),
            requests: Vec::new(),
            contexts: Vec::new(),
            contexts_by_date: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    pub(in crate::resolve) fn set_info(&self, info: Value) {
        self.state().info = info;
    }

    /// Designates a file scientifically invalid.
    pub(in crate::resolve) fn declare_bad(&self, name: &str) {
        let mut state = self.state();
        let bad = state.info["bad_files_list"].as_array_mut().unwrap();
        bad.push(name.into());
    }

    pub(in crate::resolve) fn info(&self) -> Value {
        self.state().info.clone()
    }

    /// Makes a dataset known under this key.
    pub(in crate::resolve) fn put(&self, key: &str, payload: Value) {
        self.state().answers.insert(key.to_owned(), payload);
    }

    /// Gives a dataset a header.
    pub(in crate::resolve) fn put_header(&self, key: &str, header: Value) {
        self.state().headers.insert(key.to_owned(), header);
    }

    pub(in crate::resolve) fn poison(&self, id: &str, message: &str) {
        self.state().poison.insert(id.to_owned(), message.to_owned());
    }

    pub(in crate::resolve) fn fail_next(&self, kind: RemoteErrorKind) {
        self.state()
            .failures
            .push_back(RemoteError::new(kind, URL, "it fails once"));
    }

    pub(in crate::resolve) fn panic_next(&self) {
        self.state().panics_next = true;
    }

    pub(in crate::resolve) fn be_busy_next(&self, pause: Duration) {
        let busy = RemoteError::new(RemoteErrorKind::Busy, URL, "it is busy once");
        self.state()
            .failures
            .push_back(busy.with_retry(Retry::After(pause)));
    }

    pub(in crate::resolve) fn go_down(&self, kind: RemoteErrorKind) {
        self.state().down = Some(kind);
    }

    /// Lets every reply come after `delay`, or never.
    pub(in crate::resolve) fn delay(&self, delay: Option<Duration>) {
        self.state().delay = delay;
    }

    pub(in crate::resolve) fn come_back(&self) {
        self.state().down = None;
    }

    pub(in crate::resolve) fn set_context_by_date(&self, spec: &str, context: &str) {
        self.state()
            .contexts_by_date
            .insert(spec.to_owned(), context.into());
    }

    /// The ids of each request for best references so far.
    pub(in crate::resolve) fn requests(&self) -> Vec<Vec<String>> {
        self.state().requests.clone()
    }

    /// The contexts of those requests.
    pub(in crate::resolve) fn contexts(&self) -> Vec<String> {
        self.state().contexts.clone()
    }

    fn best_references(state: &mut State, params: &Value) -> Result<Value, RemoteError> {
        let ids: Vec<String> = params[1]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap().to_owned())
            .collect();
        state.requests.push(ids.clone());
        state.contexts.push(params[0].as_str().unwrap().to_owned());
        if let Some(message) = ids.iter().find_map(|id| state.poison.get(id)) {
            return Err(RemoteError::new(RemoteErrorKind::Rpc, URL, message));
        }
        let mut result = Map::new();
        let mut headers = Map::new();
        for id in &ids {
            let asked = |key: &&String| key.split(':').any(|half| half == id) || *key == id;
            let known: Vec<String> = state.answers.keys().filter(asked).cloned().collect();
            for key in known {
                result.insert(key.clone(), state.answers[&key].clone());
                headers.extend(state.headers.get(&key).map(|header| (key, header.clone())));
            }
        }
        if params[3] == json!(true) {
            result.insert("headers".to_owned(), headers.into());
        }
        Ok(result.into())
    }
}

impl CrdsServer for Archive {
    fn observatory(&self) -> Observatory {
        Observatory::Roman
    }

    fn url(&self) -> &str {
        URL
    }

    fn call<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        let mut state = self.state();
        if std::mem::take(&mut state.panics_next) {
            drop(state);
            panic!("the archive panics once");
        }
        let answer = if let Some(error) = state.failures.pop_front() {
            Err(error)
        } else if let Some(kind) = state.down {
            Err(RemoteError::new(kind, URL, "the archive is down"))
        } else {
            match method {
                "get_server_info" => Ok(state.info.clone()),
                "get_best_references_by_ids" => Self::best_references(&mut state, &params),
                "get_context_by_date" => state
                    .contexts_by_date
                    .get(params[0].as_str().unwrap())
                    .cloned()
                    .ok_or_else(|| RemoteError::new(RemoteErrorKind::Rpc, URL, "no such date")),
                other => Err(RemoteError::new(
                    RemoteErrorKind::Rpc,
                    URL,
                    format!("no method {other}"),
                )),
            }
        };
        let delay = state.delay;
        Box::pin(async move {
            match delay {
                Some(Duration::ZERO) => {}
                Some(delay) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
            answer
        })
    }
}
