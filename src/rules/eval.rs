//! Evaluation of one rmap for one header: selectors (`Match`, `UseAfter`, ...), expressions, special cases.

pub(crate) mod expression;
pub(crate) mod hooks;
pub(crate) mod matching;
pub(crate) mod merge;
pub(crate) mod rmap;
pub(crate) mod selector;
pub(crate) mod step;
pub(crate) mod trace;
