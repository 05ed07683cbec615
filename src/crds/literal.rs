//! Python literals: the notation of `server_config` files and of mappings (spec/crds-service 2.2, spec/crds-rules 3).
//!
//! [`parse`] reads one literal, [`write()`] writes one that Python's `ast.literal_eval` reads back as the same value.
//! The `lexer` also serves the readers of mappings and of header expressions: there is no other one.
//!
//! ```
//! use crds_fs::crds::literal::{Value, parse, write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = parse("{'observatory': 'roman', 'effective_mode': None, 'versions': (1, 2.5)}  # as Python writes it")?;
//! let Value::Dict(pairs) = &config else { return Err("no dict".into()) };
//! assert_eq!(pairs[0], (Value::Str("observatory".into()), Value::Str("roman".into())));
//! assert_eq!(parse(&write(&config))?, config);
//! assert!(parse("__import__('os')").is_err());
//! # Ok(())
//! # }
//! ```

mod character_names;
pub(crate) mod lexer;
mod number;
mod scan;
mod string;
pub(crate) mod token;
mod writer;

pub(crate) use character_names::named_character;
pub(crate) use number::float_text;
pub use writer::write;

use lexer::Lexer;
use token::{Problem, Symbol, Token, TokenKind};

/// A Python literal.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// An integer that needs more than 64 bits: an optional `-` and decimal digits without leading zeros.
    BigInt(String),
    /// A floating point number.
    Float(f64),
    /// A text.
    Str(String),
    /// `[...]`
    List(Vec<Value>),
    /// `(...)`
    Tuple(Vec<Value>),
    /// `{key: value, ...}` in the order written; of equal keys all are here.
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs of a dict.
    pub fn as_dict(&self) -> Option<&[(Value, Value)]> {
        match self {
            Self::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value of a text key of a dict; of several equal keys the last one counts, as in Python.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let pairs = self.as_dict()?;
        pairs
            .iter()
            .rev()
            .find_map(|(name, value)| (name.as_str() == Some(key)).then_some(value))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

/// The text is not a Python literal. Lines and columns are counted from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct LiteralError {
    /// The line of the mistake.
    pub line: usize,
    /// The column of the mistake.
    pub column: usize,
    /// The token that was expected or is not allowed.
    pub what: String,
}

/// Most values in a literal, each of which takes many times the memory of its text.
pub const MAX_VALUES: usize = 1_000_000;

/// Reads one Python literal, blanks and comments around it allowed.
///
/// Accepted are dicts, lists, tuples, texts in every notation but bytes and f-strings (adjacent ones are joined),
/// numbers with signs, `True`, `False`, `None`, and parentheses. A pair of surrogate escapes is read as the character
/// it stands for; a lone surrogate is refused. Length, depth of brackets and number of values
/// ([`MAX_VALUES`]) are limited.
pub fn parse(text: &str) -> Result<Value, LiteralError> {
    parse_value(text).map_err(|problem| problem.locate(text))
}

fn parse_value(text: &str) -> Result<Value, Problem> {
    let mut parser = Parser {
        lexer: Lexer::new(text)?,
        values: 0,
    };
    let first = parser.next_beyond_lines()?;
    let value = parser.value(first)?;
    match parser.next_beyond_lines()? {
        Token {
            kind: TokenKind::End, ..
        } => Ok(value),
        other => Err(other.unexpected("the end of the text")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The number of values that were met.
    values: usize,
}

impl<'a> Parser<'a> {
    fn next_beyond_lines(&mut self) -> Result<Token<'a>, Problem> {
        loop {
            let token = self.lexer.token()?;
            if !matches!(token.kind, TokenKind::Newline) {
                return Ok(token);
            }
        }
    }

    /// The value that begins with `first`. Recursion is bounded by the lexer's limit on brackets.
    fn value(&mut self, first: Token<'a>) -> Result<Value, Problem> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Problem::new(first.at, format!("more than {MAX_VALUES} values")));
        }
        match first.kind {
            TokenKind::Str(text) => Ok(Value::Str(text.into_owned())),
            TokenKind::Int(number) => Ok(Value::Int(number)),
            TokenKind::BigInt(digits) => Ok(Value::BigInt(digits)),
            TokenKind::Float(number) => Ok(Value::Float(number)),
            TokenKind::Name("None") => Ok(Value::None),
            TokenKind::Name("True") => Ok(Value::Bool(true)),
            TokenKind::Name("False") => Ok(Value::Bool(false)),
            TokenKind::Symbol(Symbol::Minus) => self.signed(true),
            TokenKind::Symbol(Symbol::Plus) => self.signed(false),
            TokenKind::Symbol(Symbol::OpenBrace) => self.dict(),
            TokenKind::Symbol(Symbol::OpenBracket) => {
                let (items, _) = self.items(Symbol::CloseBracket)?;
                Ok(Value::List(items))
            }
            TokenKind::Symbol(Symbol::OpenParen) => {
                let (mut items, comma) = self.items(Symbol::CloseParen)?;
                match items.pop() {
                    Some(only) if items.is_empty() && !comma => Ok(only),
                    last => {
                        items.extend(last);
                        Ok(Value::Tuple(items))
                    }
                }
            }
            _ => Err(first.unexpected("a value")),
        }
    }

    fn signed(&mut self, negative: bool) -> Result<Value, Problem> {
        let token = self.lexer.token()?;
        match token.kind {
            TokenKind::Int(number) if !negative => Ok(Value::Int(number)),
            TokenKind::Int(number) => Ok(Value::Int(-number)),
            TokenKind::BigInt(digits) if !negative => Ok(Value::BigInt(digits)),
            TokenKind::BigInt(digits) => Ok(number::negated(&digits)),
            TokenKind::Float(number) => Ok(Value::Float(if negative { -number } else { number })),
            _ => Err(token.unexpected("a number after the sign")),
        }
    }

    /// The items up to `close`, and whether a comma stands after the last one.
    fn items(&mut self, close: Symbol) -> Result<(Vec<Value>, bool), Problem> {
        let mut items = Vec::new();
        while !self.lexer.takes(close)? {
            let token = self.lexer.token()?;
            items.push(self.value(token)?);
            if self.lexer.closes(close)? {
                return Ok((items, false));
            }
        }
        let comma = !items.is_empty();
        Ok((items, comma))
    }

    fn dict(&mut self) -> Result<Value, Problem> {
        let mut pairs = Vec::new();
        while !self.lexer.takes(Symbol::CloseBrace)? {
            let token = self.lexer.token()?;
            let key = self.value(token)?;
            self.lexer.expect(Symbol::Colon)?;
            let token = self.lexer.token()?;
            pairs.push((key, self.value(token)?));
            if self.lexer.closes(Symbol::CloseBrace)? {
                break;
            }
        }
        Ok(Value::Dict(pairs))
    }
}

#[cfg(test)]
mod tests;
