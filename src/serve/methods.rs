//! The JSON-RPC methods (spec/crds-service 1.3).

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::arguments::{known_types, too_many};
use super::datasets::{Dataset, Datasets};
use super::description::MAX_PER_CALL;
use super::description_text::SERVER_INFO;
use super::envelope::{Call, MethodResult, Params, RpcError};
use super::file_info::{FILE_INFO_MAP, fields};
use super::services::Service;
use crate::crds::catalog::CatalogItem;
use crate::crds::{FileKind, FileName, ServerInfo};

/// A call with all that its answer may depend on.
struct MethodCall<'a> {
    service: &'a Service,
    info: &'a ServerInfo,
    datasets: &'a Datasets,
    base: &'a str,
    params: &'a Params,
}

type Method = fn(&MethodCall<'_>) -> MethodResult;

/// Every method whose answer is a value.
const METHODS: &[(&str, Method)] = &[
    ("get_file_info", file_info),
    ("get_mapping_names", mapping_names),
    ("get_reference_names", reference_names),
    ("list_mappings", list_mappings),
    ("list_references", list_references),
    ("get_default_context", default_context),
    ("get_build_context", build_context),
    ("get_context_by_date", context_by_date),
    ("get_context_history", context_history),
    ("get_dataset_ids", dataset_ids),
    ("get_dataset_headers_by_id", dataset_headers),
    ("get_required_parkeys", required_parkeys),
    ("get_best_references", best_references),
    ("get_best_references_by_header_map", best_references_by_header_map),
    ("get_best_references_by_ids", best_references_by_ids),
    ("get_url", url),
    ("get_mapping_url", url),
    ("get_reference_url", url),
];

/// The methods that only upstream answers.
const PASSED_ON: [&str; 5] = [
    "get_aui_best_references",
    "get_sqlite_db",
    "get_affected_datasets",
    "get_remote_context",
    "get_system_versions",
];

/// The name under which calls of a method are counted.
pub(super) fn known_name(method: &str) -> &'static str {
    let here = METHODS.iter().map(|(name, _)| *name);
    let known = here
        .chain(PASSED_ON)
        .chain([SERVER_INFO, FILE_INFO_MAP])
        .find(|name| *name == method);
    known.unwrap_or("(unknown)")
}

/// Answers a call from the catalog, the rules and the datasets that are here. Blocking: rules may have to be fetched.
pub(super) fn answer(service: &Service, info: &ServerInfo, base: &str, call: &Call) -> MethodResult {
    let Some((_, method)) = METHODS.iter().find(|(name, _)| *name == call.method) else {
        return Err(RpcError::new(
            "MethodNotFoundError",
            format_args!("this server has no method '{}'", call.method),
        ));
    };
    method(&MethodCall {
        service,
        info,
        datasets: &service.datasets(),
        base,
        params: &call.params,
    })
}

impl MethodCall<'_> {
    fn check_observatory(&self, index: usize) -> Result<(), RpcError> {
        self.params.check_observatory(index, self.service.observatory)
    }

    /// The mapping that a parameter means, which may be symbolic or a date.
    fn context(&self, index: usize) -> Result<FileName, RpcError> {
        self.service
            .resolve_context(self.info, self.params.text(index, "the context")?)
    }

    fn file(&self, name: &str) -> Option<CatalogItem<'_>> {
        let catalog = self.info.catalog();
        catalog.at(catalog.index_of(name)?)
    }
}

fn file_info(call: &MethodCall<'_>) -> MethodResult {
    let name = call.params.text(1, "the file name")?;
    let file = call.file(name).ok_or_else(|| unknown_file(name))?;
    Ok(Value::Object(fields(call.service.observatory, call.info, file)))
}

fn unknown_file(name: &str) -> RpcError {
    RpcError::new("UnknownFile", format_args!("file '{name}' is not known to CRDS"))
}

/// The URL of a file; the first parameter is a context, which does not matter.
fn url(call: &MethodCall<'_>) -> MethodResult {
    let name = call.params.text(1, "the file name")?;
    let file = call.file(name).ok_or_else(|| unknown_file(name))?;
    let (area, observatory) = (file.kind().area(), call.service.observatory);
    Ok(json!(format!(
        "{}/unchecked_get/{area}/{observatory}/{name}",
        call.base
    )))
}

