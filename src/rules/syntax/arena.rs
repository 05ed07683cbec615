//! The texts of one mapping in one piece of memory: names of files, dates and values are spans of it.

use std::borrow::Cow;
use std::ops::Range;

/// A part of an [`Arena`]: its offset and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// The length of the text, in bytes.
    pub(crate) fn len(self) -> usize {
        self.length as usize
    }
}

/// The text of a mapping, and behind it whatever its compilation adds.
#[derive(Debug, Default)]
pub(crate) struct Arena(String);

impl Arena {
    /// The text of a span of this arena.
    pub(crate) fn get(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.0.get(start..start + span.length as usize).unwrap_or("")
    }

    /// An arena over the text of a mapping with what an [`ArenaBuilder`] has added to it.
    pub(crate) fn new(source: Cow<'_, str>, added: &str) -> Self {
        let mut text = source.into_owned();
        text.reserve_exact(added.len());
        text.push_str(added);
        Self(text)
    }
}

/// An arena that grows while its mapping is compiled.
#[derive(Debug)]
pub(crate) struct ArenaBuilder<'s> {
    source: &'s str,
    added: String,
}

impl<'s> ArenaBuilder<'s> {
    /// An arena over the text of a mapping.
    pub(crate) fn new(source: &'s str) -> Self {
        Self {
            source,
            added: String::new(),
        }
    }

    /// The text of a span.
    pub(crate) fn get(&self, span: Span) -> &str {
        self.in_source(span).unwrap_or_else(|| {
            let start = (span.start as usize).wrapping_sub(self.source.len());
            let added = self.added.get(start..start.saturating_add(span.length as usize));
            added.unwrap_or("")
        })
    }

    /// The text of a span, if it is a part of the source.
    pub(crate) fn in_source(&self, span: Span) -> Option<&'s str> {
        let start = span.start as usize;
        self.source.get(start..start + span.length as usize)
    }

    /// The span of a part of the source.
    #[expect(clippy::unused_self, reason = "the place is one in this arena")]
    pub(crate) fn place(&self, part: Range<usize>) -> Span {
        span(part.start, part.len())
    }

    /// The span of a text, which is added unless it is a part of the source.
    pub(crate) fn span(&mut self, text: Cow<'s, str>) -> Span {
        match text {
            Cow::Borrowed(text) => self.borrowed(text),
            Cow::Owned(text) => self.add(&text),
        }
    }

    fn borrowed(&mut self, text: &str) -> Span {
        let start = (text.as_ptr() as usize).wrapping_sub(self.source.as_ptr() as usize);
        if self.source.get(start..start.saturating_add(text.len())) == Some(text) {
            return span(start, text.len());
        }
        self.add(text)
    }

    /// Adds a text.
    pub(crate) fn add(&mut self, text: &str) -> Span {
        let start = self.source.len() + self.added.len();
        self.added.push_str(text);
        span(start, text.len())
    }

    /// The texts that were added.
    pub(crate) fn finish(self) -> String {
        self.added
    }
}

/// Texts are limited to far less than 4 GiB (`literal::lexer::MAX_TEXT`), what is added to them too.
fn span(start: usize, length: usize) -> Span {
    Span {
        start: u32::try_from(start).unwrap_or(u32::MAX),
        length: u32::try_from(length).unwrap_or(0),
    }
}
