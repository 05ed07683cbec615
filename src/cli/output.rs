//! The output of commands: results to standard output, everything else to standard error. What would command a terminal
//! does not reach one: texts come from servers, rules and files of others.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};

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
    write(format!("{}\n", text.as_ref()).as_bytes())
}

/// Writes to standard output.
pub(crate) fn write(bytes: &[u8]) -> Result<(), OutputError> {
    let mut out = results();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Standard output, for results that are written piece by piece, each of whole characters.
pub(super) fn results() -> impl Write {
    let is_terminal = io::stdout().is_terminal();
    Plain {
        to: io::stdout().lock(),
        is_terminal,
    }
}

/// Prints a remark beside the result to standard error.
pub(super) fn remark(text: &str) {
    let is_terminal = io::stderr().is_terminal();
    let to = io::stderr().lock();
    // With standard error closed the text is lost.
    let _ = Plain { to, is_terminal }.write_all(text.as_bytes());
}

/// Prints the failure of a command to standard error, unless it is that the reader of the output is gone.
pub(super) fn failure(failure: &Failure) {
    let output = failure.error().downcast_ref::<OutputError>();
    if output.is_some_and(OutputError::reader_is_gone) {
        return;
    }
    remark(&format!("crds-fs: {}\n", failure.told()));
}

/// A stream that passes on as text what a terminal would take for a command.
struct Plain<W> {
    to: W,
    is_terminal: bool,
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return self.to.write(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        self.to.write_all(plain(&text, Colours::Stay).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether sequences that only choose a colour stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Stay,
    Go,
}

/// A text with escapes (`\u{1b}`) in place of the characters that command a terminal, or change the order of others.
pub(super) fn plain(text: &str, colours: Colours) -> Cow<'_, str> {
    if !text.chars().any(commands) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let colour = colour(rest).filter(|_| colours == Colours::Stay);
        let (taken, left) = rest.split_at(colour.unwrap_or(letter.len_utf8()));
        if colour.is_none() && commands(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push_str(taken);
        }
        rest = left;
    }
    Cow::Owned(out)
}

fn commands(letter: char) -> bool {
    let turns = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || letter.is_control() && !matches!(letter, '\n' | '\t')
}

/// The length of the sequence at the start of a text that chooses a colour, if there is one.
fn colour(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
    let (codes, behind) = rest.split_at(end);
    // 8 makes what follows invisible.
    let shows = codes.split(';').all(|code| code != "8");
    (shows && behind.starts_with('m')).then_some(codes.len() + 3)
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
    use super::*;

    #[test]
    fn nothing_commands_the_terminal() {
        for (text, shown) in [
            ("as it is: é\t🔭\n", "as it is: é\t🔭\n"),
            ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            ("\x1b[8mhidden", r"\u{1b}[8mhidden"),
            ("\x1b]0;title\x07", r"\u{1b}]0;title\u{7}"),
            ("\x1b[2J\x1b[31", r"\u{1b}[2J\u{1b}[31"),
            ("a\rb\u{9b}m\x7f\u{202e}", r"a\rb\u{9b}m\u{7f}\u{202e}"),
        ] {
            assert_eq!(plain(text, Colours::Stay), shown);
        }
        assert_eq!(plain("\x1b[1mbold", Colours::Go), r"\u{1b}[1mbold");
        for (is_terminal, written) in [(true, r"\u{7}"), (false, "\x07")] {
            let mut out = Vec::new();
            let to = &mut out;
            Plain { to, is_terminal }.write_all(b"\x07").unwrap();
            assert_eq!(out, written.as_bytes());
        }
    }

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
