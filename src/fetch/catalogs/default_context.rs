//! The default context that the user wants in place of the server's.

use std::sync::Arc;

use super::state::Inner;
use crate::crds::{FileKey, ServerInfo};
use crate::fetch::own_rules::own_version;

impl Inner {
    /// The description with the default context that the user wants. The one in the store stays the server's.
    pub(super) fn with_context(&self, info: &Arc<ServerInfo>) -> Arc<ServerInfo> {
        let observatory = info.observatory();
        let Some(spec) = &self.settings.context else {
            return Arc::clone(info);
        };
        if spec.observatory().is_some_and(|named| named != observatory) {
            return Arc::clone(info);
        }
        let described = ServerInfo::clone(info);
        Arc::new(match spec.resolve(info) {
            // Whether it is there is asked when it is used: it may be the user's own file, or come with another catalog.
            Ok(wanted) if wanted.part.is_none() => described.with_default_context(&wanted.mapping),
            Ok(_) => {
                let reason =
                    format!("the default context (--context {spec}) is one of an instrument, not of all");
                described.without_default_context(&spec.to_string(), &reason)
            }
            Err(error) => {
                let reason = format!("the default context (--context {spec}): {error}");
                described.without_default_context(&spec.to_string(), &reason)
            }
        })
    }

    /// The problem with the default context that the user wants; `None` if there is none.
    pub(super) fn context_problem(&self, info: &ServerInfo) -> Option<String> {
        if let Some(reason) = info.no_default_context() {
            return Some(reason.to_owned());
        }
        let (wanted, observatory) = (self.settings.context.as_ref()?, info.observatory());
        let context = info.default_context()?;
        let is_other = wanted.observatory().is_some_and(|named| named != observatory);
        if is_other || info.catalog().contains(context.as_str()) {
            return None;
        }
        let key = FileKey {
            observatory,
            name: context.clone(),
        };
        own_version(&*self.store, Some(info.catalog()), &key).is_none().then(|| {
            format!(
                "the default context {context} (--context) is neither in the {observatory} catalog nor a file of yours"
            )
        })
    }
}
