//! Failures of object stores, which tell more than their status: a code and a message in XML.

use bytes::BytesMut;
use futures_util::TryStreamExt as _;
use reqwest::Response;

use crate::crds::Url;
use crate::remote::error::{Hint, RemoteError, RemoteErrorKind, Retry};
use crate::remote::http::{HttpClient, from_status};

/// The most bytes of a message that are read.
const MAX_MESSAGE: usize = 16 << 10;

/// The codes of requests whose credentials the store does not accept.
const WRONG_CREDENTIALS: [&str; 9] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "TokenRefreshRequired",
    "AuthorizationHeaderMalformed",
    "AuthenticationFailed",
    "InvalidClientTokenId",
    "MissingSecurityHeader",
];

/// The codes of requests that may not have what they ask for.
const NO_ACCESS: [&str; 4] = [
    "AccessDenied",
    "AuthorizationFailure",
    "PublicAccessNotPermitted",
    "NoAuthenticationInformation",
];

/// The codes of a store that has too much to do.
const BUSY: [&str; 3] = ["SlowDown", "ServerBusy", "RequestLimitExceeded"];

/// The failure that a reply tells.
pub(super) async fn of_reply(
    client: &HttpClient,
    url: &Url,
    response: Response,
    is_signed: bool,
) -> RemoteError {
    let failure = from_status(&response, url);
    let region = response.headers().get("x-amz-bucket-region");
    let region = region.and_then(|region| region.to_str().ok()).map(str::to_owned);
    let mut body = client.body(url.clone(), response);
    let mut bytes = BytesMut::new();
    while bytes.len() < MAX_MESSAGE {
        let Ok(Some(part)) = body.try_next().await else {
            break;
        };
        bytes.extend_from_slice(&part);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    explained(failure, &text, region.as_deref(), is_signed)
}

/// A failure with what the text of the reply says of it.
fn explained(failure: RemoteError, text: &str, region: Option<&str>, is_signed: bool) -> RemoteError {
    let url = failure.url.clone();
    let advice = if is_signed {
        ""
    } else {
        "; the request was not signed, since no credentials are set (AWS_ACCESS_KEY_ID and the like)"
    };
    let code = match element(text, "Code") {
        Some(code) => code,
        None if failure.kind == RemoteErrorKind::Denied => {
            return RemoteError::new(failure.kind, &url, format!("{}{advice}", failure.message));
        }
        None => return failure,
    };
    let bucket = url
        .parsed()
        .and_then(|parsed| parsed.host_str().map(str::to_owned));
    let bucket = bucket.unwrap_or_default();
    let said = element(text, "Message").unwrap_or_default();
    let denied = |message: String| {
        RemoteError::new(RemoteErrorKind::Denied, &url, message).with_hint(Hint::Credentials)
    };
    match (code, region) {
        ("NoSuchBucket" | "ContainerNotFound", _) => {
            let message = format!("there is no bucket '{bucket}' ({code}): check the name, and the endpoint");
            RemoteError::new(RemoteErrorKind::NotFound, &url, message).with_hint(Hint::NoBucket)
        }
        (
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
            Some(region),
        ) => denied(format!(
            "the bucket '{bucket}' is in the region {region} ({code}): set AWS_REGION={region}"
        )),
        ("RequestTimeTooSkewed", _) => denied(format!("{said} ({code}): check the clock of this machine")),
        (code, _) if WRONG_CREDENTIALS.contains(&code) => {
            denied(format!("the credentials are not accepted: {said} ({code})"))
        }
        (code, _) if NO_ACCESS.contains(&code) => {
            // A bucket that may not be listed says this of objects that are not there, too.
            RemoteError::new(RemoteErrorKind::Denied, &url, format!("{said} ({code}){advice}"))
        }
        (code, _) if BUSY.contains(&code) => {
            let message = format!("{} ({code})", failure.message);
            let busy = RemoteError::new(RemoteErrorKind::Busy, &url, message);
            match failure.retry {
                Retry::After(_) => busy.with_retry(failure.retry),
                Retry::No | Retry::Soon => busy,
            }
        }
        _ => {
            let message = format!("{} ({code})", failure.message);
            RemoteError {
                message: RemoteError::new(failure.kind, &url, message).message,
                ..failure
            }
        }
    }
}

/// The text of the first element of this name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (found, _) = rest.split_once(&format!("</{name}>"))?;
    Some(found.trim()).filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_more_than_the_status() {
        let of = |kind, code: &str, region: Option<&str>| {
            let failure = RemoteError::new(kind, "s3://bucket/prefix/x", "the server answered");
            let text = format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>As said</Message></Error>"
            );
            explained(failure, &text, region, false)
        };
        for (kind, code, region, found, told) in [
            (
                RemoteErrorKind::NotFound,
                "NoSuchKey",
                None,
                RemoteErrorKind::NotFound,
                "answered (NoSuchKey)",
            ),
            (
                RemoteErrorKind::NotFound,
                "NoSuchBucket",
                None,
                RemoteErrorKind::NotFound,
                "there is no bucket 'bucket'",
            ),
            (
                RemoteErrorKind::Denied,
                "InvalidAccessKeyId",
                None,
                RemoteErrorKind::Denied,
                "As said (InvalidAccessKeyId)",
            ),
            (
                RemoteErrorKind::Protocol,
                "ExpiredToken",
                None,
                RemoteErrorKind::Denied,
                "not accepted",
            ),
            (
                RemoteErrorKind::Denied,
                "AccessDenied",
                None,
                RemoteErrorKind::Denied,
                "was not signed",
            ),
            (
                RemoteErrorKind::Busy,
                "SlowDown",
                None,
                RemoteErrorKind::Busy,
                "(SlowDown)",
            ),
            (
                RemoteErrorKind::Server,
                "RequestLimitExceeded",
                None,
                RemoteErrorKind::Busy,
                "(RequestLimitExceeded)",
            ),
            (
                RemoteErrorKind::Server,
                "InternalError",
                None,
                RemoteErrorKind::Server,
                "(InternalError)",
            ),
            (
                RemoteErrorKind::Protocol,
                "PermanentRedirect",
                Some("eu-west-1"),
                RemoteErrorKind::Denied,
                "set AWS_REGION=eu-west-1",
            ),
        ] {
            let failure = of(kind, code, region);
            assert_eq!(failure.kind, found, "{code}");
            assert!(failure.message.contains(told), "{failure}");
        }
        let plain = RemoteError::new(RemoteErrorKind::Denied, "s3://b/x", "403");
        assert_eq!(explained(plain.clone(), "<html>", None, true), plain);
        let unsigned = explained(plain, "<html>", None, false);
        assert!(unsigned.message.contains("was not signed"), "{unsigned}");
        let absent = RemoteError::new(RemoteErrorKind::NotFound, "s3://b/x", "404");
        assert_eq!(explained(absent.clone(), "<html>", None, false), absent);
    }
}
