//! Cuts Python source into tokens, as far as literals, mappings and header expressions use it.

use std::borrow::Cow;
use std::ops::Range;

use super::token::{Problem, Symbol, Token, TokenKind};
use super::{number, scan, string};

/// Longest text that is read, in bytes.
pub(crate) const MAX_TEXT: usize = 256 << 20;

/// Deepest nesting of brackets; Python's own parser has the same limit.
pub(crate) const MAX_DEPTH: usize = 200;

/// Cuts a text into tokens.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Lexer<'a> {
    /// A lexer at the beginning of the text; refuses texts longer than [`MAX_TEXT`].
    pub(crate) fn new(text: &'a str) -> Result<Self, Problem> {
        if text.len() > MAX_TEXT {
            let what = format!("the text has {} bytes, more than {MAX_TEXT}", text.len());
            return Err(Problem::new(0, what));
        }
        Ok(Self {
            text,
            at: 0,
            depth: 0,
        })
    }

    /// The next token; at the end [`TokenKind::End`] again and again.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Problem> {
        self.skip_blanks()?;
        let at = self.at;
        let Some(byte) = self.byte(0) else {
            return Ok(Token {
                at,
                kind: TokenKind::End,
            });
        };
        let kind = match byte {
            b'\'' | b'"' => self.strings()?,
            b'\n' | b'\r' => {
                self.at += 1;
                TokenKind::Newline
            }
            b'0'..=b'9' => self.number()?,
            b'.' if self.byte(1).is_some_and(|next| next.is_ascii_digit()) => self.number()?,
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                if string::prefixed(self.rest()).is_some() {
                    self.strings()?
                } else {
                    self.name()
                }
            }
            _ => TokenKind::Symbol(self.symbol(byte)?),
        };
        Ok(Token { at, kind })
    }

    /// The first byte of the next token; nothing at the end.
    #[inline]
    fn peek(&mut self) -> Result<Option<u8>, Problem> {
        let next = self.byte(0);
        if next.is_some_and(|byte| byte > b' ' && !matches!(byte, b'#' | b'\\')) {
            return Ok(next);
        }
        self.skip_blanks()?;
        Ok(self.byte(0))
    }

    /// Takes a bracket or separator if it comes next.
    #[inline]
    pub(crate) fn takes(&mut self, symbol: Symbol) -> Result<bool, Problem> {
        match self.peek()? {
            Some(byte) if symbol.to_byte() == Some(byte) => match symbol {
                Symbol::Comma | Symbol::Colon => self.at += 1,
                _ => {
                    self.symbol(byte)?;
                }
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a bracket or separator, which must come next.
    #[inline]
    pub(crate) fn expect(&mut self, symbol: Symbol) -> Result<(), Problem> {
        if self.takes(symbol)? {
            return Ok(());
        }
        Err(self.token()?.unexpected(&format!("'{symbol}'")))
    }

    /// Behind an item: whether the bracket closes here. Else a comma comes next, and is taken.
    #[inline]
    pub(crate) fn closes(&mut self, bracket: Symbol) -> Result<bool, Problem> {
        if self.takes(Symbol::Comma)? {
            return Ok(false);
        }
        if self.takes(bracket)? {
            return Ok(true);
        }
        Err(self.token()?.unexpected(&format!("',' or '{bracket}'")))
    }

    /// Takes a text that is written in one piece and without escapes, if that comes next, and gives its range in the
    /// source.
    pub(crate) fn plain_text(&mut self) -> Result<Option<Range<usize>>, Problem> {
        let Some(quote @ (b'\'' | b'"')) = self.peek()? else {
            return Ok(None);
        };
        let start = self.at + 1;
        let rest = self.text.as_bytes().get(start..).unwrap_or(&[]);
        let Some(length) = string::plain_length(rest, quote) else {
            return Ok(None);
        };
        let back = self.at;
        self.at = start + length + 1;
        match self.peek()? {
            Some(b'\'' | b'"' | b'a'..=b'z' | b'A'..=b'Z') => {
                self.at = back;
                Ok(None)
            }
            _ => Ok(Some(start..start + length)),
        }
    }

    /// Takes a text as [`Lexer::plain_text`] does together with the separator or bracket behind it, which is one of two
    /// and in the same line; which one.
    #[inline]
    pub(crate) fn plain_text_and(&mut self, [usual, last]: [Symbol; 2]) -> Option<(Range<usize>, Symbol)> {
        let bytes = self.text.as_bytes();
        let blanks = |from: usize| scan::spaces(bytes.get(from..).unwrap_or(&[]));
        let mut at = self.at;
        if self.depth > 0 && bytes.get(at) == Some(&b'\n') {
            at += 1;
        }
        if bytes.get(at) == Some(&b' ') {
            at += blanks(at);
        }
        let quote = *bytes.get(at).filter(|byte| matches!(byte, b'\'' | b'"'))?;
        let start = at + 1;
        let end = start + string::plain_length(bytes.get(start..)?, quote)?;
        let mut at = end + 1;
        if bytes.get(at) == Some(&b' ') {
            at += blanks(at);
        }
        let next = bytes.get(at).copied();
        let found = [usual, last]
            .into_iter()
            .find(|symbol| symbol.to_byte() == next)?;
        if matches!(
            found,
            Symbol::CloseBrace | Symbol::CloseBracket | Symbol::CloseParen
        ) {
            self.depth = self.depth.saturating_sub(1);
        }
        self.at = at + 1;
        Some((start..end, found))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// Blanks, comments, joined lines, and within brackets line ends.
    fn skip_blanks(&mut self) -> Result<(), Problem> {
        loop {
            match self.byte(0) {
                Some(b' ') => self.at += scan::spaces(self.rest().as_bytes()),
                Some(b'\t' | b'\x0c') => self.at += 1,
                Some(b'\n' | b'\r') if self.depth > 0 => self.at += 1,
                Some(b'#') => {
                    let rest = self.rest().as_bytes();
                    self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                }
                Some(b'\\') => match (self.byte(1), self.byte(2)) {
                    (Some(b'\r'), Some(b'\n')) => self.at += 3,
                    (Some(b'\n' | b'\r'), _) => self.at += 2,
                    _ => return Err(Problem::new(self.at, "a '\\' stands outside of a text")),
                },
                _ => return Ok(()),
            }
        }
    }

    fn name(&mut self) -> TokenKind<'a> {
        let rest = self.rest();
        let length = rest
            .bytes()
            .position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_'))
            .unwrap_or(rest.len());
        self.at += length;
        TokenKind::Name(rest.get(..length).unwrap_or(""))
    }

    fn number(&mut self) -> Result<TokenKind<'a>, Problem> {
        let (kind, length) = number::read(self.rest()).map_err(|what| Problem::new(self.at, what))?;
        self.at += length;
        Ok(kind)
    }

    /// A string literal and all that follow it with only blanks between.
    fn strings(&mut self) -> Result<TokenKind<'a>, Problem> {
        let mut joined = self.string()?;
        loop {
            self.skip_blanks()?;
            let more = match self.byte(0) {
                Some(b'\'' | b'"') => true,
                Some(byte) if byte.is_ascii_alphabetic() => string::prefixed(self.rest()).is_some(),
                _ => false,
            };
            if !more {
                return Ok(TokenKind::Str(joined));
            }
            let next = self.string()?;
            joined.to_mut().push_str(&next);
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Problem> {
        let (text, length) = string::read(self.rest(), self.at)?;
        self.at += length;
        Ok(text)
    }

    fn symbol(&mut self, byte: u8) -> Result<Symbol, Problem> {
        let double = self.byte(1) == Some(b'=');
        let symbol = match (byte, double) {
            (b'=', true) => Symbol::Equal,
            (b'!', true) => Symbol::NotEqual,
            (b'<', true) => Symbol::LessEqual,
            (b'>', true) => Symbol::GreaterEqual,
            (b'=', false) => Symbol::Assign,
            (b'<', false) => Symbol::Less,
            (b'>', false) => Symbol::Greater,
            (b'{', _) => Symbol::OpenBrace,
            (b'}', _) => Symbol::CloseBrace,
            (b'[', _) => Symbol::OpenBracket,
            (b']', _) => Symbol::CloseBracket,
            (b'(', _) => Symbol::OpenParen,
            (b')', _) => Symbol::CloseParen,
            (b',', _) => Symbol::Comma,
            (b':', _) => Symbol::Colon,
            (b';', _) => Symbol::Semicolon,
            (b'.', _) => Symbol::Dot,
            (b'+', _) => Symbol::Plus,
            (b'-', _) => Symbol::Minus,
            _ => {
                let character = self.rest().chars().next().unwrap_or('?');
                return Err(Problem::new(
                    self.at,
                    format!("the character {character:?} is not allowed here"),
                ));
            }
        };
        match symbol {
            Symbol::OpenBrace | Symbol::OpenBracket | Symbol::OpenParen => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    let what = format!("brackets are nested more than {MAX_DEPTH} deep");
                    return Err(Problem::new(self.at, what));
                }
            }
            Symbol::CloseBrace | Symbol::CloseBracket | Symbol::CloseParen => {
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
        self.at += if matches!(
            symbol,
            Symbol::Equal | Symbol::NotEqual | Symbol::LessEqual | Symbol::GreaterEqual
        ) {
            2
        } else {
            1
        };
        Ok(symbol)
    }
}
