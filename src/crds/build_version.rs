//! Versions of calibration software, which build contexts belong to.

use std::fmt;
use std::str::FromStr;

use super::name::NameError;

/// The version of a release of calibration software: two to four numbers, as in `1.18.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildVersion {
    numbers: [u32; 4],
    count: u8,
}

impl FromStr for BuildVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::new(text, "the version of a release (digits and dots, as in 1.18.0)");
        let mut version = Self {
            numbers: [0; 4],
            count: 0,
        };
        for part in text.split('.') {
            let place = version
                .numbers
                .get_mut(usize::from(version.count))
                .ok_or_else(wrong)?;
            let is_number = (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            *place = part.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
            version.count += 1;
        }
        // The text must be the canonical one: the server is asked for the printed form.
        if version.count < 2 || version.to_string() != text {
            return Err(wrong());
        }
        Ok(version)
    }
}

impl fmt::Display for BuildVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.numbers.iter().take(usize::from(self.count));
        for (place, number) in numbers.enumerate() {
            let dot = if place == 0 { "" } else { "." };
            write!(out, "{dot}{number}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_nothing_else_is() {
        for text in ["1.18.0", "0.17", "2026.1.0.3"] {
            assert_eq!(text.parse::<BuildVersion>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "1",
            "1.",
            "1..2",
            "1.18.0.dev5",
            "1.2.3.4.5",
            "1.018",
            "1.99999999999",
            "v1.0",
        ] {
            assert!(text.parse::<BuildVersion>().is_err(), "{text}");
        }
    }
}
