//! `crds_encoded` payloads: base64 of a compressed JSON text (spec/crds-service 1.2). Bounded, since a few kilobytes
//! from a server can inflate to anything.

use std::io::{ErrorKind, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::json;

/// The most bytes that a payload may inflate to: more than ten times today's largest catalog.
pub(crate) const MAX_DECODED: usize = 64 << 20;

/// The reason for which an encoded value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodedError {
    /// The value says that it is encoded, but has no text in `crds_payload`.
    #[error("an encoded value without a payload")]
    NoPayload,
    /// The payload is not base64.
    #[error("an encoded payload is not base64: {0}")]
    Base64(String),
    /// The payload does not inflate.
    #[error("an encoded payload does not inflate: {0}")]
    Inflate(String),
    /// The payload inflates to more than allowed.
    #[error("an encoded payload inflates to more than {0} bytes")]
    TooLarge(usize),
    /// The inflated text is not JSON.
    #[error("an encoded payload is not JSON: {0}")]
    Json(String),
}

/// The payload of `value`, if `value` is an encoded one.
pub(crate) fn payload(value: &Value) -> Option<Result<&str, EncodedError>> {
    let fields = value.as_object()?;
    fields.get("crds_encoded")?;
    Some(
        fields
            .get("crds_payload")
            .and_then(Value::as_str)
            .ok_or(EncodedError::NoPayload),
    )
}

/// The bytes in a payload, at most `limit` of them.
pub(crate) fn decode_payload(payload: &str, limit: usize) -> Result<Vec<u8>, EncodedError> {
    let mut bytes = Vec::new();
    let read = open_payload(payload, limit)?.read_to_end(&mut bytes);
    read.map_err(|error| broken(&error, limit))?;
    Ok(bytes)
}

/// The bytes in a payload as a stream, which fails behind `limit` of them: gzip or, from old servers, a bare zlib stream.
pub(crate) fn open_payload(payload: &str, limit: usize) -> Result<impl Read, EncodedError> {
    let compressed = if payload.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let joined: Vec<u8> = payload
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        STANDARD.decode(joined)
    } else {
        STANDARD.decode(payload)
    }
    .map_err(|error| EncodedError::Base64(error.to_string()))?;
    let stream: Box<dyn Read> = if compressed.starts_with(&[0x1f, 0x8b]) {
        Box::new(GzDecoder::new(std::io::Cursor::new(compressed)))
    } else {
        Box::new(ZlibDecoder::new(std::io::Cursor::new(compressed)))
    };
    Ok(Limited { stream, left: limit })
}

/// The failure of a stream of [`open_payload`].
fn broken(error: &std::io::Error, limit: usize) -> EncodedError {
    if error.kind() == ErrorKind::FileTooLarge {
        EncodedError::TooLarge(limit)
    } else {
        EncodedError::Inflate(error.to_string())
    }
}

/// A stream that fails when it has more bytes than it may have.
struct Limited<R> {
    stream: R,
    left: usize,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(room)?;
        self.left = self.left.checked_sub(count).ok_or_else(|| {
            std::io::Error::new(ErrorKind::FileTooLarge, "it inflates to more than is allowed")
        })?;
        Ok(count)
    }
}

/// The value itself, decoded if it is encoded.
pub(crate) fn decode(value: Value) -> Result<Value, EncodedError> {
    let Some(payload) = payload(&value) else {
        return Ok(value);
    };
    let bytes = decode_payload(payload?, MAX_DECODED)?;
    json::parse(&bytes, json::MAX_TREE).map_err(|error| EncodedError::Json(error.to_string()))
}

/// A JSON text in the encoded form of modern servers: gzip, base64 on one line.
pub(crate) fn encode(json_text: &[u8]) -> Result<Value, EncodedError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let compressed = encoder
        .write_all(json_text)
        .and_then(|()| encoder.finish())
        .map_err(|error| EncodedError::Inflate(error.to_string()))?;
    Ok(json!({"crds_encoded": "1.0", "crds_payload": STANDARD.encode(compressed)}))
}

#[cfg(test)]
mod tests {
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_encoded_stays() {
        for value in [
            json!(null),
            json!({"crds_payload": "x"}),
            json!("1.0"),
            json!([1]),
        ] {
            assert_eq!(decode(value.clone()), Ok(value));
        }
    }

    #[test]
    fn reads_the_old_form() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(br#"{"a": [1, "b"]}"#).unwrap();
        let mut text = STANDARD.encode(encoder.finish().unwrap());
        text.insert(7, '\n');
        text.push_str("\r\n");
        assert_eq!(
            decode(json!({"crds_encoded": "1.0", "crds_payload": text})),
            Ok(json!({"a": [1, "b"]}))
        );
    }

    #[test]
    fn refuses_a_bomb() {
        let bomb = encode(&vec![b' '; 1 << 20]).unwrap();
        let text = payload(&bomb).unwrap().unwrap();
        assert!(text.len() < 4096);
        assert_eq!(
            decode_payload(text, (1 << 20) - 1),
            Err(EncodedError::TooLarge((1 << 20) - 1))
        );
        assert_eq!(decode_payload(text, 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn refuses_what_is_broken() {
        let good = encode(b"[1]").unwrap();
        let text = payload(&good).unwrap().unwrap();
        let cut = STANDARD.encode(&STANDARD.decode(text).unwrap()[..15]);
        let broken = |text: &str| decode(json!({"crds_encoded": "1.0", "crds_payload": text}));
        assert!(matches!(broken(&cut), Err(EncodedError::Inflate(_))));
        assert!(matches!(broken("!"), Err(EncodedError::Base64(_))));
        assert!(matches!(broken(""), Err(EncodedError::Inflate(_))));
        assert!(matches!(
            decode(encode(b"[1").unwrap()),
            Err(EncodedError::Json(_))
        ));
        assert_eq!(
            decode(json!({"crds_encoded": "1.0"})),
            Err(EncodedError::NoPayload)
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let value = encode(&bytes).unwrap();
            prop_assert_eq!(decode_payload(payload(&value).unwrap().unwrap(), 2000).unwrap(), bytes);
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,200}") {
            let _ = decode_payload(&text, 1000);
        }
    }
}
