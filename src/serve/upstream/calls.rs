//! The methods of which upstream knows more than its catalog tells: asked there, and remembered where that holds.

use super::pass_on::pass_on;
use super::{Upstream, datasets};
use crate::serve::envelope::{Call, MethodResult, RpcError};

/// The way to the answer of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the catalog and the rules.
    Here,
    /// The best references of datasets, by the resolver.
    Bestrefs,
    /// As [`Way::Bestrefs`], without types.
    AllBestrefs,
    /// The headers of datasets, remembered one by one.
    Headers,
    /// Upstream's answer, which is remembered.
    Remembered,
    /// As [`Way::Remembered`]; where upstream cannot be asked, what the catalog tells.
    OrHere,
    /// Upstream's answer, each time anew.
    Passed,
}

/// The methods of the client's library, but for those that change something on the server.
const WAYS: &[(&str, Way)] = &[
    ("get_server_info", Way::Here),
    ("get_file_info_map", Way::OrHere),
    ("get_file_info", Way::OrHere),
    ("get_mapping_names", Way::Here),
    ("get_reference_names", Way::Here),
    ("list_mappings", Way::Here),
    ("list_references", Way::Here),
    ("get_default_context", Way::Here),
    ("get_build_context", Way::Remembered),
    ("get_context_by_date", Way::Here),
    ("get_context_history", Way::Here),
    ("get_dataset_ids", Way::Remembered),
    ("get_dataset_headers_by_id", Way::Headers),
    ("get_required_parkeys", Way::Here),
    ("get_best_references", Way::Here),
    ("get_best_references_by_header_map", Way::Here),
    ("get_best_references_by_ids", Way::Bestrefs),
    ("get_aui_best_references", Way::AllBestrefs),
    ("get_url", Way::Here),
    ("get_mapping_url", Way::Here),
    ("get_reference_url", Way::Here),
    ("get_sqlite_db", Way::Passed),
    ("get_affected_datasets", Way::Remembered),
    ("get_remote_context", Way::Passed),
    ("get_system_versions", Way::Remembered),
];

/// The methods that are known and never passed on, with the reason.
const REFUSED: &[&str] = &["push_remote_context", "jpoll_pull_messages", "jpoll_abort"];

/// The fields of files that the catalog has.
const CATALOGUED: [&str; 4] = ["name", "observatory", "size", "sha1sum"];

/// Answers a call that needs more than the catalog and the rules.
pub(super) async fn answer(upstream: &Upstream, call: &Call) -> Option<MethodResult> {
    let way = WAYS.iter().find(|(name, _)| *name == call.method);
    let Some((_, way)) = way else {
        return Some(Err(refusal(&call.method)));
    };
    match way {
        Way::Here => None,
        Way::OrHere if is_catalogued(call) => None,
        Way::Bestrefs => Some(datasets::best_references(upstream, call).await),
        Way::AllBestrefs => Some(datasets::all_best_references(upstream, call).await),
        Way::Headers => Some(datasets::headers(upstream, call).await),
        Way::Remembered => Some(remembered(upstream, call).await),
        Way::OrHere => match remembered(upstream, call).await {
            Err(error) if error.is_no_contact() => None,
            answered => Some(answered),
        },
        Way::Passed => Some(pass_on(upstream, &call.method, call.params.to_json()).await),
    }
}

fn refusal(method: &str) -> RpcError {
    if REFUSED.contains(&method) {
        return RpcError::new(
            "MethodNotAllowedError",
            format_args!(
                "'{method}' changes something on the CRDS server, and is not passed on by this site server: \
                 set CRDS_SERVER_URL to the CRDS server itself for it"
            ),
        );
    }
    RpcError::new(
        "MethodNotFoundError",
        format_args!(
            "this site server has no method '{method}', and passes on only those of the CRDS client's library"
        ),
    )
}

/// Whether a call for descriptions of files asks for no more than the catalog tells.
fn is_catalogued(call: &Call) -> bool {
    let fields = call.params.optional_texts(2, "fields");
    let all_known = |fields: Vec<&str>| fields.iter().all(|field| CATALOGUED.contains(field));
    call.method == "get_file_info_map" && fields.is_ok_and(|fields| fields.is_some_and(all_known))
}

/// Upstream's answer to a call, remembered for a while, and for longer where it cannot be asked.
async fn remembered(upstream: &Upstream, call: &Call) -> MethodResult {
    let (method, params) = (call.method.as_str(), call.params.to_json());
    let key = format!("{method} {params}");
    upstream
        .replies
        .get(&key, || pass_on(upstream, method, params.clone()))
        .await
}
