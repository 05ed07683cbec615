//! The steps of an evaluation, as explanations tell them.

use serde::Serialize;

/// A step of the evaluation of one rmap, in the order in which they happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// `rmap_omit` is true: the type is omitted.
    Omitted,
    /// `rmap_relevance` is false: the type does not apply.
    Irrelevant {
        /// The expression.
        expression: String,
        /// The parameters in it.
        parameters: Vec<Parameter>,
    },
    /// A parameter gets another value before the selectors see it.
    Changed {
        /// Its name.
        parameter: String,
        /// Its value in the header.
        from: String,
        /// Its new value.
        to: String,
        /// The expression of `parkey_relevance` that is false; nothing where a transform of the client's own has changed
        /// it.
        because: Option<String>,
    },
    /// A Match selector compares its keys with the parameters.
    Match(MatchStep),
    /// Keys of equal weight are tried, the heaviest first.
    Tried {
        /// The number of elements that match, rather than not caring.
        weight: usize,
        /// The keys.
        keys: Vec<Vec<String>>,
    },
    /// A selector of another kind takes an entry.
    Entry {
        /// The kind of the selector, such as `UseAfter`.
        selector: &'static str,
        /// Its parameters.
        parameters: Vec<Parameter>,
        /// The entry's key.
        key: String,
        /// The entry's value.
        value: String,
        /// The key of the entry behind it, which is too late or too high.
        next: Option<String>,
    },
    /// A selector of another kind has no entry that fits.
    NoEntry {
        /// The kind of the selector.
        selector: &'static str,
        /// Its parameters.
        parameters: Vec<Parameter>,
        /// The key of its first entry, which is the earliest or lowest.
        first: Option<String>,
        /// The failure, in the client's words.
        text: String,
    },
    /// The selectors have nothing.
    Failed {
        /// The failure, in the client's words.
        text: String,
    },
    /// The client looks once more, with a header that its own transform has changed.
    SecondHeader,
    /// The rmap does not require a reference, or the data is not calibrated any more: a failure means not applicable.
    NotRequired,
}

/// A parameter with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value as the rules see it.
    pub value: String,
}

/// A Match selector at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatchStep {
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// The number of its keys.
    pub keys: usize,
    /// The reason for which a value is refused before any key is looked at, in the client's words.
    pub refused: Option<String>,
    /// The keys that match, the heaviest first.
    pub matching: Vec<MatchingKey>,
    /// The number of keys that match, if not all of them are told.
    pub count: usize,
    /// If none matches, keys that differ in the fewest parameters.
    pub nearest: Vec<NearKey>,
    /// The number of keys that differ in as few, if not all of them are told.
    pub as_near: usize,
}

/// A key that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatchingKey {
    /// The number of elements that match, rather than not caring.
    pub weight: usize,
    /// Its elements.
    pub key: Vec<String>,
    /// Of each element whether it matches, rather than not caring.
    pub matched: Vec<bool>,
    /// Its value.
    pub value: String,
}

/// A key that does not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearKey {
    /// Its elements.
    pub key: Vec<String>,
    /// The values that do not match.
    pub differing: Vec<Mismatch>,
    /// Its value.
    pub value: String,
}

/// A value that does not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The parameter.
    pub parameter: String,
    /// Its value.
    pub value: String,
    /// The element that would have to match it.
    pub pattern: String,
}

/// The notes of a thread's evaluations.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Of the rmap that is evaluated now.
    pub(crate) steps: Vec<Step>,
    /// Of each rmap: its reference type, its name, its steps.
    pub(crate) rmaps: Vec<(String, String, Vec<Step>)>,
}
