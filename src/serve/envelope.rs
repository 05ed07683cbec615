//! The JSON-RPC 1.0 envelope: requests in, results and error objects out (spec/crds-service 1.1).

use std::borrow::Cow;
use std::fmt::Display;
use std::iter;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::crds::{Observatory, json};

/// A call, taken out of its envelope.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) id: Value,
    pub(super) params: Params,
}

/// Positional parameters.
#[derive(Debug)]
pub(super) struct Params(Vec<Value>);

/// An error as the servers tell it: the name of its class and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RpcError {
    name: Cow<'static, str>,
    message: String,
    is_no_contact: bool,
}

/// A result, or the error that is told.
pub(super) type MethodResult = Result<Value, RpcError>;

impl RpcError {
    pub(super) fn new(name: &'static str, message: impl Display) -> Self {
        Self {
            name: Cow::Borrowed(name),
            message: message.to_string(),
            is_no_contact: false,
        }
    }

    /// The error that another server has told: `Class: text`.
    pub(super) fn told(text: &str) -> Self {
        let is_class = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match text.split_once(": ").filter(|(name, _)| is_class(name)) {
            Some((name, message)) => Self {
                name: Cow::Owned(name.to_owned()),
                ..Self::other(message)
            },
            None => Self::other(text),
        }
    }

    /// Upstream would have to be asked, and cannot be.
    pub(super) fn no_contact(message: impl Display) -> Self {
        Self {
            is_no_contact: true,
            ..Self::new("UpstreamError", message)
        }
    }

    /// Whether it only says that upstream cannot be asked.
    pub(super) fn is_no_contact(&self) -> bool {
        self.is_no_contact
    }

    /// The message, without the class.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The class that the servers use for errors without a class of their own.
    pub(super) fn other(message: impl Display) -> Self {
        Self::new("OtherError", message)
    }
}

impl Call {
    /// Reads a request; the error is for the caller, with the `id` if there is one.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Box<(Value, RpcError)>> {
        let unusable = |message: String| Box::new((Value::Null, RpcError::new("ParseError", message)));
        let request = json::parse(body, json::MAX_TREE)
            .map_err(|error| unusable(format!("the request cannot be read as JSON: {error}")))?;
        let Value::Object(mut request) = request else {
            return Err(unusable("the request is not an object".to_owned()));
        };
        let id = request.remove("id").unwrap_or(Value::Null);
        let Some(Value::String(method)) = request.remove("method") else {
            let error = RpcError::new("InvalidRequestError", "the request names no method");
            return Err(Box::new((id, error)));
        };
        match request.remove("params") {
            Some(Value::Array(params)) => Ok(Self {
                method,
                id,
                params: Params(params),
            }),
            None | Some(Value::Null) => Ok(Self {
                method,
                id,
                params: Params(Vec::new()),
            }),
            Some(_) => {
                let error = RpcError::new("InvalidParamsError", "params is not an array");
                Err(Box::new((id, error)))
            }
        }
    }
}

/// The reply's body.
pub(super) fn reply(id: &Value, answer: MethodResult) -> Value {
    let (error, result) = match answer {
        Ok(result) => (Value::Null, result),
        Err(error) => {
            let message = format!("{}: {}", error.name, escape(&error.message));
            let error = json!({"name": error.name, "code": 500, "message": message, "data": null});
            (error, Value::Null)
        }
    };
    // The result may be large: it is moved.
    let fields = [
        ("error", error),
        ("jsonrpc", "1.0".into()),
        ("id", id.clone()),
        ("result", result),
    ];
    Value::Object(
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect(),
    )
}

