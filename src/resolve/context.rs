//! From the name of a context to the mapping that it means.

use std::sync::Arc;

use super::error::ResolveError;
use super::own;
use super::rules::RulesError;
use super::{Question, Shared};
use crate::crds::{
    BuildVersion, ContextPart, ContextSpec, ContextVersion, FileKey, FileKind, FileName, Observatory,
    ServerInfo, SymbolicContext,
};
use crate::fetch::Outcome;
use crate::remote::RemoteErrorKind;

pub(super) fn unknown(context: &impl ToString, reason: &(impl ToString + ?Sized)) -> ResolveError {
    ResolveError::UnknownContext {
        context: context.to_string(),
        reason: reason.to_string(),
    }
}

/// The literal context that `spec` means: on the spot where the catalog in memory says it all.
pub(super) fn resolve(shared: &Arc<Shared>, spec: &ContextSpec) -> Outcome<FileName, ResolveError> {
    let observatory = match observatory(shared, spec) {
        Ok(observatory) => observatory,
        Err(error) => return Outcome::Ready(Err(error)),
    };
    if let Some(info) = shared.fetcher.catalogs().current(observatory)
        && let Ok(resolved) = spec.resolve(&info)
        && resolved.part.is_none()
        && info.catalog().contains(resolved.mapping.as_str())
    {
        shared.lock().contexts.insert(resolved.mapping.clone());
        return Outcome::Ready(Ok(resolved.mapping));
    }
    let (shared, spec) = (Arc::clone(shared), spec.clone());
    Outcome::Later(Box::pin(async move {
        let context = find(&shared, observatory, &spec).await?;
        shared.lock().contexts.insert(context.clone());
        Ok(context)
    }))
}

/// The observatory of a context: that which the text names, or the only one there is.
fn observatory(shared: &Shared, spec: &ContextSpec) -> Result<Observatory, ResolveError> {
    let served = shared.observatories();
    match (spec.observatory(), served) {
        (Some(named), served) if served.contains(&named) => Ok(named),
        (Some(named), _) => Err(unknown(spec, &format!("{named} is not served here"))),
        (None, [only]) if !matches!(spec, ContextSpec::Literal(_)) => Ok(*only),
        (None, _) => Err(unknown(spec, "it does not say of which observatory it is")),
    }
}

async fn find(
    shared: &Arc<Shared>,
    observatory: Observatory,
    spec: &ContextSpec,
) -> Result<FileName, ResolveError> {
    let (mapping, part) = if let Some((version, part)) = release(spec) {
        (build(shared, observatory, spec, version).await?, part)
    } else {
        let info = shared.fetcher.catalogs().load(observatory).wait().await?;
        let resolved = spec.resolve(&info).map_err(|error| unknown(spec, &error))?;
        (resolved.mapping, resolved.part)
    };
    let mapping = match part {
        None => mapping,
        Some(part) => descend(shared, observatory, spec, &mapping, &part).await?,
    };
    exists(shared, observatory, &mapping)
        .await
        .map_err(|error| match error {
            ResolveError::UnknownContext { reason, .. } if spec.to_string() != mapping.as_str() => {
                unknown(spec, &format!("it means {mapping}, and {reason}"))
            }
            error => error,
        })?;
    Ok(mapping)
}

/// The release of calibration software whose context is meant, and the part of that.
fn release(spec: &ContextSpec) -> Option<(BuildVersion, Option<ContextPart>)> {
    match spec {
        ContextSpec::Symbolic(SymbolicContext {
            version: ContextVersion::BuildOf(version),
            part,
            ..
        }) => Some((*version, part.clone())),
        _ => None,
    }
}

