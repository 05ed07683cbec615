//! The material beside the checkout, on machines that have it.

use std::io::Write;
use std::path::{Path, PathBuf};

/// `../shared`, if there are vectors in it. Otherwise it is said, on standard error itself, which the test runner does not
/// swallow, and there is nothing to compare with.
pub(crate) fn directory() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    if path.join("vectors").is_dir() {
        return Some(path);
    }
    let text = "the shared vectors are not there: nothing was compared";
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    None
}
