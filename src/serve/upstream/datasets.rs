//! Datasets: their best references by the resolver, their headers remembered one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use super::pass_on::pass_on;
use super::{Upstream, of_resolver};
use crate::cache::Answer;
use crate::crds::{ContextSpec, DatasetId, DatasetName, FileName, ServerInfo};
use crate::resolve::ResolveError;
use crate::serve::arguments::{known_types, too_many};
use crate::serve::envelope::{Call, MethodResult, RpcError};

/// The datasets of a call.
struct Asked {
    info: Arc<ServerInfo>,
    context: FileName,
    /// As they were sent, each with the id if it is one.
    ids: Vec<(String, Option<DatasetId>)>,
}

/// An answer, or the words of upstream or the rules for why there is none.
type Answered = Result<Arc<Answer>, String>;

impl Upstream {
    async fn asked(&self, call: &Call) -> Result<Asked, RpcError> {
        let info = self.info().await.map_err(RpcError::no_contact)?;
        let context = call.params.text(0, "the context")?;
        let spec = context
            .parse::<ContextSpec>()
            .map_err(|error| RpcError::new("UnknownContext", error))?;
        let context = self.cache.resolver().context(&spec).wait().await;
        let ids = call.params.texts(1, "the dataset ids")?;
        let limit = info.limits().bestrefs_per_rpc;
        if ids.len() > limit {
            return Err(too_many(ids.len(), limit));
        }
        Ok(Asked {
            context: context.map_err(|error| of_resolver(&error))?,
            info,
            ids: ids
                .into_iter()
                .map(|id| (id.to_owned(), id.parse().ok()))
                .collect(),
        })
    }

    /// The answers for datasets, in their order. Where there is not one, a failure to ask upstream is that of the call.
    async fn answers(&self, asked: &Asked) -> Result<Vec<Answered>, RpcError> {
        let found = join_all(
            asked
                .ids
                .iter()
                .map(|(sent, id)| self.answer_for(asked, sent, id.as_ref())),
        )
        .await;
        let some = found.iter().any(Result::is_ok);
        let each = found.into_iter().map(|found| match found {
            Ok(answered) => Ok(answered),
            Err(error) if some => Ok(Err(format!("FAILED: {error}"))),
            Err(error) => Err(of_resolver(&error)),
        });
        each.collect()
    }

    async fn answer_for(
        &self,
        asked: &Asked,
        sent: &str,
        id: Option<&DatasetId>,
    ) -> Result<Answered, ResolveError> {
        let Some(id) = id else {
            return Ok(Err(format!("NOT FOUND bad ID format for '{sent}'")));
        };
        let dataset = DatasetName::Id(id.clone());
        match self
            .cache
            .resolver()
            .answer(&asked.context, &dataset)
            .wait()
            .await
        {
            Ok(answer) => Ok(Ok(answer)),
            Err(ResolveError::UnknownDataset { text, .. }) => Ok(Err(text)),
            Err(ResolveError::NotComputable { text, .. }) => Ok(Err(format!("FAILED: {text}"))),
            Err(error) => Err(error),
        }
    }
}

/// `get_best_references_by_ids`.
pub(super) async fn best_references(upstream: &Upstream, call: &Call) -> MethodResult {
    let asked = upstream.asked(call).await?;
    let types = known_types(&call.params, &asked.info, &BTreeSet::new())?;
    let is_wanted = |reftype: &str| {
        types
            .as_ref()
            .is_none_or(|types| types.iter().any(|one| one == reftype))
    };
    let answers = upstream.answers(&asked).await?;
    let (mut result, mut headers) = (Map::new(), Map::new());
    for ((sent, id), answered) in asked.ids.iter().zip(answers) {
        let name = id.as_ref().map_or(sent.as_str(), DatasetId::as_str);
        match answered {
            Ok(answer) => {
                let wanted = answer
                    .types
                    .iter()
                    .filter(|(reftype, _)| is_wanted(reftype.as_str()));
                let values: Map<_, _> = wanted
                    .map(|(reftype, value)| (reftype.as_str().to_owned(), value.to_json()))
                    .collect();
                result.insert(in_two_parts(name), json!([true, values]));
                let header = answer.header.as_ref().map(|header| json!(**header));
                headers.extend(header.map(|header| (in_two_parts(name), header)));
            }
            Err(why) => {
                result.insert(name.to_ascii_uppercase(), json!([false, why]));
            }
        }
    }
    if call.params.flag(3) {
        result.insert("headers".to_owned(), Value::Object(headers));
    }
    Ok(Value::Object(result))
}

/// `get_aui_best_references`: names without their types, nothing for failures.
pub(super) async fn all_best_references(upstream: &Upstream, call: &Call) -> MethodResult {
    let asked = upstream.asked(call).await?;
    let answers = upstream.answers(&asked).await?;
    let result: Map<_, _> = asked
        .ids
        .iter()
        .zip(answers)
        .map(|((sent, _), answered)| {
            let value = match answered {
                Ok(answer) => {
                    let names: BTreeSet<&FileName> = answer.files().collect();
                    json!([true, names.into_iter().map(FileName::as_str).collect::<Vec<_>>()])
                }
                Err(why) => json!([false, why]),
            };
            (sent.clone(), value)
        })
        .collect();
    Ok(Value::Object(result))
}

