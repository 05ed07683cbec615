//! The text of a mapping, read as the restricted Python that it is (spec/crds-rules 3).

use std::borrow::Cow;

use crate::crds::literal::lexer::Lexer;
use crate::crds::literal::token::{Problem, Symbol, Token, TokenKind};
use crate::rules::syntax::ast::{Item, Parts, Tree};
use crate::rules::syntax::kind::Kind;
use crate::rules::values::python::{repr, repr_list};

/// A mapping's sections.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) header: Option<Item>,
    pub(crate) selector: Option<Item>,
    pub(crate) tree: Tree<'a>,
}

/// The reason for which a text is no mapping.
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
pub(crate) fn normalize_lines(text: Cow<'_, str>) -> Cow<'_, str> {
    if memchr::memchr(b'\r', text.as_bytes()).is_none() {
        return text;
    }
    text.replace("\r\n", "\n").replace('\r', "\n").into()
}

/// Reads the sections. `text` has normal line ends.
pub(crate) fn read(text: &str) -> Result<Source<'_>, SourceError> {
    let mut reader = Reader {
        text,
        lexer: Lexer::new(text)?,
        tree: Tree::new(text),
        open: Vec::new(),
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
        tree: reader.tree,
    };
    for (name, value) in sections {
        if reader.suspicious
            && let Some(message) = source.tree.failure(value)
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

/// The line of a place in a text, counted from 1.
pub(crate) fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(&[]);
    1 + memchr::memchr_iter(b'\n', before).count()
}

/// Whether mappings may define something of this name.
pub(crate) fn is_section(name: &str) -> bool {
    matches!(name, "header" | "selector" | "comment")
}

/// The client's words for a definition of anything else.
pub(crate) fn no_section(line: usize) -> String {
    format!("Only define 'header' or 'selector' or 'comment' sections at line {line}")
}

/// The client's words for a call of anything but a selector.
pub(crate) fn no_selector(name: &str, line: usize) -> String {
    let (name, known) = (repr(name), repr_list(Kind::ALL.map(Kind::name)));
    format!("Selector {name} is not one of supported Selectors: {known} at line {line}")
}

struct Reader<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    tree: Tree<'a>,
    /// The items so far of all brackets that are open.
    open: Vec<Item>,
    /// The first thing that is well formed but has no place in a mapping.
    screen: Option<String>,
    /// Whether an identifier or a key that Python cannot hash was met.
    suspicious: bool,
}

impl<'a> Reader<'a> {
    fn line(&self, at: usize) -> usize {
        line(self.text, at)
    }

    fn screen(&mut self, message: impl FnOnce(&Self) -> String) {
        if self.screen.is_none() {
            self.screen = Some(message(self));
        }
    }

    fn statements(&mut self) -> Result<Vec<(&'a str, Item)>, Problem> {
        let mut sections = Vec::new();
        let mut line_begins = true;
        loop {
            let token = self.lexer.token()?;
            match token.kind {
                TokenKind::End => return Ok(sections),
                TokenKind::Newline => line_begins = true,
                _ => {
                    let before = self.text.as_bytes().get(..token.at).unwrap_or(&[]);
                    if line_begins && matches!(before.last(), Some(b' ' | b'\t')) {
                        return Err(Problem::new(token.at, "a statement begins with a blank"));
                    }
                    sections.push(match token.kind {
                        TokenKind::Name(name) if self.assign_follows()? => {
                            (name, self.statement(name, token.at)?)
                        }
                        // A value by itself, such as a text that describes the file, does nothing.
                        _ => ("", self.begun(token)?),
                    });
                    let end = self.lexer.token()?;
                    line_begins = end.kind == TokenKind::Newline;
                    if end.kind == TokenKind::End {
                        return Ok(sections);
                    }
                    if !line_begins && !end.is(Symbol::Semicolon) {
                        return Err(end.unexpected("the end of the line"));
                    }
                }
            }
        }
    }

    fn assign_follows(&self) -> Result<bool, Problem> {
        Ok(self.lexer.clone().token()?.is(Symbol::Assign))
    }

