//! The client's policy on files that are scientifically invalid (spec/crds-service 7).

use super::options::{BadFilePolicy, Permit};
use crate::crds::{FileName, ServerInfo};

/// What the policy says about opening `file`, an answer under `context`.
pub(super) fn permit(
    info: &ServerInfo,
    policy: BadFilePolicy,
    context: &FileName,
    file: &FileName,
) -> Permit {
    let bad = info.bad_files();
    let (text, allowed, variable) = if bad.contains(file) {
        let text = format!(
            "{file} is designated scientifically invalid by the {} server",
            info.observatory()
        );
        (text, policy.allow_references, "CRDS_ALLOW_BAD_REFERENCES")
    } else if bad.contains(context) {
        let text = format!(
            "the rules that chose {file}, {context}, are designated scientifically invalid by the {} server",
            info.observatory()
        );
        (text, policy.allow_rules, "CRDS_ALLOW_BAD_RULES")
    } else {
        return Permit::Fine;
    };
    if allowed {
        Permit::Warn(format!("{text}; used because {variable} is set"))
    } else {
        Permit::Refuse(format!("{text}; set {variable}=1 to use it all the same"))
    }
}
