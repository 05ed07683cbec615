//! The methods of a CRDS server, with their results in types (spec/crds-service 1.3 and 1.4).

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::error::{Hint, RemoteError, RemoteErrorKind};
use crate::crds::{DatasetId, FileName, Observatory, Reftype, ServerInfo};

mod results;

/// The values of reference types by their names; what the values mean is for the layer above (spec/crds-service 1.5).
pub(crate) type TypeValues = BTreeMap<String, Value>;

/// The matching parameters of a dataset.
pub(crate) type Header = BTreeMap<String, String>;

/// The answer for each dataset, or the reason why there is none, by the name that the server has for the dataset.
pub(crate) type ByDataset<T> = BTreeMap<String, Result<T, String>>;

/// A server's answer to a question for the best references of datasets.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BestReferences {
    /// The values.
    pub answers: ByDataset<TypeValues>,
    /// The matching parameters that were used, by dataset, where they were asked for.
    pub headers: BTreeMap<String, Header>,
}

impl BestReferences {
    /// The answer for the dataset that was asked for as `id`.
    pub(crate) fn answer(&self, id: &DatasetId) -> Option<&Result<TypeValues, String>> {
        self.answers.get(find_id(&self.answers, id.as_str())?)
    }

    /// The matching parameters of the dataset that was asked for as `id`.
    pub(crate) fn header(&self, id: &DatasetId) -> Option<&Header> {
        self.headers.get(find_id(&self.headers, id.as_str())?)
    }
}

/// The key under which the result for the upper-case `id` stands: the id itself, `ID:ID`, else the first of those of
/// which one half is the id, at last with its last `_` read as `.` (spec/crds-service 1.4).
pub(crate) fn find_id<'a, V>(results: &'a BTreeMap<String, V>, id: &str) -> Option<&'a str> {
    let key = |wanted: &str| results.get_key_value(wanted).map(|(key, _)| key.as_str());
    let with_half = |wanted: &str| {
        results.keys().map(String::as_str).find(|key| {
            key.split_once(':').map_or(*key == wanted, |(product, exposure)| {
                product == wanted || exposure == wanted
            })
        })
    };
    key(id)
        .or_else(|| key(&format!("{id}:{id}")))
        .or_else(|| with_half(id))
        .or_else(|| {
            let (head, tail) = id.rsplit_once('_')?;
            with_half(&format!("{head}.{tail}"))
        })
}

/// A CRDS server. Each call is sent once; nothing is retried here.
///
/// Only [`CrdsServer::call`] has to be written for another kind of server; the methods are made of it.
pub(crate) trait CrdsServer: Send + Sync {
    /// The observatory of the server.
    fn observatory(&self) -> Observatory;

    /// Its URL, for messages.
    fn url(&self) -> &str;

    /// Whether its description may come from this URL, without credentials: so a kept description is known to be of it.
    fn is_described_at(&self, url: &str) -> bool {
        url.trim_end_matches('/') == self.url().trim_end_matches('/')
    }

    /// The failure of all calls that are made now, where one of a moment ago is that of the next ones.
    fn outage(&self) -> Option<RemoteError> {
        None
    }

    /// Takes note of a call that was given up because nothing came.
    fn note_silence(&self, _error: &RemoteError) {}

    /// Calls a method with positional parameters and gives its decoded result.
    fn call<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Result<Value, RemoteError>>;