/// The context of a release: remembered, else told by the server; where that cannot be asked, what was remembered once.
async fn build(
    shared: &Arc<Shared>,
    observatory: Observatory,
    spec: &ContextSpec,
    version: BuildVersion,
) -> Result<FileName, ResolveError> {
    let now = shared.options.clock.now();
    let remembered = shared.lock().memory.build(observatory, version, now);
    if let Some((context, true)) = &remembered {
        return Ok(context.clone());
    }
    let Some(server) = shared.fetcher.catalogs().server(observatory) else {
        let offline = || {
            unknown(
                spec,
                "crds-fs is offline, and the server was not asked for it before",
            )
        };
        return remembered.map(|(context, _)| context).ok_or_else(offline);
    };
    match server.build_context(&version.to_string()).await {
        Ok(context) => {
            shared
                .lock()
                .memory
                .keep_build(observatory, version, context.clone(), now);
            shared.save_soon();
            Ok(context)
        }
        // The server's words are about the release.
        Err(error) if error.kind == RemoteErrorKind::Rpc => Err(unknown(spec, &error.message)),
        Err(error) => match remembered {
            Some((context, _)) => Ok(context),
            None => Err(error.into()),
        },
    }
}

/// The mapping that a qualified context (`jwst-miri-dark-2016-01-01`) means: by the rules, else by the server.
async fn descend(
    shared: &Shared,
    observatory: Observatory,
    spec: &ContextSpec,
    pmap: &FileName,
    part: &ContextPart,
) -> Result<FileName, ResolveError> {
    let rules = shared.rules(observatory)?;
    let by_rules = async {
        let imap = rules.child(pmap, &part.instrument).await?;
        match (imap, &part.reftype) {
            (Some(imap), Some(reftype)) => rules.child(&imap, reftype.as_str()).await,
            (imap, _) => Ok(imap),
        }
    };
    let error = match by_rules.await {
        Ok(Some(mapping)) => return Ok(mapping),
        Ok(None) => return Err(unknown(spec, &format!("{pmap} has no rules for it"))),
        Err(error) => error,
    };
    match (shared.fetcher.catalogs().server(observatory), error) {
        (Some(server), _) => server
            .context_by_date(&spec.to_string())
            .await?
            .ok_or_else(|| unknown(spec, "the type does not apply to the instrument")),
        (None, RulesError::Fetch(error)) => Err(error.into()),
        (None, RulesError::Text(text)) => Err(unknown(spec, &text)),
        (None, RulesError::Incomplete(absent)) => Err(unknown(spec, &absent.join(", "))),
        (None, RulesError::Panicked(rule)) => Err(ResolveError::Panicked {
            doing: format!("reading the rules in {rule}"),
        }),
    }
}

/// Makes sure that a mapping is there: in the catalog, in a newer catalog, or as the user's own file.
pub(super) async fn exists(
    shared: &Shared,
    observatory: Observatory,
    mapping: &FileName,
) -> Result<Arc<ServerInfo>, ResolveError> {
    if mapping.kind() == FileKind::Reference {
        return Err(unknown(
            mapping,
            "it is not the name of a rule (.pmap, .imap, .rmap)",
        ));
    }
    let catalogs = shared.fetcher.catalogs();
    let info = catalogs.load(observatory).wait().await?;
    if info.catalog().contains(mapping.as_str()) || is_local(shared, observatory, mapping) {
        return Ok(info);
    }
    let mut why = format!("the {observatory} catalog does not list it");
    if let Some(refreshed) = catalogs.missing(observatory, mapping.as_str()) {
        let answered = refreshed.await;
        if let Some(info) = catalogs.current(observatory)
            && info.catalog().contains(mapping.as_str())
        {
            return Ok(info);
        }
        if answered.is_none() {
            why += ", and its server does not say whether a newer one does";
        }
    }
    Err(unknown(mapping, &why))
}

/// Whether it is the user's own file.
pub(super) fn is_local(shared: &Shared, observatory: Observatory, mapping: &FileName) -> bool {
    let key = FileKey {
        observatory,
        name: mapping.clone(),
    };
    own::version(&shared.fetcher, &key).is_some()
}

impl Question {
    /// For messages.
    pub(super) fn not_computable(&self, text: impl Into<String>) -> ResolveError {
        ResolveError::NotComputable {
            dataset: self.dataset.display(),
            context: self.context.to_string(),
            text: text.into(),
        }
    }
}
