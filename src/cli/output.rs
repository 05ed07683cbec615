//! The output of commands: results to standard output, everything else to standard error.

use std::io::{self, Write};

use super::Failure;

/// A write to standard output failed.
#[derive(Debug, thiserror::Error)]
#[error("writing to standard output")]
pub(crate) struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether its reader has seen enough, as `head` has: nothing to complain about.
    pub(crate) fn reader_is_gone(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes one line to standard output.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), OutputError> {
    Ok(writeln!(io::stdout().lock(), "{}", text.as_ref())?)
}

/// Writes to standard output.
pub(crate) fn write(bytes: &[u8]) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Prints a remark beside the result to standard error.
pub(super) fn remark(text: &str) {
    // With standard error closed the text is lost.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Prints the failure of a command to standard error, unless it is that the reader of the output is gone.
pub(super) fn failure(failure: &Failure) {
    let output = failure.error().downcast_ref::<OutputError>();
    if output.is_some_and(OutputError::reader_is_gone) {
        return;
    }
    // With standard error closed the text is lost.
    let _ = writeln!(io::stderr().lock(), "crds-fs: {}", failure.told());
}

/// A number of files in words: `1 file`, `3 files`.
pub(crate) fn files(count: u64) -> String {
    if count == 1 {
        "1 file".to_owned()
    } else {
        format!("{count} files")
    }
}

/// The verb for a number of things: `is` or `are`.
pub(crate) fn verb(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// A size as people write it, in powers of 1024: `17 B`, `1.5 KiB`, `3.0 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of a unit in integers: exact, and no float cast to argue about.
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "";
    for name in UNITS {
        tenths = (tenths + 512) / 1024;
        unit = name;
        if tenths < 10_240 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::{files, size, verb};

    #[test]
    fn one_is_not_many() {
        assert_eq!((files(1).as_str(), verb(1)), ("1 file", "is"));
        assert_eq!((files(0).as_str(), verb(0)), ("0 files", "are"));
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (64 << 20, "64.0 MiB"),
            (1023 << 20, "1023.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
