//! The settings of object stores: the variables that every program for them knows.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ObjectStore, RetryConfig};

use super::profile;
use super::service::Connector;

/// Buckets that anybody may read, and for which the Python client signs nothing (spec/crds-service 3.2).
const PUBLIC: [&str; 1] = ["stpubdata"];

/// The variables that name credentials, of which one is enough.
const CREDENTIALS: [&str; 16] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
];

/// The variables `AWS_*`, `GOOGLE_*` and `AZURE_*`, and `HOME`. They hold secrets, which are never shown.
#[derive(Clone, Default)]
pub(crate) struct CloudSettings(BTreeMap<String, String>);

impl FromIterator<(String, String)> for CloudSettings {
    /// Those of these variables that are about object stores.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let prefixes = ["AWS_", "GOOGLE_", "AZURE_"];
        let is_ours = |name: &str| name == "HOME" || prefixes.iter().any(|prefix| name.starts_with(prefix));
        let ours = variables
            .into_iter()
            .filter(|(name, value)| is_ours(name) && !value.is_empty());
        Self(ours.collect())
    }
}

impl fmt::Debug for CloudSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

impl CloudSettings {
    /// A bucket, or a container, of the store that the scheme means. The error says what is missing.
    pub(super) fn bucket(
        &self,
        scheme: &str,
        name: &str,
        connector: Connector,
    ) -> Result<Arc<dyn ObjectStore>, String> {
        let built = match scheme {
            "s3" => self.amazon(name, connector),
            "gs" => self.google(name, connector),
            _ => self.azure(name, connector),
        };
        built.map_err(|error| {
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let variables = match scheme {
                "s3" => "AWS_*",
                "gs" => "GOOGLE_*",
                _ => "AZURE_*, above all AZURE_STORAGE_ACCOUNT_NAME",
            };
            format!("the settings of the bucket make no sense: {reason} (variables {variables})")
        })
    }

    fn amazon(&self, name: &str, connector: Connector) -> object_store::Result<Arc<dyn ObjectStore>> {
        let own = self.with_profile(name);
        let mut builder = AmazonS3Builder::new();
        for (key, value) in own.of::<AmazonS3ConfigKey>("AWS_") {
            builder = builder.with_config(key, value);
        }
        if let Some(anonymous) = own.anonymous("AWS_", name) {
            builder = builder.with_skip_signature(anonymous);
        }
        if connector.writes() && !self.0.contains_key("AWS_CHECKSUM_ALGORITHM") {
            // Then the store compares what has come.
            builder = builder.with_checksum_algorithm(Checksum::SHA256);
        }
        let builder = builder.with_bucket_name(name).with_retry(no_retry());
        Ok(Arc::new(builder.with_http_connector(connector).build()?))
    }

    fn google(&self, name: &str, connector: Connector) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::new();
        for (key, value) in self.of::<GoogleConfigKey>("GOOGLE_") {
            builder = builder.with_config(key, value);
        }
        if let Some(anonymous) = self.anonymous("GOOGLE_", name) {
            builder = builder.with_skip_signature(anonymous);
        }
        let builder = builder.with_bucket_name(name).with_retry(no_retry());
        Ok(Arc::new(builder.with_http_connector(connector).build()?))
    }

    fn azure(&self, name: &str, connector: Connector) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = MicrosoftAzureBuilder::new();
        for (key, value) in self.of::<AzureConfigKey>("AZURE_") {
            builder = builder.with_config(key, value);
        }
        if let Some(anonymous) = self.anonymous("AZURE_", name) {
            builder = builder.with_skip_signature(anonymous);
        }
        let builder = builder.with_container_name(name).with_retry(no_retry());
        Ok(Arc::new(builder.with_http_connector(connector).build()?))
    }

    /// These settings with what the user's profile says beside. Its keys are not for buckets that anybody may read.
    fn with_profile(&self, bucket: &str) -> Self {
        let mut all = self.clone();
        let is_said = CREDENTIALS
            .into_iter()
            .chain(["AWS_SKIP_SIGNATURE"])
            .any(|variable| variable.starts_with("AWS_") && self.0.contains_key(variable));
        for (variable, value) in profile::variables(&self.0, is_said || PUBLIC.contains(&bucket)) {
            all.0.insert(variable.to_owned(), value);
        }
        all
    }

    /// The variables with this prefix that the crate knows.
    fn of<K: FromStr>(&self, prefix: &'static str) -> impl Iterator<Item = (K, &str)> {
        let own = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        own.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.as_str())))
    }

    /// Whether requests are not signed; `None` where the user says it. Without credentials in the environment the machine's
    /// role would be asked for, which takes long where there is none: so that has to be said.
    fn anonymous(&self, prefix: &str, bucket: &str) -> Option<bool> {
        if self.0.contains_key(&format!("{prefix}SKIP_SIGNATURE")) {
            return None;
        }
        let named = |variable: &str| variable.starts_with(prefix) && self.0.contains_key(variable);
        let is_public = prefix == "AWS_" && PUBLIC.contains(&bucket);
        Some(is_public || !CREDENTIALS.into_iter().any(named))
    }
}

