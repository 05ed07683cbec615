//! From a context and a dataset to the best references: asked of the server or computed here, and remembered.

mod answer;
mod bad_files;
mod options;

pub use answer::{Answer, ComputedBy, Header, TypeAnswer};
pub use bad_files::permit;
pub use options::{BadFilePolicy, Clock, Mode, Permit, ResolveOptions, UnknownMode};
