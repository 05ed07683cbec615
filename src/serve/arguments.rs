//! The arguments that several methods have in common: reference types, and the number of datasets.

use std::collections::BTreeSet;

use super::envelope::{Params, RpcError};
use crate::crds::{FileKind, ServerInfo};

/// The types that the names of the rules tell of: `<obs>_<instrument>_<type>_<serial>.rmap`.
fn types(info: &ServerInfo) -> BTreeSet<String> {
    let rmaps = info
        .catalog()
        .mappings()
        .filter(|item| item.kind() == FileKind::Rmap);
    rmaps
        .filter_map(|item| item.name.split(['_', '.']).nth(2))
        .map(str::to_owned)
        .collect()
}

/// The types that parameters ask for, none for all. One that neither the rules nor `more` know fails the call.
pub(super) fn known_types(
    params: &Params,
    info: &ServerInfo,
    more: &BTreeSet<String>,
) -> Result<Option<Vec<String>>, RpcError> {
    let asked = params.optional_texts(2, "the reference types")?;
    let Some(asked) = asked.filter(|types| !types.is_empty()) else {
        return Ok(None);
    };
    let known = types(info);
    // Each once: every answer takes the longer the more there are.
    let mut seen = BTreeSet::new();
    let asked: Vec<_> = asked
        .into_iter()
        .map(str::to_ascii_lowercase)
        .filter(|reftype| seen.insert(reftype.clone()))
        .collect();
    let is_unknown = |reftype: &&String| !known.contains(*reftype) && !more.contains(*reftype);
    match asked.iter().find(is_unknown) {
        Some(unknown) => Err(RpcError::new(
            "UnknownReferenceTypeError",
            format_args!("Unknown reference type '{unknown}'"),
        )),
        None => Ok(Some(asked)),
    }
}

/// The refusal of a call for more datasets than are answered at a time.
pub(super) fn too_many(count: usize, limit: usize) -> RpcError {
    RpcError::other(format_args!("{count} datasets in one call; the limit is {limit}"))
}

#[cfg(test)]
mod tests {
    use super::super::envelope::Call;
    use super::*;
    use crate::crds::Observatory;

    #[test]
    fn types_are_asked_for_once_each() {
        let call = Call::parse(br#"{"method": "m", "params": [0, 0, ["DARK", "flat", "dark", "flat"]]}"#);
        let info = ServerInfo::empty(Observatory::Roman);
        let more = ["dark", "flat"].map(str::to_owned).into();
        let types = known_types(&call.unwrap().params, &info, &more).unwrap();
        assert_eq!(types, Some(vec!["dark".to_owned(), "flat".to_owned()]));
    }
}
