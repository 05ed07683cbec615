//! JSON datasets: one object, flattened.

use std::borrow::Cow;
use std::io::{Read, Seek};

use serde_json::Value as Json;

use crate::crds::literal::float_text;

use super::error::Trouble;
use super::flatten::{self, Tree, Value};
use super::source::Source;

/// The longest file that is read.
const MAX_FILE: u64 = 64 << 20;

/// Reads the whole file into (name, text) pairs.
pub(super) fn read<R: Read + Seek>(source: &mut Source<R>) -> Result<Vec<(String, String)>, Trouble> {
    let bytes = source.rest(MAX_FILE)?;
    let json: Json = serde_json::from_slice(&bytes).map_err(|error| Trouble::malformed(error.to_string()))?;
    flatten::flatten(&JsonTree(std::marker::PhantomData), &json)
}

struct JsonTree<'a>(std::marker::PhantomData<&'a Json>);

impl<'j> Tree for JsonTree<'j> {
    type Id = &'j Json;

    fn value(&self, json: &'j Json) -> Result<Value<'_, &'j Json>, Trouble> {
        Ok(match json {
            Json::Null => Value::Opaque("NoneType".into()),
            Json::Bool(true) => Value::Text("True".into()),
            Json::Bool(false) => Value::Text("False".into()),
            Json::Number(number) if number.is_f64() => {
                Value::Text(number.as_f64().map(float_text).unwrap_or_default().into())
            }
            Json::Number(number) => Value::Text(number.to_string().into()),
            Json::String(text) => Value::Text(text.into()),
            Json::Array(items) => Value::Sequence(items.iter().collect()),
            Json::Object(pairs) => Value::Mapping(
                pairs.iter().map(|(key, value)| (Cow::from(key), value)).collect(),
                "dict",
            ),
        })
    }
}
