//! A rate on the command line: bits a second.

use std::str::FromStr;

/// Bits a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(f64);

impl Rate {
    /// Bytes a second.
    pub(crate) fn bytes(self) -> f64 {
        self.0 / 8.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches(['K', 'M', 'G', 'T']);
        let unit = match &text[number.len()..] {
            "" => 1.0,
            "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            _ => return Err("a rate is a number of bits a second with K, M, G or T: 10G".to_owned()),
        };
        match number.parse::<f64>() {
            Ok(number) if number > 0.0 && number.is_finite() => Ok(Self(number * unit)),
            _ => Err("a rate is a number of bits a second with K, M, G or T: 10G".to_owned()),
        }
    }
}
