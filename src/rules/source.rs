//! The text of a mapping, read as the restricted Python that it is (spec/crds-rules 3), and its checksum (4).

use std::borrow::Cow;

use sha1::{Digest, Sha1};

use crate::crds::literal::float_text;
use crate::crds::literal::lexer::{Lexer, Problem, Symbol, Token, TokenKind};

use super::python::{push_repr, repr};

/// The selectors, in the order in which the client lists them.
pub(crate) const SELECTORS: [&str; 7] = [
    "Bracket",
    "ClosestTime",
    "GeometricallyNearest",
    "Match",
    "SelectVersion",
    "UseAfter",
    "VersionAfter",
];

/// A value in a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item<'a> {
    Str(Cow<'a, str>),
    Int(i64),
    BigInt(String),
    Float(f64),
    Bool(bool),
    None,
    Tuple(Vec<Item<'a>>),
    List(Vec<Item<'a>>),
    Dict(Vec<(Item<'a>, Item<'a>)>),
    Call(Box<Call<'a>>),
    /// An identifier, which is an error as soon as its value is needed.
    Name(&'a str),
}

/// `Kind({...})`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call<'a> {
    pub(crate) kind: &'a str,
    pub(crate) entries: Vec<(Item<'a>, Item<'a>)>,
}

impl Item<'_> {
    /// The text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// `str(item)`
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Str(text) => Cow::Borrowed(text),
            other => other.repr().into(),
        }
    }

    /// `repr(item)`
    pub(crate) fn repr(&self) -> String {
        let mut shown = String::new();
        self.push_repr(&mut shown);
        shown
    }

    fn push_repr(&self, shown: &mut String) {
        let push_all = |shown: &mut String, items: &[Self]| {
            for (index, item) in items.iter().enumerate() {
                shown.push_str(if index == 0 { "" } else { ", " });
                item.push_repr(shown);
            }
        };
        match self {
            Self::Str(text) => push_repr(shown, text),
            Self::Int(number) => shown.push_str(&number.to_string()),
            Self::BigInt(digits) => shown.push_str(digits),
            Self::Float(number) => shown.push_str(&float_text(*number)),
            Self::Bool(truth) => shown.push_str(if *truth { "True" } else { "False" }),
            Self::None => shown.push_str("None"),
            Self::Tuple(items) => {
                shown.push('(');
                push_all(shown, items);
                shown.push_str(if items.len() == 1 { ",)" } else { ")" });
            }
            Self::List(items) => {
                shown.push('[');
                push_all(shown, items);
                shown.push(']');
            }
            Self::Dict(pairs) => {
                shown.push('{');
                for (index, (key, value)) in pairs.iter().enumerate() {
                    shown.push_str(if index == 0 { "" } else { ", " });
                    key.push_repr(shown);
                    shown.push_str(": ");
                    value.push_repr(shown);
                }
                shown.push('}');
            }
            Self::Call(call) => shown.push_str(call.kind),
            Self::Name(name) => shown.push_str(name),
        }
    }

    /// The number, if Python would compare this as one.
    #[expect(clippy::cast_precision_loss, reason = "long integers are compared as floats")]
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::BigInt(digits) => digits.parse().ok(),
            Self::Float(number) => Some(*number),
            Self::Bool(truth) => Some(f64::from(u8::from(*truth))),
            _ => None,
        }
    }

    /// Python's `==`
    pub(crate) fn equals(&self, other: &Item<'_>) -> bool {
        match (self, other) {
            (Self::Str(one), Item::Str(two)) => one == two,
            (Self::Tuple(one), Item::Tuple(two)) | (Self::List(one), Item::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.equals(two))
            }
            (Self::Int(one), Item::Int(two)) => one == two,
            (Self::BigInt(one), Item::BigInt(two)) => one == two,
            (Self::None, Item::None) => true,
            _ => self.number().is_some() && self.number() == other.number(),
        }
    }

    /// A text that is the same for keys that Python calls equal.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::Tuple(items) => {
                let items: Vec<String> = items.iter().map(Item::identity).collect();
                format!("({},)", items.join(","))
            }
            // Adding zero makes one of the two zeros.
            _ => self
                .number()
                .map_or_else(|| self.repr(), |number| float_text(number + 0.0)),
        }
    }

    /// The name of the type, as Python's messages have it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Str(_) | Self::Name(_) => "str",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::None => "NoneType",
            Self::Tuple(_) => "tuple",
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
            Self::Call(_) => "Parameters",
        }
    }

    /// The first part that Python cannot hash, by the name of its type.
    fn unhashable(&self) -> Option<&'static str> {
        match self {
            Self::List(_) | Self::Dict(_) => Some(self.type_name()),
            Self::Tuple(items) => items.iter().find_map(Item::unhashable),
            _ => None,
        }
    }

    /// The first identifier or impossible key, in the order in which Python evaluates.
    fn failure(&self) -> Option<String> {
        match self {
            Self::Name(name) => Some(format!("name {} is not defined", repr(name))),
            Self::Tuple(items) | Self::List(items) => items.iter().find_map(Item::failure),
            Self::Dict(pairs) => pairs_failure(pairs),
            Self::Call(call) => pairs_failure(&call.entries),
            _ => None,
        }
    }
}

