//! The `Range` header (RFC 9110, section 14), pure.

/// The bytes of a file to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: no range was asked for, or one that this server does not understand.
    Whole,
    /// `length` bytes from `start`; never none.
    Part { start: u64, length: u64 },
    /// A range that lies outside of the file.
    Unsatisfiable,
}

impl Wanted {
    /// Understands a `Range` header for a file of `size` bytes. Several ranges in one header are answered with the whole
    /// file, as the standard allows.
    pub(super) fn parse(header: Option<&str>, size: u64) -> Self {
        let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
            return Self::Whole;
        };
        let Some((first, last)) = range.trim().split_once('-') else {
            return Self::Whole;
        };
        let (start, end) = match (first.trim(), last.trim()) {
            ("", suffix) => {
                let Some(suffix) = number(suffix) else {
                    return Self::Whole;
                };
                (size.saturating_sub(suffix), size)
            }
            (first, "") => {
                let Some(first) = number(first) else {
                    return Self::Whole;
                };
                (first, size)
            }
            (first, last) => {
                let (Some(first), Some(last)) = (number(first), number(last)) else {
                    return Self::Whole;
                };
                if last < first {
                    return Self::Whole;
                }
                (first, last.saturating_add(1).min(size))
            }
        };
        if start < end {
            Self::Part {
                start,
                length: end - start,
            }
        } else {
            Self::Unsatisfiable
        }
    }
}

/// Digits only: `+5` is not a number here.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(start: u64, length: u64) -> Wanted {
        Wanted::Part { start, length }
    }

    #[test]
    fn understands_one_range() {
        for (header, wanted) in [
            ("bytes=0-99", part(0, 100)),
            ("bytes=0-100000", part(0, 1000)),
            ("bytes=999-", part(999, 1)),
            ("bytes=-1", part(999, 1)),
            ("bytes=-5000", part(0, 1000)),
            ("bytes=0-18446744073709551615", part(0, 1000)),
            ("bytes=1000-", Wanted::Unsatisfiable),
            ("bytes=1000-1001", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
        ] {
            assert_eq!(Wanted::parse(Some(header), 1000), wanted, "{header}");
        }
    }

    #[test]
    fn answers_the_rest_with_the_whole_file() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=0-1,5-6",
            "lines=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(Wanted::parse(Some(header), 1000), Wanted::Whole, "{header}");
        }
        assert_eq!(Wanted::parse(None, 1000), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn parts_lie_within_the_file(header in "bytes=[0-9]{0,20}-[0-9]{0,20}", size: u64) {
            if let Wanted::Part { start, length } = Wanted::parse(Some(&header), size) {
                prop_assert!(length > 0);
                prop_assert!(start.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }
}
