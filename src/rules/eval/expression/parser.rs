//! The text of an expression, compiled.

use std::borrow::Cow;

use super::{Constant, Expression, Operator};
use crate::crds::literal::lexer::Lexer;
use crate::crds::literal::token::{Problem, Symbol, Token, TokenKind};
use crate::rules::model::slots::Slots;
use crate::rules::syntax::kind::Kind;
use crate::rules::syntax::parser::{is_section, line, no_section, no_selector};

/// The reason for which an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExpressionError {
    /// It is not Python.
    Syntax(String),
    /// Two values stand side by side in brackets, for which Python has words of its own.
    ForgottenComma,
    /// It is Python that rules may not use.
    Forbidden(String),
}

impl From<Problem> for ExpressionError {
    fn from(problem: Problem) -> Self {
        Self::Syntax(format!("{} (at character {})", problem.what, problem.at + 1))
    }
}

/// Deepest nesting of operators; brackets have their own limit.
const MAX_NESTING: usize = 200;

impl Expression {
    /// Compiles an expression; names get slots of the rmap.
    pub(crate) fn parse(source: &str, slots: &mut Slots) -> Result<Self, ExpressionError> {
        let source = source.trim_matches([' ', '\t']);
        let mut lexer = Lexer::new(source)?;
        let next = lexer.token()?;
        let mut parser = Parser {
            source,
            lexer,
            next,
            slots,
            nesting: 0,
        };
        let expression = parser.expression()?;
        let assigned = match &expression {
            Self::Name(_, name) if !is_section(name) && parser.next.is(Symbol::Assign) => {
                parser.advance()?;
                parser.expression()?;
                true
            }
            _ => false,
        };
        while parser.next.kind == TokenKind::Newline {
            parser.advance()?;
        }
        if parser.next.kind != TokenKind::End {
            return Err(parser.unexpected("the end of the expression"));
        }
        if assigned {
            return Err(ExpressionError::Forbidden(no_section(1)));
        }
        Ok(expression)
    }
}

struct Parser<'a, 's> {
    source: &'a str,
    lexer: Lexer<'a>,
    next: Token<'a>,
    slots: &'s mut Slots,
    nesting: usize,
}

type Parsed = Result<Expression, ExpressionError>;

