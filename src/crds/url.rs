//! URLs that show no credentials.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Serialize, Serializer};
use url::Url as Parsed;

/// The text that replaces a secret.
const HIDDEN: &str = "***";

/// The most bytes of a URL: a longer text is none. Signed URLs have two thousand.
const LONGEST: usize = 16 << 10;

/// The longest part of a text that is no URL that is shown, in characters.
const SHOWN: usize = 200;

/// The length from which on a secret is removed from messages; shorter texts are too common.
const TELLING: usize = 3;

/// The characters that are written with `%` in the path of a URL.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// A URL. However it is printed, logged or serialized, user name, password and the values of the query are left out;
/// only the code that makes the request asks for them ([`Url::with_credentials`]). Any text may be one: whether it is
/// valid shows where it is used. Clones are cheap.
#[derive(Clone)]
pub(crate) struct Url(Arc<Parts>);

struct Parts {
    shown: String,
    /// The whole text, where it is another one.
    secret: Option<String>,
    teller: Option<Teller>,
}

/// The server that a URL came from, which decides where it may lead.
#[derive(Clone)]
pub(crate) struct Teller {
    /// The server.
    pub server: Url,
    /// Whether the URL may only lead to the server's own host: there is no digest that could verify a file from another
    /// one.
    pub own_host_only: bool,
}

impl Url {
    /// The URL with this text.
    pub(crate) fn new(text: &str) -> Self {
        let text = text.trim();
        let shown = shown(text);
        let secret = (shown != text).then(|| text.to_owned());
        Self(Arc::new(Parts {
            shown,
            secret,
            teller: None,
        }))
    }

    /// The same URL, marked as one that came from a server.
    #[must_use]
    pub(crate) fn told_by(&self, teller: Teller) -> Self {
        Self(Arc::new(Parts {
            shown: self.0.shown.clone(),
            secret: self.0.secret.clone(),
            teller: Some(teller),
        }))
    }

    /// The server that it came from; `None` if it is the user's own.
    pub(crate) fn teller(&self) -> Option<&Teller> {
        self.0.teller.as_ref()
    }

    /// The text without credentials.
    pub(crate) fn as_str(&self) -> &str {
        &self.0.shown
    }

    /// The whole text, for the code that makes the request.
    pub(crate) fn with_credentials(&self) -> &str {
        self.0.secret.as_deref().unwrap_or(&self.0.shown)
    }

    /// Whether this is a shown text that was read again: its credentials are not known any more.
    pub(crate) fn has_lost_credentials(&self) -> bool {
        self.0.secret.is_none() && self.0.shown.contains(HIDDEN)
    }

    /// The scheme in lower case, if there is one.
    pub(crate) fn scheme(&self) -> Option<String> {
        Some(self.parsed()?.scheme().to_owned())
    }

    /// The host in lower case, if there is one.
    pub(crate) fn host(&self) -> Option<String> {
        self.parsed()?.host_str().map(str::to_owned)
    }

    pub(crate) fn parsed(&self) -> Option<Parsed> {
        parse(self.with_credentials())
    }

    /// The URL of the file `name` in this directory.
    #[must_use]
    pub(crate) fn below(&self, name: &str) -> Self {
        let text = self.with_credentials();
        let (path, rest) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
        let path = path.strip_suffix('/').unwrap_or(path);
        Self::new(&format!("{path}/{}{rest}", utf8_percent_encode(name, ESCAPED)))
    }

    /// The same URL with its fields filled in: each `{name}` becomes the value of `name`, escaped.
    #[must_use]
    pub(crate) fn filled(&self, fields: &[(&str, &str)]) -> Self {
        let text = fields
            .iter()
            .fold(self.with_credentials().to_owned(), |text, (name, value)| {
                let value = utf8_percent_encode(value, ESCAPED).to_string();
                text.replace(&format!("{{{name}}}"), &value)
            });
        Self::new(&text)
    }

