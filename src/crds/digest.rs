//! SHA-1 sums as the catalog gives them: forty lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

/// A SHA-1 digest of a whole file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sha1Sum([u8; 20]);

/// The text is not forty hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a SHA-1 sum (forty hexadecimal digits)")]
pub(crate) struct DigestError(String);

impl Sha1Sum {
    /// The digest made of these bytes.
    pub(crate) const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Sha1Sum {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let wrong = || DigestError(text.chars().take(64).collect());
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return Err(wrong());
        }
        let nibble = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        };
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])
                .zip(nibble(pair[1]))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(wrong)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha1Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha1Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Sha1Sum({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let text = "3f0c92aae539cb67f8e8823cc6815130018948f7";
        assert_eq!(text.parse::<Sha1Sum>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Sha1Sum>().unwrap().to_string(), text);
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "none",
            "3f0c",
            "+f0c92aae539cb67f8e8823cc6815130018948f7",
            "é".repeat(20).as_str(),
        ] {
            assert!(text.parse::<Sha1Sum>().is_err(), "{text}");
        }
    }
}