    /// `name = value`, the name being taken already.
    fn statement(&mut self, name: &str, at: usize) -> Result<Item, Problem> {
        self.lexer.token()?;
        if !is_section(name) {
            self.screen(|reader| no_section(reader.line(at)));
        }
        let first = self.lexer.token()?;
        let signed = first.is(Symbol::Minus) || first.is(Symbol::Plus);
        let value = self.begun(first)?;
        if signed || matches!(value, Item::Tuple(_) | Item::List(_) | Item::Name(_)) {
            self.screen(|reader| {
                let line = reader.line(at);
                format!("Section value must be a selector call or dictionary or string at line {line}")
            });
        }
        Ok(value)
    }

    fn item(&mut self) -> Result<Item, Problem> {
        if let Some(place) = self.lexer.plain_text()? {
            return Ok(Item::Str(self.tree.arena.place(place)));
        }
        let first = self.lexer.token()?;
        self.begun(first)
    }

    /// The item that begins with `first`. Recursion is bounded by the lexer's limit on brackets.
    fn begun(&mut self, first: Token<'a>) -> Result<Item, Problem> {
        match first.kind {
            TokenKind::Str(text) => Ok(Item::Str(self.tree.arena.span(text))),
            TokenKind::Int(number) => Ok(Item::Int(number)),
            TokenKind::BigInt(digits) => Ok(Item::BigInt(self.tree.arena.add(&digits))),
            TokenKind::Float(number) => Ok(Item::Float(number)),
            TokenKind::Name("True") => Ok(Item::Bool(true)),
            TokenKind::Name("False") => Ok(Item::Bool(false)),
            TokenKind::Name("None") => Ok(Item::None),
            TokenKind::Name(name) => self.name_or_call(name, first.at),
            TokenKind::Symbol(Symbol::Minus) => self.signed(true),
            TokenKind::Symbol(Symbol::Plus) => self.signed(false),
            TokenKind::Symbol(Symbol::OpenBrace) => Ok(Item::Dict(self.pairs()?)),
            TokenKind::Symbol(Symbol::OpenBracket) => {
                let begin = self.open.len();
                self.items(Symbol::CloseBracket)?;
                Ok(Item::List(self.close(begin)))
            }
            TokenKind::Symbol(Symbol::OpenParen) => {
                let begin = self.open.len();
                let comma = self.items(Symbol::CloseParen)?;
                match self.open.get(begin..) {
                    Some(&[only]) if !comma => {
                        self.open.truncate(begin);
                        Ok(only)
                    }
                    _ => Ok(Item::Tuple(self.close(begin))),
                }
            }
            _ => Err(first.unexpected("a value")),
        }
    }

    /// Makes the items from `begin` on the parts of one.
    fn close(&mut self, begin: usize) -> Parts {
        let parts = self.tree.add(self.open.get(begin..).unwrap_or(&[]));
        self.open.truncate(begin);
        parts
    }

    fn signed(&mut self, negative: bool) -> Result<Item, Problem> {
        let token = self.lexer.token()?;
        let value = match token.kind {
            TokenKind::Int(number) => Item::Int(if negative { -number } else { number }),
            TokenKind::BigInt(digits) if negative => Item::BigInt(self.tree.arena.add(&format!("-{digits}"))),
            TokenKind::BigInt(digits) => Item::BigInt(self.tree.arena.add(&digits)),
            TokenKind::Float(number) => Item::Float(if negative { -number } else { number }),
            _ => return Err(token.unexpected("a number after the sign")),
        };
        Ok(value)
    }

    fn name_or_call(&mut self, name: &'a str, at: usize) -> Result<Item, Problem> {
        let mut ahead = self.lexer.clone();
        let next = ahead.token()?;
        if matches!(next.kind, TokenKind::Symbol(Symbol::Dot | Symbol::OpenBracket)) {
            return Err(next.unexpected("a value"));
        }
        if !next.is(Symbol::OpenParen) {
            self.suspicious = true;
            return Ok(Item::Name(self.tree.arena.span(name.into())));
        }
        self.lexer = ahead;
        let kind = Kind::from_name(name);
        if kind.is_none() {
            self.screen(|reader| no_selector(name, reader.line(at)));
        }
        self.lexer.expect(Symbol::OpenBrace)?;
        let entries = self.pairs()?;
        self.lexer.takes(Symbol::Comma)?;
        self.lexer.expect(Symbol::CloseParen)?;
        // Of an unknown kind: refused in the end, whatever else is right.
        Ok(kind.map_or(Item::None, |kind| Item::Call(kind, entries)))
    }