fn mapping_names(call: &MethodCall<'_>) -> MethodResult {
    call.service.rules.mapping_names(&call.context(0)?)
}

fn reference_names(call: &MethodCall<'_>) -> MethodResult {
    call.service.rules.reference_names(&call.context(0)?)
}

fn list_mappings(call: &MethodCall<'_>) -> MethodResult {
    list(call, FileKind::is_mapping)
}

fn list_references(call: &MethodCall<'_>) -> MethodResult {
    list(call, |kind| !kind.is_mapping())
}

fn list(call: &MethodCall<'_>, of_kind: impl Fn(FileKind) -> bool) -> MethodResult {
    call.check_observatory(0)?;
    let pattern = glob(call.params.text(1, "the glob pattern")?)?;
    let names = call
        .info
        .catalog()
        .iter()
        .filter(|file| of_kind(file.kind()) && pattern.is_match(file.name));
    Ok(names.map(|file| file.name).collect())
}

/// A shell pattern as a regular expression; the servers allow few characters in one.
fn glob(text: &str) -> Result<Regex, RpcError> {
    let wrong = || RpcError::other(format_args!("invalid file pattern '{text}'"));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.*+()-[]?".contains(&byte);
    if !(1..=128).contains(&text.len()) || !text.bytes().all(allowed) {
        return Err(wrong());
    }
    let mut expression = String::from("^(?:");
    for character in text.chars() {
        match character {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '[' | ']' | '-' => expression.push(character),
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push_str(")$");
    Regex::new(&expression).map_err(|_| wrong())
}

fn default_context(call: &MethodCall<'_>) -> MethodResult {
    call.check_observatory(0)?;
    let info = call.info;
    let context = match call.params.optional_text(1, "the state")? {
        None | Some("latest" | "operational") => info.default_context(),
        Some("edit") => info.edit_context(),
        Some("versions") => info.versions_context(),
        Some("build") => info.build_context(),
        Some(other) => return Err(RpcError::other(format_args!("unknown context state '{other}'"))),
    };
    known(context)
}

fn build_context(call: &MethodCall<'_>) -> MethodResult {
    call.check_observatory(0)?;
    let version = call.params.text(1, "the version")?;
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(RpcError::other(format_args!(
            "invalid calibration software version '{version}'"
        )));
    }
    known(call.info.build_context())
}

/// A context, unless it is not known.
fn known(context: Option<&FileName>) -> MethodResult {
    let context = context.ok_or_else(|| RpcError::other("no such context is known"))?;
    Ok(json!(context.as_str()))
}

fn context_by_date(call: &MethodCall<'_>) -> MethodResult {
    call.check_observatory(1)?;
    call.context(0).map(|context| json!(context.as_str()))
}

fn context_history(call: &MethodCall<'_>) -> MethodResult {
    call.check_observatory(0)?;
    Ok(call.info.history_json())
}

fn dataset_ids(call: &MethodCall<'_>) -> MethodResult {
    call.context(0)?;
    let instrument = call.params.text(1, "the instrument")?.to_ascii_lowercase();
    let of_instrument = |dataset: &Dataset| dataset.instrument().is_none_or(|named| named == instrument);
    let ids = call
        .datasets
        .of(call.service.observatory)
        .filter(|(_, dataset)| of_instrument(dataset));
    Ok(ids
        .map(|(id, _)| {
            if id.contains(':') {
                id.to_owned()
            } else {
                format!("{id}:{id}")
            }
        })
        .collect())
}

/// The ids that a call asks for.
fn asked_ids<'a>(call: &'a MethodCall<'_>) -> Result<Vec<&'a str>, RpcError> {
    let ids = call.params.texts(1, "the dataset ids")?;
    if ids.len() > MAX_PER_CALL {
        return Err(too_many(ids.len(), MAX_PER_CALL));
    }
    Ok(ids)
}

fn dataset_headers(call: &MethodCall<'_>) -> MethodResult {
    let context = call.context(0)?;
    let mut headers = Map::new();
    for id in asked_ids(call)? {
        match call.datasets.find(call.service.observatory, id) {
            Ok((key, dataset)) => {
                let mut header = dataset.header.clone();
                header.insert("PARAMS_SOURCE".to_owned(), json!("crds-fs serve"));
                header.insert("PARAMS_CTX".to_owned(), json!(context.as_str()));
                headers.insert(key, Value::Object(header));
            }
            Err(refusal) => {
                headers.insert(id.to_ascii_uppercase(), json!(refusal));
            }
        }
    }
    Ok(Value::Object(headers))
}

fn required_parkeys(call: &MethodCall<'_>) -> MethodResult {
    call.service.rules.required_parkeys(&call.context(0)?)
}

fn best_references(call: &MethodCall<'_>) -> MethodResult {
    let (context, types) = (call.context(0)?, wanted_types(call)?);
    let header = call.params.fields(1, "the header")?;
    call.service
        .rules
        .best_references(&context, header, types.as_deref())
}

fn best_references_by_header_map(call: &MethodCall<'_>) -> MethodResult {
    let (context, types) = (call.context(0)?, wanted_types(call)?);
    let headers = call.params.fields(1, "the headers")?;
    if headers.len() > MAX_PER_CALL {
        return Err(too_many(headers.len(), MAX_PER_CALL));
    }
    let answer = |(id, header): (&String, &Value)| {
        let empty = Map::new();
        let header = header.as_object().unwrap_or(&empty);
        (id.clone(), computed(call, &context, header, types.as_deref()))
    };
    Ok(Value::Object(headers.iter().map(answer).collect()))
}

fn best_references_by_ids(call: &MethodCall<'_>) -> MethodResult {
    let context = call.context(0)?;
    let ids = asked_ids(call)?;
    let types = wanted_types(call)?;
    let (mut answers, mut headers) = (Map::new(), Map::new());
    for id in ids {
        match call.datasets.find(call.service.observatory, id) {
            Ok((key, dataset)) => {
                let answer = match dataset.bestrefs.get(context.as_str()) {
                    Some(recorded) => chosen(recorded, types.as_deref()),
                    None => computed(call, &context, &dataset.header, types.as_deref()),
                };
                answers.insert(key.clone(), answer);
                headers.insert(key, Value::Object(dataset.header.clone()));
            }
            Err(refusal) => {
                answers.insert(id.to_ascii_uppercase(), json!([false, refusal]));
            }
        }
    }
    if call.params.flag(3) {
        answers.insert("headers".to_owned(), Value::Object(headers));
    }
    Ok(Value::Object(answers))
}

/// The types that a call asks for, none for all.
fn wanted_types(call: &MethodCall<'_>) -> Result<Option<Vec<String>>, RpcError> {
    known_types(
        call.params,
        call.info,
        &call.datasets.types(call.service.observatory),
    )
}

/// The answers that the datasets file gives for the types asked for.
fn chosen(recorded: &BTreeMap<String, Value>, types: Option<&[String]>) -> Value {
    let wanted = recorded
        .iter()
        .filter(|(reftype, _)| types.is_none_or(|types| types.contains(reftype)));
    let answers: Map<_, _> = wanted
        .map(|(reftype, value)| (reftype.clone(), value.clone()))
        .collect();
    json!([true, answers])
}

/// The answers that the rules give for a header.
fn computed(
    call: &MethodCall<'_>,
    context: &FileName,
    header: &Map<String, Value>,
    types: Option<&[String]>,
) -> Value {
    match call.service.rules.best_references(context, header, types) {
        Ok(answers) => json!([true, answers]),
        Err(error) => json!([false, format!("FAILED: {}", error.message())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        let matches = |pattern: &str, name: &str| glob(pattern).unwrap().is_match(name);
        assert!(matches("*.pmap", "hst_0001.pmap"));
        assert!(!matches("*.pmap", "hst_0001.pmapx"));
        assert!(matches("hst_000[1-3].pmap", "hst_0002.pmap"));
        assert!(!matches("hst.pmap", "hstxpmap"));
        for pattern in ["", "a/b", "[", "a|b", &"x".repeat(129)] {
            assert!(glob(pattern).is_err(), "{pattern}");
        }
    }
}