    /// The server's description of itself. If an old server leaves the catalog out, it is asked for as well.
    fn server_info(&self) -> BoxFuture<'_, Result<ServerInfo, RemoteError>> {
        Box::pin(async move {
            let described = self.call("get_server_info", json!([])).await?;
            let info = self.read_description(described).await?;
            let info = info.received_from(self.url());
            if info.has_metadata() {
                return Ok(info);
            }
            let params = json!([self.observatory().as_str(), null, ["sha1sum", "size"]]);
            let files = self.call("get_file_info_map", params).await?;
            in_background(move || info.with_metadata(files.to_string().as_bytes()))
                .await
                .ok_or_else(|| self.nonsense(&UNREAD))?
                .map_err(|error| self.nonsense(&error))
        })
    }

    /// The description in a server's reply, which must be of the observatory that was asked for.
    fn read_description(&self, described: Value) -> BoxFuture<'_, Result<ServerInfo, RemoteError>> {
        Box::pin(async move {
            let info = in_background(move || ServerInfo::from_json_value(described))
                .await
                .ok_or_else(|| self.nonsense(&UNREAD))?
                .map_err(|error| self.nonsense(&error))?;
            let (asked, found) = (self.observatory(), info.observatory());
            if asked == found {
                return Ok(info);
            }
            let error = self.nonsense(&format!("this is the server of {found}, not of {asked}"));
            Err(error.with_hint(Hint::OtherObservatory(found)))
        })
    }

    /// The mapping that a date or symbolic context means. `None` if it means a type that does not apply.
    fn context_by_date<'a>(&'a self, spec: &'a str) -> BoxFuture<'a, Result<Option<FileName>, RemoteError>> {
        Box::pin(async move {
            let params = json!([spec, self.observatory().as_str()]);
            let result = self.call("get_context_by_date", params).await?;
            if result.as_str() == Some("N/A") {
                return Ok(None);
            }
            results::name(&result)
                .map(Some)
                .map_err(|what| self.nonsense(&what))
        })
    }

    /// The context for a version of the calibration software, such as `1.18.0`.
    fn build_context<'a>(&'a self, version: &'a str) -> BoxFuture<'a, Result<FileName, RemoteError>> {
        Box::pin(async move {
            let params = json!([self.observatory().as_str(), version]);
            let result = self.call("get_build_context", params).await?;
            results::name(&result).map_err(|what| self.nonsense(&what))
        })
    }

    /// The best references of one header. `types` `None` asks for all.
    fn best_references<'a>(
        &'a self,
        context: &'a FileName,
        header: &'a Header,
        types: Option<&'a [Reftype]>,
    ) -> BoxFuture<'a, Result<TypeValues, RemoteError>> {
        Box::pin(async move {
            let params = json!([context.as_str(), header, type_names(types)]);
            let result = self.call("get_best_references", params).await?;
            results::type_values(result).map_err(|what| self.nonsense(&what))
        })
    }

    /// The best references of datasets of the archive, with `headers` also their matching parameters. At most
    /// as many at once as the server says (`bestrefs_per_rpc`); 10 to 50 are sensible.
    fn best_references_by_ids<'a>(
        &'a self,
        context: &'a FileName,
        ids: &'a [DatasetId],
        types: Option<&'a [Reftype]>,
        headers: bool,
    ) -> BoxFuture<'a, Result<BestReferences, RemoteError>> {
        Box::pin(async move {
            let params = json!([context.as_str(), id_texts(ids), type_names(types), headers]);
            let result = self.call("get_best_references_by_ids", params).await?;
            results::best_references(result, str::to_ascii_uppercase).map_err(|what| self.nonsense(&what))
        })
    }

    /// The error for a reply that makes no sense.
    fn nonsense(&self, what: &dyn std::fmt::Display) -> RemoteError {
        let message = format!("the server's reply makes no sense: {what}");
        RemoteError::new(RemoteErrorKind::Protocol, self.url(), message)
    }
}

/// Work for [`in_background`] ended without a result.
pub(super) const UNREAD: &str = "reading it has failed, which is a mistake in crds-fs";

/// Reads a long text on a thread for blocking work; `None` when it ended without a result.
pub(super) async fn in_background<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(read).await.ok()
}

fn type_names(types: Option<&[Reftype]>) -> Option<Vec<&str>> {
    types.map(|types| types.iter().map(Reftype::as_str).collect())
}

fn id_texts(ids: &[DatasetId]) -> Vec<&str> {
    ids.iter().map(DatasetId::as_str).collect()
}

#[cfg(test)]
mod tests;
