//! A terminal that is drawn on in place, and given back as it was.

use std::io::{self, Read as _, Write as _};

use console::Term;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::sync::mpsc;

use crate::cli::output::{Colours, plain};

/// The alternate screen, without a cursor, and without wrapping of lines that are too long.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Between these, terminals that can do so show nothing that is half drawn; others ignore them.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// The terminal of standard output. It is as before when this is dropped.
pub(super) struct Screen {
    /// The settings of the keyboard before; none where standard input is no terminal.
    before: Option<Termios>,
}

impl Screen {
    pub(super) fn enter() -> Self {
        let before = termios::tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut settings = before.clone();
            // Keys come one by one and are not shown; those that send signals still do.
            settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            // Then they only come line by line.
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &settings);
        }
        write(ENTER);
        Self { before }
    }

    /// Draws a text over the one before. What does not fit on the screen is left out.
    #[expect(
        clippy::unused_self,
        reason = "there is no drawing before the screen is entered"
    )]
    pub(super) fn draw(&self, text: &str) -> io::Result<()> {
        let rows = Term::stdout().size_checked().map(|(rows, _)| usize::from(rows));
        let text = plain(text, Colours::Stay);
        let frame = frame(&text, rows.filter(|rows| *rows > 0).unwrap_or(24));
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The terminal may be gone.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A text as one write that replaces whatever is on a screen of so many rows.
fn frame(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1);
    let hidden = lines.len().saturating_sub(room);
    let hidden = if hidden > 0 { hidden + 1 } else { 0 };
    let mut frame = format!("{BEGIN}{HOME}");
    for line in lines.iter().take(lines.len() - hidden) {
        frame.push_str(line);
        frame.push_str(REST_OF_LINE);
        frame.push_str("\r\n");
    }
    if hidden > 0 {
        frame.push_str("  (");
        frame.push_str(&hidden.to_string());
        frame.push_str(" more lines)");
        frame.push_str(REST_OF_LINE);
        frame.push_str("\r\n");
    }
    frame.push_str(REST_OF_SCREEN);
    frame.push_str(END);
    frame
}

/// The keys that are pressed, read by a thread of their own, which ends with the process.
pub(super) fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut key = [0];
        while matches!(io::stdin().lock().read(&mut key), Ok(1)) {
            if sender.send(key[0]).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_what_is_there_and_fits() {
        let text = "one\ntwo\nthree\n";
        assert_eq!(
            frame(text, 24),
            "\x1b[?2026h\x1b[Hone\x1b[K\r\ntwo\x1b[K\r\nthree\x1b[K\r\n\x1b[J\x1b[?2026l"
        );
        let cut = frame(text, 3);
        assert!(
            cut.contains("one") && !cut.contains("two") && cut.contains("(2 more lines)"),
            "{cut}"
        );
        assert!(frame("", 0).ends_with("\x1b[J\x1b[?2026l"));
    }
}
