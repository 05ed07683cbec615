//! Writing of literals.

use std::fmt::Write as _;

use super::{Value, float_text};

/// Writes the value in pure ASCII, so that Python's `ast.literal_eval` reads the same value whatever the encoding it
/// assumes. The entries of an outermost dict stand on lines of their own.
///
/// A NaN, which has no literal, is written as `None`.
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    if let Value::Dict(pairs) = value {
        write_dict(&mut text, pairs, ",\n ");
    } else {
        write_value(&mut text, value);
    }
    text
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::None => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::BigInt(digits) => text.push_str(digits),
        Value::Float(number) => write_float(text, *number),
        Value::Str(string) => write_string(text, string),
        Value::List(items) => {
            text.push('[');
            write_items(text, items);
            text.push(']');
        }
        Value::Tuple(items) => {
            text.push('(');
            write_items(text, items);
            text.push_str(if items.len() == 1 { ",)" } else { ")" });
        }
        Value::Dict(pairs) => write_dict(text, pairs, ", "),
    }
}

fn write_items(text: &mut String, items: &[Value]) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        write_value(text, item);
    }
}

fn write_dict(text: &mut String, pairs: &[(Value, Value)], separator: &str) {
    text.push('{');
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        write_value(text, key);
        text.push_str(": ");
        write_value(text, value);
    }
    text.push('}');
}

fn write_float(text: &mut String, number: f64) {
    if number.is_nan() {
        text.push_str("None");
    } else if number.is_infinite() {
        // Python has no literal for infinity, but reads an overflow as one.
        text.push_str(if number > 0.0 { "1e999" } else { "-1e999" });
    } else {
        text.push_str(&float_text(number));
    }
}

fn write_string(text: &mut String, string: &str) {
    text.push('\'');
    for character in string.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\'' => text.push_str("\\'"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => text.push(character),
            _ => {
                let code = u32::from(character);
                // Writing to a string cannot fail.
                let _ = if code < 0x100 {
                    write!(text, "\\x{code:02x}")
                } else if code < 0x10000 {
                    write!(text, "\\u{code:04x}")
                } else {
                    write!(text, "\\U{code:08x}")
                };
            }
        }
    }
    text.push('\'');
}
