//! Errors of lookups.

use crate::rules::syntax::error::{LoadError, LoadErrorKind};
use crate::rules::values::python::repr;

/// A lookup fails as a whole. `Display` gives the client's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The header does not name its instrument.
    #[error("Missing '{0}' keyword in header for determining instrument.")]
    NoInstrument(String),
    /// The context does not have the instrument: instrument, context.
    #[error("Unknown instrument {} for context {}", repr(.0), repr(.1))]
    UnknownInstrument(String, String),
    /// An rmap was asked for another type: context, its type, the types asked for as the client lists them.
    #[error("ReferenceMapping {} can only compute bestrefs for type {} not {}", repr(.0), repr(.1), .2)]
    UnknownReftype(String, String, String),
    /// The instrument's entry in the context is a special word, which the client takes for a mapping.
    #[error("'str' object has no attribute '{0}'")]
    NoMapping(&'static str),
    /// A mapping cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl LookupError {
    /// The name of the client's class of errors.
    pub fn class(&self) -> &'static str {
        match self {
            Self::NoInstrument(_) => "CrdsError",
            Self::UnknownInstrument(..) => "CrdsUnknownInstrumentError",
            Self::UnknownReftype(..) => "CrdsUnknownReftypeError",
            Self::NoMapping(_) => "AttributeError",
            Self::Load(error) => error.class(),
        }
    }

    /// Whether a mapping is not there (yet): fetch [`Context::missing`](crate::rules::Context::missing) and try again.
    pub fn is_absent_mapping(&self) -> bool {
        matches!(self, Self::Load(error) if error.kind() == LoadErrorKind::Absent)
    }
}