/// `get_dataset_headers_by_id`: what is remembered of each dataset, the others from upstream in as few calls as may be.
pub(super) async fn headers(upstream: &Upstream, call: &Call) -> MethodResult {
    let asked = upstream.asked(call).await?;
    let since = call.params.value(2);
    let key = |id: &DatasetId| format!("header {} {id} {since}", asked.context);
    let (mut result, mut missing) = (Map::new(), Vec::new());
    for (sent, id) in &asked.ids {
        match id {
            None => {
                result.insert(
                    sent.to_ascii_uppercase(),
                    json!(format!("NOT FOUND bad ID format for '{sent}'")),
                );
            }
            Some(id) => match upstream.replies.fresh(&key(id)) {
                Some(Value::Object(fresh)) => result.extend(fresh),
                _ => missing.push(id.clone()),
            },
        }
    }
    let mut failure = None;
    for group in DatasetId::apart(missing, |id| id) {
        let texts: Vec<&str> = group.iter().map(DatasetId::typed).collect();
        let params = json!([asked.context.as_str(), texts, since]);
        match pass_on(upstream, &call.method, params).await {
            Ok(Value::Object(told)) => {
                for (id, headers) in by_id(&group, &told) {
                    upstream.replies.keep(&key(id), &Value::Object(headers));
                }
                result.extend(told);
            }
            Ok(_) => return Err(RpcError::other("upstream's reply is no set of headers")),
            Err(error) if error.is_no_contact() => {
                for id in &group {
                    if let Some(old) = old_header(upstream, &asked.context, id, &key(id)) {
                        result.extend(old);
                    } else {
                        let why = format!("NOT FOUND {}", error.message());
                        result.insert(in_two_parts(id.as_str()), json!(why));
                        failure = Some(error.clone());
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    match failure {
        Some(error) if result.values().all(Value::is_string) => Err(error),
        _ => Ok(Value::Object(result)),
    }
}

/// The header of a dataset, as far as it is known while upstream cannot be asked.
fn old_header(
    upstream: &Upstream,
    context: &FileName,
    id: &DatasetId,
    key: &str,
) -> Option<Map<String, Value>> {
    if let Some(Value::Object(old)) = upstream.replies.known(key) {
        return Some(old);
    }
    let dataset = DatasetName::Id(id.clone());
    let header = upstream.cache.resolver().known_header(context, &dataset)?;
    Some(Map::from_iter([(in_two_parts(id.as_str()), json!(*header))]))
}

/// The headers in a reply by the dataset that was asked for: those under its id, or one of whose halves is its id, also with
/// its last `_` read as `.`. A text in place of a header is left out: it is asked for again.
fn by_id<'i>(ids: &'i [DatasetId], told: &Map<String, Value>) -> Vec<(&'i DatasetId, Map<String, Value>)> {
    let mut by_name: BTreeMap<String, Vec<(&String, &Value)>> = BTreeMap::new();
    for (key, value) in told.iter().filter(|(_, value)| value.is_object()) {
        let upper = key.to_ascii_uppercase();
        let names: BTreeSet<&str> = upper.split(':').chain([upper.as_str()]).collect();
        for name in names {
            by_name.entry(name.to_owned()).or_default().push((key, value));
        }
    }
    let found = |id: &DatasetId| {
        let dotted = id
            .as_str()
            .rsplit_once('_')
            .map(|(head, tail)| format!("{head}.{tail}"));
        let entries = by_name.get(id.as_str()).or_else(|| by_name.get(&dotted?))?;
        let copies = entries
            .iter()
            .map(|(key, value)| ((*key).clone(), (*value).clone()));
        Some(copies.collect::<Map<_, _>>())
    };
    ids.iter().filter_map(|id| Some((id, found(id)?))).collect()
}

/// The form of ids in the results of newer servers.
fn in_two_parts(id: &str) -> String {
    if id.contains(':') {
        id.to_owned()
    } else {
        format!("{id}:{id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(texts: &[&str]) -> Vec<DatasetId> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn headers_are_found_under_the_forms_of_ids() {
        let told = json!({
            "A:A": {"X": 1}, "P:E1": {"X": 2}, "P:E2": {"X": 3}, "F.NRS1": {"X": 4}, "GONE": "NOT FOUND it",
        });
        let ids = ids(&["A", "P", "E2", "F_NRS1", "GONE"]);
        let found: Vec<(String, Value)> = by_id(&ids, told.as_object().unwrap())
            .into_iter()
            .map(|(id, headers)| (id.to_string(), Value::Object(headers)))
            .collect();
        assert_eq!(
            found,
            [
                ("A".to_owned(), json!({"A:A": {"X": 1}})),
                ("P".to_owned(), json!({"P:E1": {"X": 2}, "P:E2": {"X": 3}})),
                ("E2".to_owned(), json!({"P:E2": {"X": 3}})),
                ("F_NRS1".to_owned(), json!({"F.NRS1": {"X": 4}})),
            ]
        );
    }
}
