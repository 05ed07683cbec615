//! The tokens of Python source.
//!
//! They remember their byte offset only; lines and columns are counted when a message needs them.

use std::borrow::Cow;
use std::fmt;

use super::LiteralError;

/// A piece of source and the byte offset at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token<'a> {
    /// Byte offset of the first byte.
    pub at: usize,
    /// Its kind.
    pub kind: TokenKind<'a>,
}

/// The kind of a token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind<'a> {
    /// A text, adjacent ones already joined; borrowed from the source when nothing in it had to be decoded.
    Str(Cow<'a, str>),
    /// An integer that fits 64 bits (never negative: the sign is a token of its own).
    Int(i64),
    /// A longer integer: decimal digits without leading zeros.
    BigInt(String),
    /// A floating point number.
    Float(f64),
    /// An identifier or keyword.
    Name(&'a str),
    /// A bracket, separator or operator.
    Symbol(Symbol),
    /// The end of a line outside of all brackets.
    Newline,
    /// The end of the text.
    End,
}

macro_rules! symbols {
    ($($name:ident $text:literal),* $(,)?) => {
        /// Brackets, separators and operators.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Symbol {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl fmt::Display for Symbol {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

symbols! {
    OpenBrace "{", CloseBrace "}", OpenBracket "[", CloseBracket "]", OpenParen "(", CloseParen ")",
    Comma ",", Colon ":", Semicolon ";", Dot ".", Plus "+", Minus "-", Assign "=",
    Equal "==", NotEqual "!=", Less "<", LessEqual "<=", Greater ">", GreaterEqual ">=",
}

/// A mistake and its offset, before the line is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Byte offset.
    pub at: usize,
    /// The text of the mistake.
    pub what: String,
}

impl Problem {
    /// A problem at a byte offset.
    pub(crate) fn new(at: usize, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
        }
    }

    /// The same with its line and column in `text`.
    pub(crate) fn locate(self, text: &str) -> LiteralError {
        let before = text.get(..self.at).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        LiteralError {
            line: 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count(),
            column: 1 + before.get(start..).unwrap_or("").chars().count(),
            what: self.what,
        }
    }
}

impl Symbol {
    /// The byte that it is written as, unless it is an operator.
    #[inline]
    pub(super) fn to_byte(self) -> Option<u8> {
        Some(match self {
            Self::OpenBrace => b'{',
            Self::CloseBrace => b'}',
            Self::OpenBracket => b'[',
            Self::CloseBracket => b']',
            Self::OpenParen => b'(',
            Self::CloseParen => b')',
            Self::Comma => b',',
            Self::Colon => b':',
            _ => return None,
        })
    }
}

impl Token<'_> {
    /// Whether this is the symbol.
    pub(crate) fn is(&self, symbol: Symbol) -> bool {
        self.kind == TokenKind::Symbol(symbol)
    }

    /// The problem that something else was expected here.
    pub(crate) fn unexpected(&self, expected: &str) -> Problem {
        Problem::new(self.at, format!("expected {expected}, found {self}"))
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TokenKind::Str(text) => {
                let short: String = text.chars().take(40).collect();
                write!(out, "the text {short:?}")
            }
            TokenKind::Int(number) => write!(out, "the number {number}"),
            TokenKind::BigInt(_) => out.write_str("a long number"),
            TokenKind::Float(number) => write!(out, "the number {number}"),
            TokenKind::Name(name) => {
                let short: String = name.chars().take(40).collect();
                write!(out, "'{short}'")
            }
            TokenKind::Symbol(symbol) => write!(out, "'{symbol}'"),
            TokenKind::Newline => out.write_str("the end of the line"),
            TokenKind::End => out.write_str("the end of the text"),
        }
    }
}
