//! Errors of questions about best references.

use crate::crds::NameError;
use crate::fetch::{self, FetchError};
use crate::remote::RemoteError;

impl ResolveError {
    /// The kind in a word, for status and metrics.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::UnknownContext { .. } => "unknown-context",
            Self::UnknownDataset { .. } => "unknown-dataset",
            Self::BadDatasetName(_) => "bad-dataset-name",
            Self::NotComputable { .. } => "not-computable",
            Self::Incomplete { .. } => "incomplete-header",
            Self::Fetch(error) => error.kind.as_str(),
            Self::Remote(_) => "server",
            Self::Offline { .. } => "offline",
            Self::Panicked { .. } => "panicked",
            Self::ShuttingDown => "shutting-down",
        }
    }

    /// The remedy, if one is known.
    pub(crate) fn advice(&self) -> Option<String> {
        let text = match self {
            Self::UnknownContext { .. } => "'crds-fs contexts' lists the contexts that there are",
            Self::UnknownDataset { .. } => {
                "check the id with the archive, or name the matching parameters instead (KEY=VALUE,KEY=VALUE...)"
            }
            Self::BadDatasetName(_) => "name an archive id, or matching parameters (KEY=VALUE,KEY=VALUE...)",
            Self::Fetch(error) => return error.advice(),
            Self::Remote(error) => return fetch::of_request(error).map(str::to_owned),
            Self::Offline { .. } => "ask for them once while there is a network, or mount without --offline",
            Self::NotComputable { .. }
            | Self::Incomplete { .. }
            | Self::Panicked { .. }
            | Self::ShuttingDown => return None,
        };
        Some(text.to_owned())
    }
}

/// The reason for which a question about best references has no answer. Clonable: many callers wait for one request.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ResolveError {
    /// There is no such context.
    #[error("there is no context '{context}': {reason}")]
    UnknownContext {
        /// As it was asked for.
        context: String,
        /// The reason.
        reason: String,
    },
    /// The archive has no such dataset.
    #[error("there is no dataset '{dataset}': {text}")]
    UnknownDataset {
        /// As it was asked for.
        dataset: String,
        /// The server's words.
        text: String,
    },
    /// The name can be neither an archive id nor matching parameters.
    #[error(transparent)]
    BadDatasetName(#[from] NameError),
    /// The rules have no answer as a whole: an unknown instrument, parameters that are not known here, broken rules.
    #[error("no best references for '{dataset}' under {context}: {text}")]
    NotComputable {
        /// The dataset.
        dataset: String,
        /// The context.
        context: String,
        /// The reason; the client's own words where it has some.
        text: String,
    },
    /// The archive does not tell parameters that the user's own rules ask for.
    #[error(
        "no best references for '{dataset}' under {context}: what is known of the dataset lacks {}; name the parameters \
         instead of the dataset (KEY=VALUE,KEY=VALUE...)",
        .missing.join(", ")
    )]
    Incomplete {
        /// The dataset.
        dataset: String,
        /// The context.
        context: String,
        /// The parameters.
        missing: Vec<String>,
    },
    /// A catalog or a rule could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The server could not be asked, or did not answer.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Offline by choice, and the answer is not known here.
    #[error("the best references of '{dataset}' under {context} are not known here, and crds-fs is offline")]
    Offline {
        /// The dataset.
        dataset: String,
        /// The context.
        context: String,
    },
    /// A mistake in this program: the work ended by a panic. The log has the details.
    #[error("{doing} failed by a panic, a bug in crds-fs (see the log)")]
    Panicked {
        /// The attempt that ended.
        doing: String,
    },
    /// The program is ending.
    #[error("crds-fs is shutting down")]
    ShuttingDown,
}
