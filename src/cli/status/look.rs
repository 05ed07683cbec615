//! The look of a report: that of a terminal of some width, or plain text that does not depend on where and when it is made.

use std::time::SystemTime;

use console::{Alignment, Style, Term};
use jiff::Timestamp;

use crate::crds::times;

/// The width of a terminal that does not tell it.
const USUAL: usize = 80;
/// Narrower than this, lines are left to the terminal.
const NARROWEST: usize = 40;
/// The width of the column of labels, with two blanks before and behind the longest.
const LABELS: usize = 14;
/// The same for labels at the left margin.
const FIELDS: usize = 12;

/// The properties of the place that a report is printed to.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// The columns of the terminal; none where it is no terminal: then nothing is cut, and times are absolute.
    pub(super) width: Option<usize>,
    /// Whether there is colour.
    pub(super) colour: bool,
    /// Whether there are block characters.
    pub(super) unicode: bool,
    /// The present.
    pub(super) now: Timestamp,
}

/// The meaning that a text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Title,
    Faint,
    Good,
    Doubtful,
    Bad,
}

/// A cell of a table: its text and its tone.
pub(super) type Cell = (String, Tone);

impl Look {
    /// That of standard output.
    pub(super) fn of_output() -> Self {
        let term = Term::stdout();
        let width = term.is_term().then(|| match term.size_checked() {
            Some((_, columns)) if columns > 0 => usize::from(columns).max(NARROWEST),
            _ => USUAL,
        });
        Self {
            width,
            colour: width.is_some() && console::colors_enabled(),
            unicode: width.is_some() && speaks_utf8(),
            now: SystemTime::now().try_into().unwrap_or(Timestamp::MAX),
        }
    }

    /// Whether it is a terminal, on which there is only so much room.
    pub(super) fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// The text in its tone.
    pub(super) fn paint(&self, text: &str, tone: Tone) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Title => Style::new().bold(),
            Tone::Faint => Style::new().dim(),
            Tone::Good => Style::new().green(),
            Tone::Doubtful => Style::new().yellow(),
            Tone::Bad => Style::new().red(),
        };
        style.force_styling(self.colour).apply_to(text).to_string()
    }

    /// Lines of text behind `indent` columns, wrapped at the width.
    pub(super) fn wrap(&self, text: &str, indent: usize, tone: Tone) -> String {
        let room = self
            .width
            .map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
        let options = textwrap::Options::new(room)
            .break_words(false)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        let margin = " ".repeat(indent);
        let lines = textwrap::wrap(text, options);
        let mut wrapped = String::new();
        for line in lines {
            wrapped.push_str(&margin);
            wrapped.push_str(&self.paint(&line, tone));
            wrapped.push('\n');
        }
        wrapped
    }

    /// A line behind two blanks, cut at the width.
    pub(super) fn line(&self, text: &str, tone: Tone) -> String {
        self.table(&[vec![(text.to_owned(), tone)]], &[]).concat()
    }

    /// A label behind two blanks, and text beside it.
    pub(super) fn item(&self, label: &str, text: &str, tone: Tone) -> String {
        self.beside(&pad(&format!("  {label}"), LABELS), text, tone)
    }

    /// A label at the left margin, and text beside it.
    pub(super) fn field(&self, label: &str, text: &str, tone: Tone) -> String {
        self.beside(&pad(label, FIELDS), text, tone)
    }

    fn beside(&self, label: &str, text: &str, tone: Tone) -> String {
        let indent = measure(label);
        let lines = self.wrap(text, indent, tone);
        format!(
            "{}{}",
            self.paint(label, Tone::Faint),
            lines.get(indent..).unwrap_or_default()
        )
    }

    /// Rows with aligned columns, two blanks apart and behind two more; `right` tells which are aligned to the right. The
    /// last column is cut at the width.
    pub(super) fn table(&self, rows: &[Vec<Cell>], right: &[bool]) -> Vec<String> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = rows.iter().filter_map(|row| row.get(column));
                cells.map(|(text, _)| measure(text)).max().unwrap_or_default()
            })
            .collect();
        rows.iter().map(|row| self.row(row, &widths, right)).collect()
    }

    fn row(&self, row: &[Cell], widths: &[usize], right: &[bool]) -> String {
        let mut line = String::new();
        let mut used = 0;
        for (column, ((text, tone), width)) in row.iter().zip(widths).enumerate() {
            let is_last = column + 1 == row.len();
            let is_right = right.get(column).copied().unwrap_or_default();
            let mut cell = match (is_right, is_last) {
                (true, _) => console::pad_str(text, *width, Alignment::Right, None).into_owned(),
                (false, true) => text.clone(),
                (false, false) => pad(text, *width),
            };
            used += 2;
            if let (Some(most), true) = (self.width, is_last) {
                cell = console::truncate_str(&cell, most.saturating_sub(used), self.dots()).into_owned();
            }
            used += measure(&cell);
            line.push_str("  ");
            line.push_str(&self.paint(&cell, *tone));
        }
        line + "\n"
    }

    fn dots(&self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// A bar that shows `part` of `whole`, and the percentage.
    pub(super) fn bar(&self, part: u64, whole: u64, tone: Tone) -> String {
        let width = self.width.map_or(20, |width| (width / 4).clamp(10, 40));
        let share = |of: usize| {
            let of = u128::try_from(of).unwrap_or_default();
            let share = u128::from(part.min(whole)) * of / u128::from(whole.max(1));
            usize::try_from(share).unwrap_or_default()
        };
        let (full, empty) = if self.unicode { ("█", "░") } else { ("#", "-") };
        let filled = share(width);
        let done = self.paint(&full.repeat(filled), tone);
        let left = self.paint(&empty.repeat(width - filled), Tone::Faint);
        format!("{done}{left} {:>3}%", share(100))
    }

    /// The time since a moment: on a terminal the span (`for 2h 14m`), else the moment (`since 2026-...`).
    pub(super) fn since(&self, when: &str) -> String {
        match self.span(when) {
            Some(span) => format!("for {span}"),
            None => format!("since {when}"),
        }
    }

    /// A moment in the past: on a terminal `3m 2s ago`, else `at 2026-...`.
    pub(super) fn ago(&self, when: &str) -> String {
        match self.span(when) {
            Some(span) => format!("{span} ago"),
            None => format!("at {when}"),
        }
    }

    fn span(&self, when: &str) -> Option<String> {
        let when = times::parse_rfc3339(when).filter(|_| self.is_terminal())?;
        Some(times::coarse(times::seconds_between(when, self.now)))
    }
}

