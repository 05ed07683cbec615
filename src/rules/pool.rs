//! The texts of one mapping in one piece of memory: names of files, dates and values are places in it.

use std::borrow::Cow;

/// A place in a [`Pool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

/// The text of a mapping, and behind it whatever its compilation adds.
#[derive(Debug)]
pub(crate) struct Pool(Box<str>);

impl Pool {
    /// The text at a place of this pool.
    pub(crate) fn get(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.0.get(start..start + span.length as usize).unwrap_or("")
    }
}

/// A pool that grows while its mapping is compiled.
#[derive(Debug)]
pub(crate) struct PoolBuilder<'s> {
    source: &'s str,
    added: String,
}

impl<'s> PoolBuilder<'s> {
    /// A pool over the text of a mapping.
    pub(crate) fn new(source: &'s str) -> Self {
        Self {
            source,
            added: String::new(),
        }
    }

    #[expect(clippy::ptr_arg, reason = "whether the text is a part of the source decides")]
    /// The place of a text, which is added unless it is a part of the source.
    pub(crate) fn span(&mut self, text: &Cow<'s, str>) -> Span {
        match text {
            Cow::Borrowed(text) => self.borrowed(text),
            Cow::Owned(text) => self.add(text),
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

    /// The finished pool.
    pub(crate) fn finish(self) -> Pool {
        Pool([self.source, &self.added].concat().into_boxed_str())
    }
}

/// Texts are limited to far less than 4 GiB (`literal::lexer::MAX_TEXT`), what is added to them too.
fn span(start: usize, length: usize) -> Span {
    Span {
        start: u32::try_from(start).unwrap_or(u32::MAX),
        length: u32::try_from(length).unwrap_or(0),
    }
}