impl<'a> Parser<'a, '_> {
    fn advance(&mut self) -> Result<Token<'a>, ExpressionError> {
        let token = self.lexer.token()?;
        Ok(std::mem::replace(&mut self.next, token))
    }

    fn unexpected(&self, expected: &str) -> ExpressionError {
        self.next.unexpected(expected).into()
    }

    fn word(&self, word: &str) -> bool {
        matches!(self.next.kind, TokenKind::Name(name) if name == word)
    }

    fn deeper(&mut self) -> Result<(), ExpressionError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(ExpressionError::Syntax(format!(
                "the expression is nested more than {MAX_NESTING} deep"
            )));
        }
        Ok(())
    }

    fn expression(&mut self) -> Parsed {
        self.deeper()?;
        if self.word("lambda") || self.word("yield") {
            let what = format!("{} is not allowed in rules", self.next);
            return Err(ExpressionError::Forbidden(what));
        }
        let value = self.or()?;
        let expression = if self.word("if") {
            self.advance()?;
            let condition = self.or()?;
            if !self.word("else") {
                return Err(self.unexpected("'else'"));
            }
            self.advance()?;
            let otherwise = self.expression()?;
            Expression::If(Box::new([condition, value, otherwise]))
        } else {
            value
        };
        self.nesting -= 1;
        Ok(expression)
    }

    fn or(&mut self) -> Parsed {
        let mut operands = vec![self.and()?];
        while self.word("or") {
            self.advance()?;
            operands.push(self.and()?);
        }
        Ok(only_or(operands, Expression::Or))
    }

    fn and(&mut self) -> Parsed {
        let mut operands = vec![self.not()?];
        while self.word("and") {
            self.advance()?;
            operands.push(self.not()?);
        }
        Ok(only_or(operands, Expression::And))
    }

    fn not(&mut self) -> Parsed {
        if self.word("not") {
            self.deeper()?;
            self.advance()?;
            let operand = self.not()?;
            self.nesting -= 1;
            return Ok(Expression::Not(Box::new(operand)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed {
        let first = self.atom()?;
        let mut others = Vec::new();
        while let Some(operator) = self.operator()? {
            others.push((operator, self.atom()?));
        }
        Ok(if others.is_empty() {
            first
        } else {
            Expression::Comparison(Box::new(first), others)
        })
    }

    fn operator(&mut self) -> Result<Option<Operator>, ExpressionError> {
        let operator = match self.next.kind {
            TokenKind::Symbol(Symbol::Equal) => Operator::Equal,
            TokenKind::Symbol(Symbol::NotEqual) => Operator::NotEqual,
            TokenKind::Symbol(Symbol::Less) => Operator::Less,
            TokenKind::Symbol(Symbol::LessEqual) => Operator::LessEqual,
            TokenKind::Symbol(Symbol::Greater) => Operator::Greater,
            TokenKind::Symbol(Symbol::GreaterEqual) => Operator::GreaterEqual,
            TokenKind::Name("in") => Operator::In,
            TokenKind::Name("not") => {
                self.advance()?;
                if !self.word("in") {
                    return Err(self.unexpected("'in'"));
                }
                Operator::NotIn
            }
            TokenKind::Symbol(
                Symbol::Dot | Symbol::Plus | Symbol::Minus | Symbol::OpenBracket | Symbol::OpenParen,
            )
            | TokenKind::Name("is" | "for") => {
                let what = format!("{} is not allowed here in rules", self.next);
                return Err(ExpressionError::Forbidden(what));
            }
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(operator))
    }

    fn atom(&mut self) -> Parsed {
        let token = self.advance()?;
        Ok(match token.kind {
            TokenKind::Str(text) => Expression::Constant(Constant::Text(Cow::into_owned(text).into())),
            TokenKind::Int(number) => Expression::Constant(Constant::Int(number)),
            TokenKind::BigInt(digits) => {
                Expression::Constant(Constant::Float(digits.parse().unwrap_or(f64::NAN)))
            }
            TokenKind::Float(number) => Expression::Constant(Constant::Float(number)),
            TokenKind::Name("True") => Expression::Constant(Constant::Bool(true)),
            TokenKind::Name("False") => Expression::Constant(Constant::Bool(false)),
            TokenKind::Name("None") => Expression::Constant(Constant::None),
            TokenKind::Name(name) if is_keyword(name) => return Err(token.unexpected("a value").into()),
            TokenKind::Name(name) if self.next.is(Symbol::OpenParen) && Kind::from_name(name).is_none() => {
                let line = line(self.source, token.at);
                return Err(ExpressionError::Forbidden(no_selector(name, line)));
            }
            TokenKind::Name(name) => Expression::Name(self.slots.expression(name), name.into()),
            TokenKind::Symbol(Symbol::Minus) => {
                self.deeper()?;
                let operand = self.atom()?;
                self.nesting -= 1;
                Expression::Negative(Box::new(operand))
            }
            TokenKind::Symbol(Symbol::OpenParen) => {
                let (mut items, comma) = self.items(Symbol::CloseParen)?;
                match items.pop() {
                    Some(only) if items.is_empty() && !comma => only,
                    last => {
                        items.extend(last);
                        Expression::Tuple(items)
                    }
                }
            }
            TokenKind::Symbol(Symbol::OpenBracket) => Expression::List(self.items(Symbol::CloseBracket)?.0),
            TokenKind::Symbol(Symbol::OpenBrace) => self.dict()?,
            _ => return Err(token.unexpected("a value").into()),
        })
    }

    fn items(&mut self, close: Symbol) -> Result<(Vec<Expression>, bool), ExpressionError> {
        let mut items = Vec::new();
        let mut comma = false;
        while !self.next.is(close) {
            items.push(self.expression()?);
            comma = self.next.is(Symbol::Comma);
            if comma {
                self.advance()?;
            } else if !self.next.is(close) {
                let value_follows = match self.next.kind {
                    TokenKind::Name(name) => !is_keyword(name),
                    TokenKind::Str(_) | TokenKind::Int(_) | TokenKind::BigInt(_) | TokenKind::Float(_) => {
                        true
                    }
                    _ => false,
                };
                if value_follows {
                    return Err(ExpressionError::ForgottenComma);
                }
                return Err(self.unexpected(&format!("',' or '{close}'")));
            }
        }
        self.advance()?;
        Ok((items, comma))
    }

    fn dict(&mut self) -> Parsed {
        let mut pairs = Vec::new();
        while !self.next.is(Symbol::CloseBrace) {
            let key = self.expression()?;
            if !self.next.is(Symbol::Colon) {
                return Err(self.unexpected("':'"));
            }
            self.advance()?;
            pairs.push((key, self.expression()?));
            if self.next.is(Symbol::Comma) {
                self.advance()?;
            } else if !self.next.is(Symbol::CloseBrace) {
                return Err(self.unexpected("',' or '}'"));
            }
        }
        self.advance()?;
        Ok(Expression::Dict(pairs))
    }
}

/// Whether Python keeps the word for itself, so that no parameter can be named so. Values are none of these.
fn is_keyword(name: &str) -> bool {
    const KEYWORDS: &str = " and as assert async await break class continue def del elif else except finally for from \
                            global if import in is lambda nonlocal not or pass raise return try while with yield ";
    KEYWORDS.split(' ').any(|keyword| keyword == name)
}

fn only_or(mut operands: Vec<Expression>, many: impl FnOnce(Vec<Expression>) -> Expression) -> Expression {
    match operands.pop() {
        Some(only) if operands.is_empty() => only,
        last => {
            operands.extend(last);
            many(operands)
        }
    }
}