fn pairs_failure(pairs: &[(Item<'_>, Item<'_>)]) -> Option<String> {
    let undefined = pairs
        .iter()
        .find_map(|(key, value)| key.failure().or_else(|| value.failure()));
    undefined.or_else(|| {
        let unhashable = pairs.iter().find_map(|(key, _)| key.unhashable())?;
        Some(format!("unhashable type: '{unhashable}'"))
    })
}

/// A key in a form in which equal keys are the same (Python: `1`, `1.0` and `True`).
#[derive(Hash, PartialEq, Eq)]
enum KeyForm<'k> {
    Text(&'k str),
    Number(u64),
    Long(&'k str),
    None,
    Tuple(Vec<KeyForm<'k>>),
    Other(String),
}

impl<'k> KeyForm<'k> {
    fn of(item: &'k Item<'_>) -> Self {
        match item {
            Item::Str(text) => Self::Text(text),
            Item::None => Self::None,
            Item::BigInt(digits) => Self::Long(digits),
            Item::Tuple(items) => Self::Tuple(items.iter().map(KeyForm::of).collect()),
            // Adding zero makes one of the two zeros.
            _ => item.number().map_or_else(
                || Self::Other(item.repr()),
                |number| Self::Number((number + 0.0).to_bits()),
            ),
        }
    }
}

/// Applies Python's rule for equal keys: the last value, at the place and in the spelling of the first.
pub(crate) fn merge_duplicates(pairs: &mut Vec<(Item<'_>, Item<'_>)>) {
    if pairs.len() < 2 {
        return;
    }
    let increasing = pairs
        .windows(2)
        .all(|two| matches!(two, [(Item::Str(one), _), (Item::Str(two), _)] if one < two));
    if increasing {
        return;
    }
    let mut first_places = rustc_hash::FxHashMap::default();
    let mut repeated = Vec::new();
    for (place, (key, _)) in pairs.iter().enumerate() {
        let first = *first_places.entry(KeyForm::of(key)).or_insert(place);
        if first != place {
            repeated.push((place, first));
        }
    }
    drop(first_places);
    for &(place, first) in &repeated {
        if let Some(value) = pairs
            .get_mut(place)
            .map(|(_, value)| std::mem::replace(value, Item::None))
            && let Some(entry) = pairs.get_mut(first)
        {
            entry.1 = value;
        }
    }
    let mut moved = repeated.iter().map(|&(place, _)| place).peekable();
    let mut place = 0;
    pairs.retain(|_| {
        let gone = moved.next_if_eq(&place).is_some();
        place += 1;
        !gone
    });
}

/// A mapping's sections.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) header: Option<Item<'a>>,
    pub(crate) selector: Option<Item<'a>>,
}

/// Why a text is no mapping.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// Not the grammar of mappings: our words, with the place.
    Syntax(Problem),
    /// The client's words.
    Message(String),
}

impl From<Problem> for SourceError {
    fn from(problem: Problem) -> Self {
        Self::Syntax(problem)
    }
}

/// Line ends as Python reads them: CR LF and CR become LF.
pub(crate) fn normalize_lines(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\r', text.as_bytes()).is_none() {
        return text.into();
    }
    text.replace("\r\n", "\n").replace('\r', "\n").into()
}

/// Reads the sections. `text` has normal line ends.
pub(crate) fn read(text: &str) -> Result<Source<'_>, SourceError> {
    let mut reader = Reader {
        text,
        lexer: Lexer::new(text)?,
        screen: None,
        suspicious: false,
    };
    let sections = reader.statements()?;
    if let Some(message) = reader.screen {
        return Err(SourceError::Message(message));
    }
    let mut source = Source {
        header: None,
        selector: None,
    };
    for (name, value) in sections {
        if reader.suspicious
            && let Some(message) = value.failure()
        {
            return Err(SourceError::Message(message));
        }
        match name {
            "header" => source.header = Some(value),
            "selector" => source.selector = Some(value),
            _ => {}
        }
    }
    Ok(source)
}