    /// The items up to `close`, and whether a comma stands after the last one.
    fn items(&mut self, close: Symbol) -> Result<bool, Problem> {
        let begin = self.open.len();
        loop {
            if let Some((place, end)) = self.lexer.plain_text_and([Symbol::Comma, close]) {
                self.open.push(Item::Str(self.tree.arena.place(place)));
                if end == close {
                    return Ok(false);
                }
                continue;
            }
            if self.lexer.takes(close)? {
                return Ok(self.open.len() > begin);
            }
            let item = self.item()?;
            self.open.push(item);
            if self.lexer.closes(close)? {
                return Ok(false);
            }
        }
    }

    /// `key : value` up to the closing brace.
    fn pairs(&mut self) -> Result<Parts, Problem> {
        let begin = self.open.len();
        loop {
            if let Some((place, _)) = self.lexer.plain_text_and([Symbol::Colon, Symbol::Colon]) {
                self.open.push(Item::Str(self.tree.arena.place(place)));
            } else if self.lexer.takes(Symbol::CloseBrace)? {
                break;
            } else {
                let key = self.item()?;
                self.open.push(key);
                self.suspicious |= self.tree.unhashable(key).is_some();
                self.lexer.expect(Symbol::Colon)?;
            }
            if let Some((place, end)) = self.lexer.plain_text_and([Symbol::Comma, Symbol::CloseBrace]) {
                self.open.push(Item::Str(self.tree.arena.place(place)));
                if end == Symbol::CloseBrace {
                    break;
                }
                continue;
            }
            let value = self.item()?;
            self.open.push(value);
            if self.lexer.closes(Symbol::CloseBrace)? {
                break;
            }
        }
        self.tree.merge_duplicates(&mut self.open, begin);
        Ok(self.close(begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<String, String> {
        match read(text) {
            Ok(source) => Ok(source
                .header
                .map_or_else(String::new, |item| source.tree.repr(item))),
            Err(SourceError::Syntax(problem)) => Err(format!("{} {}", problem.at, problem.what)),
            Err(SourceError::Message(message)) => Err(message),
        }
    }

    #[test]
    fn notation_makes_no_difference() {
        for (text, shown) in [
            ("header = {'a' : 'b', 'c' : 'd'}", "{'a': 'b', 'c': 'd'}"),
            (
                "header = {\n  'a':\n'b' ,\n\"c\"  :  'd',\n}",
                "{'a': 'b', 'c': 'd'}",
            ),
            (
                "header = {'a' 'b' : 'c' 'd', 'e' # why\n : 'f'\n'g'}",
                "{'ab': 'cd', 'e': 'fg'}",
            ),
            (
                "header = {'' : '''x\ny''', \"it's\" : r'\\d'}",
                r#"{'': 'x\ny', "it's": '\\d'}"#,
            ),
            (
                "header = {('a', 'b',) : ['c'], ('d') : ('e',)}",
                "{('a', 'b'): ['c'], 'd': ('e',)}",
            ),
            (
                "header = {'b' : 1, 'a' : 'x\ty', 'b' : 2}",
                r"{'b': 2, 'a': 'x\ty'}",
            ),
            (
                "header = {(1, 'a') : 1, (True, 'a') : 2, (1.5, 'a') : 3}",
                "{(1, 'a'): 2, (1.5, 'a'): 3}",
            ),
        ] {
            assert_eq!(header(text).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn a_name_by_itself_is_not_defined() {
        for text in ["header = {}\nx\n", "x; header = {}", "header = {}; x"] {
            assert_eq!(header(text), Err("name 'x' is not defined".to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_at_its_place() {
        for (text, error) in [
            ("header = {'a' , 'b'}", "14 expected ':', found ','"),
            ("header = {'a' : 'b' ; }", "20 expected ',' or '}', found ';'"),
            (
                "header = {'a' : ('b' : 'c')}",
                "21 expected ',' or ')', found ':'",
            ),
            ("header = {'a' : 'b', 'c}", "21 this text has no closing quote"),
            ("header = {'a' : ('b', 'c']}", "25 expected ',' or ')', found ']'"),
        ] {
            assert_eq!(header(text), Err(error.to_owned()), "{text}");
        }
    }
}
