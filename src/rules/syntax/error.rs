//! Errors of mappings that cannot be used.

/// The kind of a failure, by the name of the client's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadErrorKind {
    /// The mapping is not there (yet): not a verdict on the mapping itself.
    Absent,
    /// It cannot be read or compiled.
    Mapping,
    /// An expression in its header uses what rules may not use.
    MappingFormat,
    /// An expression in its header is not Python.
    Syntax,
    /// A required field of its header is missing.
    MissingHeaderKey,
    /// Its checksum is missing or wrong.
    Checksum,
    /// Its instrument has no support in the client.
    Instrument,
}

/// A mapping cannot be used; the text is the client's wherever that has one of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct LoadError {
    kind: LoadErrorKind,
    text: String,
}

impl LoadError {
    /// An error of a kind with its text.
    pub fn new(kind: LoadErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// The error that a mapping is not there.
    pub fn absent(name: &str) -> Self {
        Self::new(
            LoadErrorKind::Absent,
            format!("the mapping '{name}' is not there"),
        )
    }

    /// The kind of the failure.
    pub fn kind(&self) -> LoadErrorKind {
        self.kind
    }

    /// The name of the client's class of errors.
    pub fn class(&self) -> &'static str {
        match self.kind {
            LoadErrorKind::Absent => "IOError",
            LoadErrorKind::Mapping => "MappingError",
            LoadErrorKind::MappingFormat => "MappingFormatError",
            LoadErrorKind::Syntax => "SyntaxError",
            LoadErrorKind::MissingHeaderKey => "MissingHeaderKeyError",
            LoadErrorKind::Checksum => "ChecksumError",
            LoadErrorKind::Instrument => "CrdsUnknownInstrumentError",
        }
    }
}