/// No tries in the crate: who asks counts them.
fn no_retry() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(set: &[(&str, &str)]) -> CloudSettings {
        set.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn only_what_is_about_object_stores_is_kept() {
        let kept = settings(&[
            ("HOME", "/home/me"),
            ("PATH", "/bin"),
            ("MY_AWS_REGION", "x"),
            ("AWS_REGION", ""),
            ("AZURE_STORAGE_TOKEN", "secret"),
        ]);
        assert_eq!(format!("{kept:?}"), "{\"AZURE_STORAGE_TOKEN\", \"HOME\"}");
    }

    #[test]
    fn requests_are_signed_where_there_are_credentials_for_the_store() {
        let (aws, google) = ("AWS_", "GOOGLE_");
        let key = ("AWS_ACCESS_KEY_ID", "KEY");
        let token = ("GOOGLE_BEARER_TOKEN", "TOKEN");
        for (set, prefix, bucket, anonymous) in [
            (&[][..], aws, "own", Some(true)),
            (&[key], aws, "own", Some(false)),
            (&[key], aws, "stpubdata", Some(true)),
            (&[("AWS_REGION", "x")], aws, "own", Some(true)),
            (&[key], google, "own", Some(true)),
            (&[token], google, "stpubdata", Some(false)),
            (&[key, ("AWS_SKIP_SIGNATURE", "true")], aws, "own", None),
            (
                &[token, ("AWS_SKIP_SIGNATURE", "true")],
                google,
                "own",
                Some(false),
            ),
        ] {
            assert_eq!(
                settings(set).anonymous(prefix, bucket),
                anonymous,
                "{set:?} {prefix} {bucket}"
            );
        }
    }

    #[test]
    fn the_keys_of_the_profile_are_for_own_buckets_and_mixed_with_no_others() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let credentials = "[default]\naws_access_key_id=ONE\naws_secret_access_key=one\n";
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        for (set, bucket, keys) in [
            (&[home][..], "own", [Some("ONE"), Some("one")]),
            (&[home], "stpubdata", [None, None]),
            (&[home, ("AWS_SKIP_SIGNATURE", "true")], "own", [None, None]),
            (
                &[home, ("AWS_WEB_IDENTITY_TOKEN_FILE", "/x")],
                "own",
                [None, None],
            ),
            (&[home, ("AWS_ACCESS_KEY_ID", "KEY")], "own", [Some("KEY"), None]),
            (
                &[home, ("GOOGLE_BEARER_TOKEN", "x")],
                "own",
                [Some("ONE"), Some("one")],
            ),
        ] {
            let found = settings(set).with_profile(bucket);
            let found = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
                .map(|name| found.0.get(name).map(String::as_str));
            assert_eq!(found, keys, "{set:?} {bucket}");
        }
    }
}
