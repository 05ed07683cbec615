//! Expressions over header parameters: `rmap_relevance`, `rmap_omit`, `parkey_relevance` (spec/crds-rules 15).

mod builtins;
mod parser;

use std::cmp::Ordering;

use crate::rules::values::python::repr;

pub(crate) use parser::ExpressionError;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    Constant(Constant),
    /// A parameter's slot and the name for messages.
    Name(u16, Box<str>),
    Negative(Box<Expression>),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    /// Condition, value if true, value if false.
    If(Box<[Expression; 3]>),
    /// First operand, then operators with theirs.
    Comparison(Box<Expression>, Vec<(Operator, Expression)>),
    Tuple(Vec<Expression>),
    List(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Text(Box<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

impl Expression {
    /// Replaces a name by a constant.
    pub(crate) fn define(&mut self, name: &str, constant: &Constant) {
        match self {
            Self::Name(_, own) if **own == *name => *self = Self::Constant(constant.clone()),
            Self::Constant(_) | Self::Name(..) => {}
            Self::Negative(one) | Self::Not(one) => one.define(name, constant),
            Self::And(all) | Self::Or(all) | Self::Tuple(all) | Self::List(all) => {
                for one in all {
                    one.define(name, constant);
                }
            }
            Self::If(three) => three.iter_mut().for_each(|one| one.define(name, constant)),
            Self::Comparison(first, others) => {
                first.define(name, constant);
                for (_, one) in others {
                    one.define(name, constant);
                }
            }
            Self::Dict(pairs) => pairs.iter_mut().for_each(|(key, value)| {
                key.define(name, constant);
                value.define(name, constant);
            }),
        }
    }

    /// Adds the slots and names of the parameters in it.
    pub(crate) fn names<'e>(&'e self, names: &mut Vec<(u16, &'e str)>) {
        match self {
            Self::Constant(_) => {}
            Self::Name(slot, name) => names.push((*slot, name)),
            Self::Negative(one) | Self::Not(one) => one.names(names),
            Self::And(all) | Self::Or(all) | Self::Tuple(all) | Self::List(all) => {
                for one in all {
                    one.names(names);
                }
            }
            Self::If(three) => three.iter().for_each(|one| one.names(names)),
            Self::Comparison(first, others) => {
                first.names(names);
                for (_, one) in others {
                    one.names(names);
                }
            }
            Self::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
                key.names(names);
                value.names(names);
            }),
        }
    }

    /// Whether the expression is true, or the text of its failure. `lookup` gives the values of slots.
    pub(crate) fn is_true<'h>(&self, lookup: &impl Fn(u16) -> Option<&'h str>) -> Result<bool, String> {
        match self {
            Self::Not(operand) => Ok(!operand.is_true(lookup)?),
            Self::And(operands) => Ok(!any(operands, lookup, false)?),
            Self::Or(operands) => any(operands, lookup, true),
            _ => match self.compares_texts(lookup) {
                Some(truth) => Ok(truth),
                None => Ok(self.evaluate(lookup)?.is_true()),
            },
        }
    }

    /// The truth of the usual comparison: whether a parameter has a certain value.
    fn compares_texts<'h>(&self, lookup: &impl Fn(u16) -> Option<&'h str>) -> Option<bool> {
        let Self::Comparison(first, others) = self else {
            return None;
        };
        match (&**first, &others[..]) {
            (Self::Name(slot, _), [(Operator::Equal, Self::Constant(Constant::Text(text)))]) => {
                Some(*lookup(*slot)? == **text)
            }
            (Self::Name(slot, _), [(Operator::NotEqual, Self::Constant(Constant::Text(text)))]) => {
                Some(*lookup(*slot)? != **text)
            }
            _ => None,
        }
    }

    fn evaluate<'e, 'h: 'e>(&'e self, lookup: &impl Fn(u16) -> Option<&'h str>) -> Result<Value<'e>, String> {
        let all = |items: &'e [Self]| -> Result<Vec<Value<'e>>, String> {
            items.iter().map(|item| item.evaluate(lookup)).collect()
        };
        match self {
            Self::Constant(constant) => Ok(constant.value()),
            Self::Name(slot, name) => lookup(*slot)
                .map(Value::Text)
                .or_else(|| builtins::type_of(name).map(|kind| Value::Builtin(name, kind)))
                .ok_or_else(|| format!("name {} is not defined", repr(name))),
            Self::Negative(operand) => match operand.evaluate(lookup)? {
                Value::Int(number) => Ok(Value::Int(number.saturating_neg())),
                Value::Float(number) => Ok(Value::Float(-number)),
                Value::Bool(truth) => Ok(Value::Int(-i64::from(truth))),
                other => Err(format!("bad operand type for unary -: '{}'", other.type_name())),
            },
            Self::Not(operand) => Ok(Value::Bool(!operand.evaluate(lookup)?.is_true())),
            Self::And(operands) => until(operands, lookup, false),
            Self::Or(operands) => until(operands, lookup, true),
            Self::If(three) => {
                let [condition, yes, no] = &**three;
                let chosen = if condition.evaluate(lookup)?.is_true() {
                    yes
                } else {
                    no
                };
                chosen.evaluate(lookup)
            }
            Self::Comparison(first, others) => {
                let mut left = first.evaluate(lookup)?;
                for (operator, right) in others {
                    if let (Self::Tuple(items) | Self::List(items), Value::Text(text)) = (right, &left)
                        && let Some(found) = among_constants(text, items)
                        && matches!(operator, Operator::In | Operator::NotIn)
                    {
                        if found != (*operator == Operator::In) {
                            return Ok(Value::Bool(false));
                        }
                        left = Value::List(Vec::new());
                        continue;
                    }
                    let right = right.evaluate(lookup)?;
                    if !operator.holds(&left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Self::Tuple(items) => Ok(Value::Tuple(all(items)?)),
            Self::List(items) => Ok(Value::List(all(items)?)),
            Self::Dict(pairs) => {
                let keys = pairs.iter().map(|(key, value)| {
                    let key = key.evaluate(lookup)?;
                    value.evaluate(lookup)?;
                    Ok(key)
                });
                Ok(Value::Dict(keys.collect::<Result<_, String>>()?))
            }
        }
    }
}

/// Whether a text is in a list of constant texts; nothing for other lists. Chained comparisons cannot see the list
/// itself, so it need not be built.
fn among_constants(text: &str, items: &[Expression]) -> Option<bool> {
    let mut found = false;
    for item in items {
        match item {
            Expression::Constant(Constant::Text(item)) => found |= **item == *text,
            _ => return None,
        }
    }
    Some(found)
}

/// Whether the truth of an operand is `wanted`; those behind it are not looked at.
fn any<'h>(
    operands: &[Expression],
    lookup: &impl Fn(u16) -> Option<&'h str>,
    wanted: bool,
) -> Result<bool, String> {
    for operand in operands {
        if operand.is_true(lookup)? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first operand whose truth is `wanted`, else the last one.
fn until<'e, 'h: 'e>(
    operands: &'e [Expression],
    lookup: &impl Fn(u16) -> Option<&'h str>,
    wanted: bool,
) -> Result<Value<'e>, String> {
    let mut last = Value::None;
    for operand in operands {
        last = operand.evaluate(lookup)?;
        if last.is_true() == wanted {
            break;
        }
    }
    Ok(last)
}

/// A value while an expression is evaluated.
#[derive(Debug, Clone)]
enum Value<'e> {
    Text(&'e str),
    Int(i64),
    Float(f64),
    Bool(bool),
    None,
    Tuple(Vec<Value<'e>>),
    List(Vec<Value<'e>>),
    /// The keys only.
    Dict(Vec<Value<'e>>),
    /// A name that Python itself defines, and the name of its type.
    Builtin(&'e str, &'static str),
}

impl Constant {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Int(number) => Value::Int(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::None => Value::None,
        }
    }
}

impl Value<'_> {
    fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Bool(truth) => *truth,
            Self::None => false,
            Self::Builtin(..) => true,
            Self::Tuple(items) | Self::List(items) | Self::Dict(items) => !items.is_empty(),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "str",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::None => "NoneType",
            Self::Tuple(_) => "tuple",
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
            Self::Builtin(_, kind) => kind,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "long integers are compared as floats")]
    fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(truth) => Some(f64::from(u8::from(*truth))),
            _ => None,
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) | (Self::Builtin(one, _), Self::Builtin(two, _)) => one == two,
            (Self::None, Self::None) => true,
            (Self::Tuple(one), Self::Tuple(two)) | (Self::List(one), Self::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.equals(two))
            }
            _ => self.number().is_some() && self.number() == other.number(),
        }
    }

    /// The order of two values; nothing if neither is greater and they are not equal (NaN), `Err` if Python has none.
    fn compare(&self, other: &Self, operator: &str) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) => return Ok(Some(one.cmp(two))),
            (Self::Tuple(one), Self::Tuple(two)) | (Self::List(one), Self::List(two)) => {
                for (one, two) in one.iter().zip(two) {
                    if !one.equals(two) {
                        return one.compare(two, operator);
                    }
                }
                return Ok(Some(one.len().cmp(&two.len())));
            }
            _ => {}
        }
        if let (Some(one), Some(two)) = (self.number(), other.number()) {
            return Ok(one.partial_cmp(&two));
        }
        let (one, two) = (self.type_name(), other.type_name());
        Err(format!(
            "'{operator}' not supported between instances of '{one}' and '{two}'"
        ))
    }

    fn is_in(&self, container: &Self) -> Result<bool, String> {
        match (container, self) {
            (Self::Text(text), Self::Text(part)) => Ok(text.contains(part)),
            (Self::Text(_), other) => Err(format!(
                "'in <string>' requires string as left operand, not {}",
                other.type_name()
            )),
            (Self::Tuple(items) | Self::List(items), _) => Ok(items.iter().any(|item| item.equals(self))),
            (Self::Dict(_), Self::List(_) | Self::Dict(_)) => {
                Err(format!("unhashable type: '{}'", self.type_name()))
            }
            (Self::Dict(keys), _) => Ok(keys.iter().any(|key| key.equals(self))),
            (other, _) => Err(format!(
                "argument of type '{}' is not iterable",
                other.type_name()
            )),
        }
    }
}