/// The parts of a reply's body, of those of its result.
pub(super) fn reply_in_parts<P: Iterator<Item = Bytes>>(
    id: &Value,
    result: P,
) -> impl Iterator<Item = Bytes> + use<P> {
    let begin = format!(r#"{{"error":null,"jsonrpc":"1.0","id":{id},"result":"#);
    let end = Bytes::from_static(b"}");
    iter::once(begin.into()).chain(result).chain(iter::once(end))
}

/// The servers escape their texts for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

impl Params {
    /// All of them.
    pub(super) fn to_json(&self) -> Value {
        Value::Array(self.0.clone())
    }

    /// A parameter as it came.
    pub(super) fn value(&self, index: usize) -> &Value {
        self.at(index)
    }

    /// A parameter; one that was left out is null.
    fn at(&self, index: usize) -> &Value {
        self.0.get(index).unwrap_or(&Value::Null)
    }

    /// A text.
    pub(super) fn text(&self, index: usize, what: &str) -> Result<&str, RpcError> {
        self.optional_text(index, what)?
            .ok_or_else(|| invalid(what, "a string"))
    }

    /// A text or null.
    pub(super) fn optional_text(&self, index: usize, what: &str) -> Result<Option<&str>, RpcError> {
        match self.at(index) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(invalid(what, "a string")),
        }
    }

    /// An array of texts.
    pub(super) fn texts(&self, index: usize, what: &str) -> Result<Vec<&str>, RpcError> {
        self.optional_texts(index, what)?
            .ok_or_else(|| invalid(what, "an array of strings"))
    }

    /// An array of texts or null.
    pub(super) fn optional_texts(&self, index: usize, what: &str) -> Result<Option<Vec<&str>>, RpcError> {
        match self.at(index) {
            Value::Null => Ok(None),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().ok_or_else(|| invalid(what, "an array of strings")))
                .collect::<Result<_, _>>()
                .map(Some),
            _ => Err(invalid(what, "an array of strings")),
        }
    }

    /// Refuses an observatory that a server is not; null is the server's own.
    pub(super) fn check_observatory(&self, index: usize, served: Observatory) -> Result<(), RpcError> {
        match self.optional_text(index, "the observatory")? {
            Some(other) if !other.eq_ignore_ascii_case(served.as_str()) => Err(RpcError::other(
                format_args!("this server serves '{served}', not '{other}'"),
            )),
            _ => Ok(()),
        }
    }

    /// An object.
    pub(super) fn fields(&self, index: usize, what: &str) -> Result<&Map<String, Value>, RpcError> {
        self.at(index)
            .as_object()
            .ok_or_else(|| invalid(what, "an object"))
    }

    /// Anything that counts as true in Python.
    pub(super) fn flag(&self, index: usize) -> bool {
        match self.at(index) {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
        }
    }
}

fn invalid(what: &str, kind: &str) -> RpcError {
    RpcError::new("InvalidParamsError", format_args!("{what} must be {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let call =
            Call::parse(br#"{"jsonrpc":"1.0","method":"m","params":["a",null,["x"],1],"id":"i"}"#).unwrap();
        assert_eq!((call.method.as_str(), &call.id), ("m", &json!("i")));
        assert_eq!(call.params.text(0, "a").unwrap(), "a");
        assert_eq!(call.params.optional_text(1, "b").unwrap(), None);
        assert_eq!(call.params.texts(2, "c").unwrap(), ["x"]);
        assert!(call.params.flag(3));
        assert!(!call.params.flag(4));
        assert!(call.params.text(1, "b").is_err());
        assert!(call.params.texts(0, "a").is_err());
    }

    #[test]
    fn broken_calls_are_errors() {
        for body in ["", "[]", "{}", r#"{"method":1}"#, r#"{"method":"m","params":{}}"#] {
            assert!(Call::parse(body.as_bytes()).is_err(), "{body}");
        }
        let (id, _) = *Call::parse(br#"{"id":7}"#).unwrap_err();
        assert_eq!(id, json!(7));
    }

    #[test]
    fn texts_of_errors_are_escaped() {
        let reply = reply(&json!(1), Err(RpcError::other("no '<x>' & \"y\"")));
        assert_eq!(
            reply["error"]["message"],
            "OtherError: no &#39;&lt;x&gt;&#39; &amp; &quot;y&quot;"
        );
        assert_eq!(reply["error"]["code"], 500);
        assert!(reply["result"].is_null());
    }
}
