//! The words of a server about the server behind it, which it would have to ask: the header `Proxy-Status` (RFC 9209), as site
//! servers of this program send and read it.

use super::error::RemoteErrorKind;

/// The name of the header, in lower case.
pub(crate) const PROXY_STATUS: &str = "proxy-status";

/// The name of this server in the header. Caches on the way may add members of their own behind it.
const NAME: &str = "crds-fs";

/// The most letters of the details.
const MAX_DETAILS: usize = 400;

/// The trouble with the server behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It cannot be reached, or is not asked on purpose.
    Unreachable,
    /// It does not answer in time.
    Silent,
    /// It refuses, fails, or sends what cannot be right.
    Failing,
}

impl Behind {
    const ALL: [Self; 3] = [Self::Unreachable, Self::Silent, Self::Failing];

    /// The trouble as the RFC calls it.
    const fn token(self) -> &'static str {
        match self {
            Self::Unreachable => "destination_unavailable",
            Self::Silent => "http_response_timeout",
            Self::Failing => "http_protocol_error",
        }
    }

    /// The kind of failure that the client of this server gets.
    pub(super) const fn kind(self) -> RemoteErrorKind {
        match self {
            Self::Unreachable => RemoteErrorKind::Unreachable,
            Self::Silent => RemoteErrorKind::TimedOut,
            Self::Failing => RemoteErrorKind::Server,
        }
    }

    /// The trouble in words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Unreachable => "the server cannot reach the one behind it",
            Self::Silent => "the server behind it does not answer in time",
            Self::Failing => "the server behind it fails",
        }
    }

    /// The value of the header, with details for people. Letters that have no place in it become `?`.
    pub(crate) fn to_header(self, details: &str) -> String {
        let plain = |letter: char| match letter {
            '"' | '\\' => ['\\', letter],
            ' '..='~' => ['\0', letter],
            _ => ['\0', '?'],
        };
        let details: String = details
            .chars()
            .take(MAX_DETAILS)
            .flat_map(plain)
            .filter(|letter| *letter != '\0')
            .collect();
        format!("{NAME}; error={}; details=\"{details}\"", self.token())
    }

    /// The trouble that a header tells, and the details; `None` if it is not one of this program's.
    pub(super) fn read(header: &str) -> Option<(Self, String)> {
        let parameters = header.trim_start().strip_prefix(NAME)?.trim_start();
        let error = parameters
            .strip_prefix(';')?
            .trim_start()
            .strip_prefix("error=")?;
        let (token, rest) = error.split_at(error.find([';', ',', ' ']).unwrap_or(error.len()));
        let behind = Self::ALL.into_iter().find(|behind| behind.token() == token)?;
        let quoted = rest.strip_prefix("; details=\"").unwrap_or_default();
        Some((behind, unquoted(quoted)))
    }
}

/// The text before the closing quotation mark.
fn unquoted(text: &str) -> String {
    let mut letters = text.chars();
    let mut found = String::new();
    while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
        match letter {
            '\\' => found.extend(letters.next()),
            _ => found.push(letter),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for behind in Behind::ALL {
            let header = behind.to_header(r#"a "b" \ c; d, e"#);
            assert_eq!(
                Behind::read(&header),
                Some((behind, r#"a "b" \ c; d, e"#.to_owned()))
            );
            let more = format!("{header}, squid; error=connection_refused");
            assert_eq!(Behind::read(&more), Behind::read(&header));
        }
        assert_eq!(
            Behind::Silent.to_header("é\n"),
            "crds-fs; error=http_response_timeout; details=\"??\""
        );
        let long = Behind::Silent.to_header(&"x".repeat(10_000));
        assert!(long.len() < 500);
    }

    #[test]
    fn others_are_not_meant() {
        for header in [
            "",
            "crds-fs",
            "crds-fs; received-status=500",
            "crds-fs; error=dns_error",
            "crds-fsx; error=destination_unavailable",
            "nginx; error=destination_unavailable",
        ] {
            assert_eq!(Behind::read(header), None, "{header}");
        }
        assert_eq!(
            Behind::read("crds-fs;error=destination_unavailable"),
            Some((Behind::Unreachable, String::new()))
        );
        // An end that is missing ends it too.
        let cut = "crds-fs; error=destination_unavailable; details=\"a\\";
        assert_eq!(Behind::read(cut), Some((Behind::Unreachable, "a".to_owned())));
    }
}
