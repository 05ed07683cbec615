//! The kinds of selectors (spec/crds-rules 10, 12 and 13), as mappings name them.

/// The kinds of selectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bracket,
    ClosestTime,
    GeometricallyNearest,
    Match,
    SelectVersion,
    UseAfter,
    VersionAfter,
}

impl Kind {
    /// All of them, in the order in which the client lists them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Bracket,
        Self::ClosestTime,
        Self::GeometricallyNearest,
        Self::Match,
        Self::SelectVersion,
        Self::UseAfter,
        Self::VersionAfter,
    ];

    /// The kind with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name in mappings and messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bracket => "Bracket",
            Self::ClosestTime => "ClosestTime",
            Self::GeometricallyNearest => "GeometricallyNearest",
            Self::Match => "Match",
            Self::SelectVersion => "SelectVersion",
            Self::UseAfter => "UseAfter",
            Self::VersionAfter => "VersionAfter",
        }
    }

    /// The name of the client's class.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Bracket => "BracketSelector",
            Self::ClosestTime => "ClosestTimeSelector",
            Self::GeometricallyNearest => "GeometricallyNearestSelector",
            Self::Match => "MatchSelector",
            Self::SelectVersion => "SelectVersionSelector",
            Self::UseAfter => "UseAfterSelector",
            Self::VersionAfter => "VersionAfterSelector",
        }
    }
}