/// The columns that a text takes.
pub(super) fn measure(text: &str) -> usize {
    console::measure_text_width(text)
}

fn pad(text: &str, width: usize) -> String {
    console::pad_str(text, width, Alignment::Left, None).into_owned()
}

/// Whether the locale's characters are UTF-8, by the first of its variables that is set.
fn speaks_utf8() -> bool {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"];
    let set = variables
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    set.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A terminal without colour.
    pub(crate) fn terminal(width: usize) -> Look {
        Look {
            width: Some(width),
            colour: false,
            unicode: true,
            now: times::parse_rfc3339("2026-01-01T12:00:00Z").unwrap(),
        }
    }

    /// A file or a pipe.
    pub(crate) fn file() -> Look {
        Look {
            width: None,
            unicode: false,
            ..terminal(0)
        }
    }

    #[test]
    fn texts_are_wrapped_beside_their_label_and_not_in_a_file() {
        let text = "some words that go on and on";
        assert_eq!(
            terminal(43).item("label", &format!("{text} and on"), Tone::Plain),
            "  label       some words that go on and on\n              and on\n"
        );
        let long = format!("{text} {text} {text}");
        assert_eq!(
            file().item("label", &long, Tone::Bad),
            format!("  label       {long}\n")
        );
        let coloured = Look {
            colour: true,
            ..terminal(80)
        };
        let item = coloured.item("label", text, Tone::Bad);
        assert!(
            item.contains("\x1b[31m") && console::strip_ansi_codes(&item).starts_with("  label       some")
        );
    }

    #[test]
    fn columns_are_aligned_and_the_last_one_is_cut() {
        let cell = |text: &str| (text.to_owned(), Tone::Plain);
        let rows = [
            vec![cell("a"), cell("1"), cell("short")],
            vec![
                cell("longer"),
                cell("1000"),
                cell("a text that is too long for the terminal"),
            ],
        ];
        assert_eq!(
            terminal(40).table(&rows, &[false, true]),
            [
                "  a          1  short\n",
                "  longer  1000  a text that is too long…\n"
            ]
        );
        assert!(
            file()
                .table(&rows, &[false, true])
                .concat()
                .contains("for the terminal\n")
        );
    }

    #[test]
    fn bars_and_times() {
        assert_eq!(terminal(40).bar(1, 2, Tone::Good), "█████░░░░░  50%");
        assert_eq!(file().bar(3, 2, Tone::Good), "#################### 100%");
        assert_eq!(terminal(40).bar(0, 0, Tone::Good), "░░░░░░░░░░   0%");
        let when = "2026-01-01T11:57:55Z";
        assert_eq!(terminal(80).since(when), "for 2m 5s");
        assert_eq!(terminal(80).ago(when), "2m 5s ago");
        assert_eq!(file().since(when), format!("since {when}"));
        assert_eq!(file().ago(when), format!("at {when}"));
        assert_eq!(terminal(80).ago("-"), "at -");
    }
}