struct Reader<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The first thing that is well formed but has no place in a mapping.
    screen: Option<String>,
    /// Whether an identifier or a key that Python cannot hash was met.
    suspicious: bool,
}

impl<'a> Reader<'a> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or(&[]);
        1 + memchr::memchr_iter(b'\n', before).count()
    }

    fn screen(&mut self, message: impl FnOnce(&Self) -> String) {
        if self.screen.is_none() {
            self.screen = Some(message(self));
        }
    }

    fn statements(&mut self) -> Result<Vec<(&'a str, Item<'a>)>, Problem> {
        let mut sections = Vec::new();
        let mut line_begins = true;
        loop {
            let token = self.lexer.token()?;
            match token.kind {
                TokenKind::End => return Ok(sections),
                TokenKind::Newline => line_begins = true,
                TokenKind::Name(name) => {
                    let before = self.text.as_bytes().get(..token.at).unwrap_or(&[]);
                    if line_begins && matches!(before.last(), Some(b' ' | b'\t')) {
                        return Err(Problem::new(token.at, "a statement begins with a blank"));
                    }
                    let value = self.statement(name, token.at)?;
                    sections.push((name, value));
                    let end = self.lexer.token()?;
                    line_begins = end.kind == TokenKind::Newline;
                    if end.kind == TokenKind::End {
                        return Ok(sections);
                    }
                    if !line_begins && !end.is(Symbol::Semicolon) {
                        return Err(end.unexpected("the end of the line"));
                    }
                }
                _ => return Err(token.unexpected("'header', 'selector' or 'comment'")),
            }
        }
    }

    /// `name = value`
    fn statement(&mut self, name: &str, at: usize) -> Result<Item<'a>, Problem> {
        let assign = self.lexer.token()?;
        if !assign.is(Symbol::Assign) {
            return Err(assign.unexpected("'='"));
        }
        if !matches!(name, "header" | "selector" | "comment") {
            self.screen(|reader| {
                let line = reader.line(at);
                format!("Only define 'header' or 'selector' or 'comment' sections at line {line}")
            });
        }
        let first = self.lexer.token()?;
        let signed = first.is(Symbol::Minus) || first.is(Symbol::Plus);
        let value = self.item(first)?;
        if signed || matches!(value, Item::Tuple(_) | Item::List(_) | Item::Name(_)) {
            self.screen(|reader| {
                let line = reader.line(at);
                format!("Section value must be a selector call or dictionary or string at line {line}")
            });
        }
        Ok(value)
    }

    /// The item that begins with `first`. Recursion is bounded by the lexer's limit on brackets.
    fn item(&mut self, first: Token<'a>) -> Result<Item<'a>, Problem> {
        match first.kind {
            TokenKind::Str(text) => Ok(Item::Str(text)),
            TokenKind::Int(number) => Ok(Item::Int(number)),
            TokenKind::BigInt(digits) => Ok(Item::BigInt(digits)),
            TokenKind::Float(number) => Ok(Item::Float(number)),
            TokenKind::Name("True") => Ok(Item::Bool(true)),
            TokenKind::Name("False") => Ok(Item::Bool(false)),
            TokenKind::Name("None") => Ok(Item::None),
            TokenKind::Name(name) => self.name_or_call(name, first.at),
            TokenKind::Symbol(Symbol::Minus) => self.signed(true),
            TokenKind::Symbol(Symbol::Plus) => self.signed(false),
            TokenKind::Symbol(Symbol::OpenBrace) => {
                let mut pairs = self.pairs()?;
                merge_duplicates(&mut pairs);
                Ok(Item::Dict(pairs))
            }
            TokenKind::Symbol(Symbol::OpenBracket) => Ok(Item::List(self.items(Symbol::CloseBracket)?.0)),
            TokenKind::Symbol(Symbol::OpenParen) => {
                let (mut items, comma) = self.items(Symbol::CloseParen)?;
                match items.pop() {
                    Some(only) if items.is_empty() && !comma => Ok(only),
                    last => {
                        items.extend(last);
                        Ok(Item::Tuple(items))
                    }
                }
            }
            _ => Err(first.unexpected("a value")),
        }
    }

    fn signed(&mut self, negative: bool) -> Result<Item<'a>, Problem> {
        let token = self.lexer.token()?;
        let value = match token.kind {
            TokenKind::Int(number) => Item::Int(if negative { -number } else { number }),
            TokenKind::BigInt(digits) if negative => Item::BigInt(format!("-{digits}")),
            TokenKind::BigInt(digits) => Item::BigInt(digits),
            TokenKind::Float(number) => Item::Float(if negative { -number } else { number }),
            _ => return Err(token.unexpected("a number after the sign")),
        };
        Ok(value)
    }

    fn name_or_call(&mut self, name: &'a str, at: usize) -> Result<Item<'a>, Problem> {
        let mut ahead = self.lexer.clone();
        let next = ahead.token()?;
        if matches!(next.kind, TokenKind::Symbol(Symbol::Dot | Symbol::OpenBracket)) {
            return Err(next.unexpected("a value"));
        }
        if !next.is(Symbol::OpenParen) {
            self.suspicious = true;
            return Ok(Item::Name(name));
        }
        self.lexer = ahead;
        if !SELECTORS.contains(&name) {
            self.screen(|reader| {
                let (name, line) = (repr(name), reader.line(at));
                let known = super::python::repr_list(SELECTORS);
                format!("Selector {name} is not one of supported Selectors: {known} at line {line}")
            });
        }
        let open = self.lexer.token()?;
        if !open.is(Symbol::OpenBrace) {
            return Err(open.unexpected("'{'"));
        }
        let mut entries = self.pairs()?;
        merge_duplicates(&mut entries);
        let mut close = self.lexer.token()?;
        if close.is(Symbol::Comma) {
            close = self.lexer.token()?;
        }
        if !close.is(Symbol::CloseParen) {
            return Err(close.unexpected("')'"));
        }
        Ok(Item::Call(Box::new(Call { kind: name, entries })))
    }

    /// The items up to `close`, and whether a comma stands after the last one.
    fn items(&mut self, close: Symbol) -> Result<(Vec<Item<'a>>, bool), Problem> {
        let mut items = Vec::new();
        loop {
            let token = self.lexer.token()?;
            if token.is(close) {
                let comma = !items.is_empty();
                return Ok((items, comma));
            }
            items.push(self.item(token)?);
            let token = self.lexer.token()?;
            if token.is(close) {
                return Ok((items, false));
            }
            if !token.is(Symbol::Comma) {
                return Err(token.unexpected(&format!("',' or '{close}'")));
            }
        }
    }

    /// `key : value` up to the closing brace.
    fn pairs(&mut self) -> Result<Vec<(Item<'a>, Item<'a>)>, Problem> {
        let mut pairs = Vec::new();
        loop {
            let token = self.lexer.token()?;
            if token.is(Symbol::CloseBrace) {
                return Ok(pairs);
            }
            let key = self.item(token)?;
            self.suspicious |= key.unhashable().is_some();
            let colon = self.lexer.token()?;
            if !colon.is(Symbol::Colon) {
                return Err(colon.unexpected("':'"));
            }
            let token = self.lexer.token()?;
            pairs.push((key, self.item(token)?));
            let token = self.lexer.token()?;
            if token.is(Symbol::CloseBrace) {
                return Ok(pairs);
            }
            if !token.is(Symbol::Comma) {
                return Err(token.unexpected("',' or '}'"));
            }
        }
    }
}

/// The SHA-1 over all lines that do not contain `sha1sum`, as lower-case hexadecimal.
pub(crate) fn checksum(text: &str) -> String {
    let mut hash = Sha1::new();
    let mut rest = text;
    // Lines without the word, most of the text, are hashed in one piece.
    while let Some(found) = memchr::memmem::find(rest.as_bytes(), b"sha1sum") {
        let (before, after) = rest.split_at(found);
        let start = before
            .char_indices()
            .rev()
            .find(|&(_, character)| is_line_end(character))
            .map_or(0, |(at, character)| at + character.len_utf8());
        let end = after
            .char_indices()
            .find(|&(_, character)| is_line_end(character))
            .map_or(after.len(), |(at, character)| at + character.len_utf8());
        hash.update(before.get(..start).unwrap_or("").as_bytes());
        rest = after.get(end..).unwrap_or("");
    }
    hash.update(rest.as_bytes());
    let mut text = String::with_capacity(40);
    for byte in hash.finalize() {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// Where `str.splitlines` ends a line.
fn is_line_end(character: char) -> bool {
    matches!(
        character,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}
