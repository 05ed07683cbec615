//! One line of `--headers`: a JSON object with the header of a dataset.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::rules::{Header, HeaderValue};

/// A dataset to look up.
#[derive(Deserialize)]
pub(super) struct Record<'a> {
    /// The caller's name for it, given back as it came.
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    /// Its header, in order.
    pub(super) header: Parameters,
    /// The context, if it has one of its own.
    #[serde(borrow)]
    pub(super) context: Option<Cow<'a, str>>,
    /// The types asked for, if it has some of its own.
    pub(super) reftypes: Option<Vec<String>>,
}

impl<'a> Record<'a> {
    /// Reads a line. The error is the reason why it is no record.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, String> {
        // An array of the same values would do as well, were it not for this.
        if line.first() != Some(&b'{') {
            return Err("expected an object {\"id\": ..., \"header\": {...}}".to_owned());
        }
        serde_json::from_slice(line).map_err(|error| {
            // Each line is read by itself, so only the column of a position has a meaning.
            let (column, mut text) = (error.column(), error.to_string());
            let position = format!(" at line {} column {column}", error.line());
            text.truncate(text.strip_suffix(&position).map_or(text.len(), str::len));
            format!("column {column}: {text}")
        })
    }
}

/// A header from JSON. Numbers are what JSON says: `2` is an integer, `2.0` a float.
pub(super) struct Parameters(pub(super) Header);

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of parameters")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Header, A::Error> {
                let mut header = Header::new();
                while let Some((name, Parameter(value))) = entries.next_entry::<String, Parameter>()? {
                    header.push(name, value);
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries).map(Self)
    }
}

struct Parameter(HeaderValue);

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = HeaderValue;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the value of a parameter")
            }
            fn visit_str<E>(self, text: &str) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Text(text))
            }
            fn visit_i64<E>(self, number: i64) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Int(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<HeaderValue, E> {
                // Beyond 63 bits the digits say the same.
                Ok(i64::try_from(number)
                    .map_or_else(|_| HeaderValue::Text(number.to_string()), HeaderValue::Int))
            }
            fn visit_f64<E>(self, number: f64) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Float(number))
            }
            fn visit_bool<E>(self, truth: bool) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Bool(truth))
            }
            fn visit_unit<E>(self) -> Result<HeaderValue, E> {
                Ok(HeaderValue::None)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<HeaderValue, A::Error> {
                let items = serde::de::value::SeqAccessDeserializer::new(items);
                Ok((&serde_json::Value::deserialize(items)?).into())
            }
            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<HeaderValue, A::Error> {
                let entries = serde::de::value::MapAccessDeserializer::new(entries);
                Ok((&serde_json::Value::deserialize(entries)?).into())
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_json_says_and_in_order() {
        let line = r#"{"level": "pmap", "id": [1, "x"], "context": "hst.pmap", "reftypes": ["darkfile"],
            "header": {"B": 2, "A": 2.0, "C": "x", "D": true, "E": null, "F": 18446744073709551615, "G": 0.1, "H": [1]}}"#;
        let record: Record<'_> = serde_json::from_str(line).unwrap();
        assert_eq!(record.id.unwrap().get(), r#"[1, "x"]"#);
        assert_eq!(record.context.as_deref(), Some("hst.pmap"));
        assert_eq!(record.reftypes, Some(vec!["darkfile".to_owned()]));
        let texts: Vec<String> = record
            .header
            .0
            .iter()
            .map(|(name, value)| format!("{name}={}", value.text()))
            .collect();
        assert_eq!(
            texts,
            [
                "B=2",
                "A=2.0",
                "C=x",
                "D=True",
                "E=None",
                "F=18446744073709551615",
                "G=0.1",
                "H=[1]"
            ]
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        for (line, text) in [
            ("{\"id\": 1}", "column 9: missing field `header`"),
            (
                "{\"header\": []}",
                "invalid type: sequence, expected an object of parameters",
            ),
            (
                "[1, {}, null, null]",
                "expected an object {\"id\": ..., \"header\": {...}}",
            ),
            ("{\"header\": {\"A", "column 14: EOF while parsing a string"),
        ] {
            let error = Record::read(line.as_bytes()).err().unwrap();
            assert!(error.ends_with(text), "{error}");
        }
        assert!(Record::read(b"{\"header\": {}, \"reftypes\": null}").is_ok());
    }
}