    /// The same URL without the slashes at its end, and the blanks between and before them.
    #[must_use]
    pub(crate) fn without_slash(&self) -> Self {
        let text = self.with_credentials();
        let scheme = text.find("://").map_or(0, |at| at + "://".len());
        let (scheme, rest) = text.split_at(scheme);
        let rest = rest.trim_end_matches(|end: char| end == '/' || end.is_whitespace());
        if scheme.len() + rest.len() == text.len() {
            self.clone()
        } else {
            Self::new(&format!("{scheme}{rest}"))
        }
    }

    /// The same URL; with user name and password of `other`, if both lead to the same port of the same host and it has
    /// none of its own.
    #[must_use]
    pub(crate) fn credited_by(&self, other: &Self) -> Self {
        let (Some(mut own), Some(theirs)) = (self.parsed(), other.parsed()) else {
            return self.clone();
        };
        if own.origin() != theirs.origin() || !own.origin().is_tuple() || has_user(&own) || !has_user(&theirs)
        {
            return self.clone();
        }
        match own
            .set_username(theirs.username())
            .and_then(|()| own.set_password(theirs.password()))
        {
            Ok(()) => Self::new(own.as_str()),
            Err(()) => self.clone(),
        }
    }

    /// `text` without the credentials of this URL, which it may repeat.
    pub(crate) fn censor(&self, text: String) -> String {
        let Some(parsed) = self.0.secret.as_ref().and_then(|_| self.parsed()) else {
            return text;
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let mut secrets: Vec<String> = parsed
            .query_pairs()
            .map(|(_, value)| value.into_owned())
            .collect();
        secrets.extend(parsed.query().map(str::to_owned));
        if let Some(password) = parsed.password() {
            let both = format!("{}:{}", decoded(parsed.username()), decoded(password));
            secrets.extend([STANDARD.encode(both), decoded(password), password.to_owned()]);
        }
        secrets.retain(|secret| secret.len() >= TELLING);
        // The longest first: one may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
            .iter()
            .fold(text, |text, secret| text.replace(secret.as_str(), HIDDEN))
    }
}

fn parse(text: &str) -> Option<Parsed> {
    let short = (text.len() <= LONGEST).then_some(text)?;
    Parsed::parse(short).ok()
}

fn has_user(url: &Parsed) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// The text as it may be shown.
fn shown(text: &str) -> String {
    match parse(text) {
        Some(parsed) if parsed.has_host() || parsed.scheme() == "file" => shown_parsed(parsed, text),
        _ => shown_anything(text),
    }
}

fn shown_parsed(mut url: Parsed, text: &str) -> String {
    let secret = has_user(&url) || url.query().is_some() || url.fragment().is_some();
    if !secret && !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    if has_user(&url) && (url.set_username(HIDDEN).is_err() || url.set_password(None).is_err()) {
        return shown_anything(text);
    }
    let query = url.query().map(hide_values);
    url.set_query(query.as_deref());
    if url.fragment().is_some() {
        url.set_fragment(Some(HIDDEN));
    }
    url.into()
}

/// A query with names, but without values.
fn hide_values(query: &str) -> String {
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    });
    parts.collect::<Vec<_>>().join("&")
}

/// A text that is no URL, without secrets: it may have been meant as one, with a password in it.
fn shown_anything(text: &str) -> String {
    let (text, query) = match text.find(['?', '#']) {
        Some(at) => (&text[..at], HIDDEN),
        None => (text, ""),
    };
    let text = match text.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before
                .split_once("://")
                .map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
            format!("{scheme}{HIDDEN}@{host}")
        }
        None => text.to_owned(),
    };
    let visible = |letter: char| if letter.is_control() { '?' } else { letter };
    let text: String = text.chars().take(SHOWN).map(visible).collect();
    if query.is_empty() {
        text
    } else {
        format!("{text}?{query}")
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.as_str())
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for Url {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

impl From<&str> for Url {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&String> for Url {
    fn from(text: &String) -> Self {
        Self::new(text)
    }
}

impl From<&Self> for Url {
    fn from(url: &Self) -> Self {
        url.clone()
    }
}

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.with_credentials() == other.with_credentials()
    }
}