impl Operator {
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> Result<bool, String> {
        match self {
            Self::Equal => Ok(left.equals(right)),
            Self::NotEqual => Ok(!left.equals(right)),
            Self::In => left.is_in(right),
            Self::NotIn => Ok(!left.is_in(right)?),
            Self::Less => Ok(left.compare(right, "<")?.is_some_and(Ordering::is_lt)),
            Self::LessEqual => Ok(left.compare(right, "<=")?.is_some_and(Ordering::is_le)),
            Self::Greater => Ok(left.compare(right, ">")?.is_some_and(Ordering::is_gt)),
            Self::GreaterEqual => Ok(left.compare(right, ">=")?.is_some_and(Ordering::is_ge)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::slots::Slots;

    fn evaluate(source: &str) -> Result<bool, String> {
        let mut slots = Slots::default();
        let expression = Expression::parse(source, &mut slots).unwrap();
        let slots = slots.finish();
        expression.is_true(&|slot| match &*slots[usize::from(slot)].name {
            "DETECTOR" => Some("WFC"),
            "GAIN" => Some("2.0"),
            "EMPTY" => Some(""),
            _ => None,
        })
    }

    #[test]
    fn expressions_are_python() {
        for (source, truth) in [
            ("DETECTOR == \"WFC\"", true),
            ("(DETECTOR != 'WFC') or GAIN in ['1.0', '2.0']", true),
            ("GAIN not in ('2.0',) and NOSUCH == 1", false),
            ("not EMPTY", true),
            ("DETECTOR", true),
            ("'F' in DETECTOR", true),
            ("GAIN == 2.0", false),
            ("'A' < DETECTOR <= 'Z'", true),
            ("1 == 1.0 == True", true),
            ("-1 < 0", true),
            ("'x' if EMPTY else ''", false),
            ("'a' in {'a': 1}", true),
            ("(1, 'a') == (1, 'a')", true),
            ("[] or None or ()", false),
            ("1if DETECTOR else 0", true),
            ("type == 'X' or filter != 'X' and len", true),
        ] {
            assert_eq!(evaluate(source), Ok(truth), "{source}");
        }
    }

    #[test]
    fn failures_have_pythons_words() {
        for (source, message) in [
            ("NOSUCH == 'A'", "name 'NOSUCH' is not defined"),
            (
                "GAIN < 2",
                "'<' not supported between instances of 'str' and 'int'",
            ),
            ("GAIN in 2", "argument of type 'int' is not iterable"),
            (
                "2 in GAIN",
                "'in <string>' requires string as left operand, not int",
            ),
            ("'A' in filter", "argument of type 'type' is not iterable"),
            (
                "len < 'A'",
                "'<' not supported between instances of 'builtin_function_or_method' and 'str'",
            ),
        ] {
            assert_eq!(evaluate(source).unwrap_err(), message);
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        let parse = |source: &str| Expression::parse(source, &mut Slots::default());
        for source in [
            "A.B == 'x'",
            "len(A)",
            "A[0]",
            "A + B",
            "A is None",
            "lambda: 1",
            "(yield)",
        ] {
            assert!(
                matches!(parse(source), Err(ExpressionError::Forbidden(_))),
                "{source}"
            );
        }
        let words = |source: &str| match parse(source) {
            Err(ExpressionError::Forbidden(words)) => words,
            other => panic!("{source}: {other:?}"),
        };
        assert_eq!(
            words("A = 'B'"),
            "Only define 'header' or 'selector' or 'comment' sections at line 1"
        );
        assert_eq!(
            words("(A or\nlen(B))"),
            "Selector 'len' is not one of supported Selectors: ['Bracket', 'ClosestTime', 'GeometricallyNearest', \
             'Match', 'SelectVersion', 'UseAfter', 'VersionAfter'] at line 2"
        );
        assert!(words("Match({})").starts_with("'(' is not allowed here"));
        assert_eq!(parse("(A x= 'B')"), Err(ExpressionError::ForgottenComma));
        for source in [
            "",
            "A ==",
            "A x= 'B'",
            "A = ",
            "class == 'B'",
            "A or pass",
            "header = 'B'",
            "(A",
            "A B",
            "not",
            &"(".repeat(10_000),
            &"not ".repeat(10_000),
        ] {
            assert!(
                matches!(parse(source), Err(ExpressionError::Syntax(_))),
                "{source}"
            );
        }
    }
}
