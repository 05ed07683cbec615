//! Complex numbers, the one kind of value in headers that no rule knows, as Python prints them.

use std::sync::LazyLock;

use regex::Regex;

use crate::crds::literal::float_text;

/// A complex number as Python's `str`.
pub(super) fn complex_text(real: f64, imaginary: f64) -> String {
    let part = |number: f64| {
        let text = float_text(number);
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    };
    if real == 0.0 && real.is_sign_positive() {
        return format!("{}j", part(imaginary));
    }
    let sign = if imaginary.is_sign_negative() { "" } else { "+" };
    format!("({}{sign}{}j)", part(real), part(imaginary))
}

/// Reads a complex number (`1+2j`, `(1+2i)`, `2J`, `1.5`) and prints it as Python's `str` does.
pub(super) fn read_complex(text: &str) -> Option<String> {
    static COMPLEX: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let number = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf|nan";
        Regex::new(&format!(
            "^(?:([-+]?(?:{number})))?(?:([-+]?(?:{number}))[ijIJ])?$"
        ))
        .ok()
    });
    let text = text.trim();
    let text = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(text);
    let found = COMPLEX.as_ref()?.captures(text)?;
    let part = |index| {
        found
            .get(index)
            .and_then(|part| part.as_str().parse::<f64>().ok())
    };
    match (part(1), part(2)) {
        (None, None) => None,
        (real, imaginary) => Some(complex_text(real.unwrap_or(0.0), imaginary.unwrap_or(0.0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complex_numbers() {
        for (text, shown) in [
            ("1+2j", "(1+2j)"),
            ("(1.5-2e20i)", "(1.5-2e+20j)"),
            ("2J", "2j"),
            ("3", "(3+0j)"),
        ] {
            assert_eq!(read_complex(text).as_deref(), Some(shown));
        }
        assert_eq!(read_complex("1+2"), None);
    }
}
