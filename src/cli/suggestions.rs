//! Values that shells suggest where any text is taken: settings read the text themselves, so that their errors name its source.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;

/// The observatories that have a server.
pub(super) const OBSERVATORIES: Suggestions = Suggestions(&["hst", "jwst", "roman"]);

/// Names of contexts that mean something at any time.
pub(super) const CONTEXTS: Suggestions = Suggestions(&[
    "hst-latest",
    "jwst-latest",
    "roman-latest",
    "hst-edit",
    "jwst-edit",
    "roman-edit",
]);

/// The public servers.
pub(super) const SERVERS: Suggestions = Suggestions(&[
    "hst=https://hst-crds.stsci.edu",
    "jwst=https://jwst-crds.stsci.edu",
    "roman=https://roman-crds.stsci.edu",
]);

/// The values of `--prefetch`.
pub(super) const PREFETCH: Suggestions = Suggestions(&["rules", "none"]);

/// The values of `--bestrefs-as`.
pub(super) const BESTREFS_AS: Suggestions = Suggestions(&["link", "file"]);

/// The values of `--log-format`.
pub(super) const LOG_FORMATS: Suggestions = Suggestions(&["text", "json"]);

/// Takes any text, and suggests some.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suggestions(&'static [&'static str]);

impl TypedValueParser for Suggestions {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let text = value.to_str().map(str::to_owned);
        text.ok_or_else(|| clap::Error::new(ErrorKind::InvalidUtf8).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}