impl Eq for Url {}

/// As shown.
impl PartialEq<str> for Url {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

/// As shown.
impl PartialEq<&str> for Url {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        for (text, shown) in [
            ("https://a.b/c.fits", "https://a.b/c.fits"),
            ("https://Mirror/CRDS", "https://Mirror/CRDS"),
            ("https://me:s3cret@a.b/c", "https://***@a.b/c"),
            ("https://s3cret@a.b/c", "https://***@a.b/c"),
            (
                "https://a.b/c?X-Amz-Signature=s3cret&s3cret",
                "https://a.b/c?X-Amz-Signature=***&***",
            ),
            ("https://a.b/c#s3cret", "https://a.b/c#***"),
            // No URLs, but meant as such.
            ("htp//me:s3cret@a.b/c", "***@a.b/c"),
            ("http://me:pa/s3cret@a.b/c", "http://***@a.b/c"),
            ("me:s3cret@a.b", "***@a.b"),
            ("a.b/c?key=s3cret", "a.b/c?***"),
            ("no url\x1b[2J", "no url?[2J"),
        ] {
            let url = Url::new(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.with_credentials(), text);
            for printed in [format!("{url:?}"), serde_json::to_string(&url).unwrap()] {
                assert_eq!(printed, format!("{shown:?}"));
            }
            assert!(!url.has_lost_credentials(), "{text}");
            assert_eq!(
                Url::new(shown).has_lost_credentials(),
                shown.contains("***"),
                "{text}"
            );
        }
    }

    #[test]
    fn texts_without_end_are_no_urls() {
        let long = |length: usize| Url::new(&format!("http://a.b/{}?key=s3cret", "x".repeat(length)));
        assert!(long(10_000).parsed().is_some());
        let url = long(1 << 20);
        assert!(url.parsed().is_none());
        assert!(
            url.as_str().len() < 300 && !url.as_str().contains("s3cret"),
            "{url}"
        );
    }

    #[test]
    fn names_go_below_and_before_the_query() {
        for (base, below) in [
            ("https://a.b/c", "https://a.b/c/x%20y.fits"),
            ("https://a.b/c/", "https://a.b/c/x%20y.fits"),
            (
                "https://me:pw@a.b/c?sig=1",
                "https://me:pw@a.b/c/x%20y.fits?sig=1",
            ),
        ] {
            assert_eq!(Url::new(base).below("x y.fits").with_credentials(), below);
        }
    }

    #[test]
    fn credentials_stay_at_their_port() {
        let server = Url::new("http://me:pw@a.b:81/roman");
        for (told, used) in [
            ("http://a.b:81/x", "http://me:pw@a.b:81/x"),
            ("http://you:pp@a.b:81/x", "http://you:pp@a.b:81/x"),
            ("http://a.b:82/x", "http://a.b:82/x"),
            ("https://a.b:81/x", "https://a.b:81/x"),
            ("http://c.b:81/x", "http://c.b:81/x"),
        ] {
            assert_eq!(Url::new(told).credited_by(&server).with_credentials(), used);
        }
    }

    #[test]
    fn what_others_say_is_censored() {
        let url = Url::new("http://me:s3%20cret@a.b/roman?token=abcdef");
        let said = "no 's3 cret', s3%20cret, token=abcdef, abcdef or Basic bWU6czMgY3JldA== here".to_owned();
        assert_eq!(url.censor(said), "no '***', ***, ***, *** or Basic *** here");
        assert_eq!(Url::new("http://a.b/").censor("as it is".to_owned()), "as it is");
    }
}
