//! JSON from the outside, read into trees of values of limited size: a few bytes of text make many bytes of tree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most memory that a tree of values may take, in bytes: more than a hundred times what today's answers take.
pub(crate) const MAX_TREE: usize = 96 << 20;

/// The memory of a value by itself, and the memory that it takes more as the entry of an object.
const VALUE: usize = size_of::<Value>();
const ENTRY: usize = VALUE + 64;

/// Memory that may still be taken.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    pub(crate) fn spend<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(E::custom(format!(
                "as values it takes more than {} bytes of memory",
                self.limit
            ))),
        }
    }
}

/// Reads a JSON text into a tree that takes no more than `limit` bytes.
pub(crate) fn parse(text: &[u8], limit: usize) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Tree(&mut Budget::new(limit)).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads one value within a budget.
struct Tree<'a>(&'a mut Budget);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.0.spend(text.len())?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Tree(&mut *self.0))? {
            // A growing list may have twice the room that it needs.
            self.0.spend(2 * VALUE)?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.0.spend(2 * ENTRY + key.len())?;
            let value = entries.next_value_seed(Tree(&mut *self.0))?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn many_values_in_few_bytes_are_refused() {
        for piece in ["[]", "0", "{}", r#"{"":0}"#, r#""""#, "[[[[0]]]]"] {
            let text = format!("[{}0]", format!("{piece},").repeat(100_000));
            let error = parse(text.as_bytes(), 1 << 20).unwrap_err().to_string();
            assert!(error.contains("more than 1048576 bytes"), "{piece}: {error}");
            assert!(parse(text.as_bytes(), 1 << 30).is_ok(), "{piece}");
        }
        let deep = "[".repeat(100_000);
        assert!(
            parse(deep.as_bytes(), 1 << 30)
                .unwrap_err()
                .to_string()
                .contains("recursion")
        );
    }

    proptest! {
        #[test]
        fn what_fits_is_read_as_ever(text in r#"[\[\]{}",:0-9a-z .-]{0,40}"#) {
            let plain = serde_json::from_str::<Value>(&text).ok();
            prop_assert_eq!(parse(text.as_bytes(), 1 << 20).ok(), plain);
        }
    }

    #[test]
    fn every_kind_of_value() {
        let text = r#"{"a": [null, true, -1, 18446744073709551615, 1.5, "x\n"], "b": {"c": {}}, "a": 2}"#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes(), MAX_TREE).unwrap(), plain);
    }
}
