//! The user's files with credentials for S3, `~/.aws/credentials` and `~/.aws/config`: profiles with plain keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The most bytes of a file that is read.
const MOST: u64 = 1 << 20;

/// The names of the keys of a profile, and of the variables that they stand for.
const KEYS: [(&str, &str); 3] = [
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
];

/// The settings that a profile may have beside its keys, the variable that it stands for, and others that count more.
const PLACES: [(&str, &str, &[&str]); 2] = [
    ("region", "AWS_REGION", &["AWS_DEFAULT_REGION"]),
    (
        "endpoint_url",
        "AWS_ENDPOINT_URL",
        &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"],
    ),
];

/// The variables that the profile of the user stands for, without those that are set. Keys are those of one file, and none
/// where `has_credentials`. Waits for the disk.
pub(super) fn variables(
    set: &BTreeMap<String, String>,
    has_credentials: bool,
) -> Vec<(&'static str, String)> {
    let name = set.get("AWS_PROFILE").map_or("default", String::as_str);
    let file = |variable: &str, below: &str| {
        let home = || Some(Path::new(set.get("HOME")?).join(".aws").join(below));
        text(&set.get(variable).map(PathBuf::from).or_else(home)?)
    };
    let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials").unwrap_or_default();
    let config = file("AWS_CONFIG_FILE", "config").unwrap_or_default();
    let own = profile(&credentials, name);
    let mut told = profile(&config, name);
    told.extend(profile(&config, &format!("profile {name}")));
    let keys = [&own, &told]
        .into_iter()
        .find(|one| one.contains_key("aws_access_key_id"));
    let keys = keys.filter(|_| !has_credentials);
    let mut found: Vec<_> = keys
        .iter()
        .flat_map(|keys| {
            KEYS.iter()
                .filter_map(|(key, variable)| Some((*variable, (*keys.get(*key)?).to_owned())))
        })
        .collect();
    for (key, variable, others) in PLACES {
        let is_set = others
            .iter()
            .chain([&variable])
            .any(|variable| set.contains_key(*variable));
        if let (false, Some(value)) = (is_set, own.get(key).or(told.get(key))) {
            found.push((variable, (*value).to_owned()));
        }
    }
    found
}

/// The text of a file, if there is one of a sensible length.
fn text(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= MOST)
        .then(|| fs::read_to_string(path).ok())
        .flatten()
}

/// The settings in a section, by their names.
fn profile<'a>(text: &'a str, section: &str) -> BTreeMap<&'a str, &'a str> {
    let mut is_inside = false;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        // An indented line belongs to the setting above it.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(name) = line
            .trim()
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            is_inside = name.split_whitespace().eq(section.split_whitespace());
        } else if let (true, Some((key, value))) = (is_inside, line.split_once('=')) {
            let value = value.trim();
            if !value.is_empty() {
                found.insert(key.trim(), value);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "# comment\n[default]\naws_access_key_id = ONE\naws_secret_access_key=one+/=\n\n[work]\n\
                               aws_access_key_id=TWO\naws_secret_access_key=two\naws_session_token = three\n";
    const CONFIG: &str = "[default]\nregion = us-west-2\ns3 =\n  max_concurrent_requests = 20\n[profile  work]\nregion=eu-west-1\n\
         endpoint_url = http://127.0.0.1:1\n";

    fn of(set: &[(&str, &str)], has_credentials: bool) -> Vec<(&'static str, String)> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        let mut set: BTreeMap<String, String> = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        set.insert("HOME".to_owned(), home.path().display().to_string());
        variables(&set, has_credentials)
    }

    fn told(found: &[(&'static str, String)]) -> Vec<String> {
        found
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn the_profile_stands_for_variables_that_are_not_set() {
        assert_eq!(
            told(&of(&[], false)),
            [
                "AWS_ACCESS_KEY_ID=ONE",
                "AWS_SECRET_ACCESS_KEY=one+/=",
                "AWS_REGION=us-west-2"
            ]
        );
        assert_eq!(
            told(&of(&[("AWS_PROFILE", "work"), ("AWS_REGION", "x")], false)),
            [
                "AWS_ACCESS_KEY_ID=TWO",
                "AWS_SECRET_ACCESS_KEY=two",
                "AWS_SESSION_TOKEN=three",
                "AWS_ENDPOINT_URL=http://127.0.0.1:1"
            ]
        );
        assert_eq!(told(&of(&[], true)), ["AWS_REGION=us-west-2"]);
        assert!(of(&[("AWS_PROFILE", "nobody")], false).is_empty());
    }

    #[test]
    fn files_may_be_elsewhere_or_nowhere() {
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            elsewhere.path(),
            "[default]\naws_access_key_id=THREE\naws_secret_access_key=x\n",
        )
        .unwrap();
        let path = elsewhere.path().to_str().unwrap();
        let found = of(&[("AWS_SHARED_CREDENTIALS_FILE", path)], false);
        assert_eq!(told(&found)[0], "AWS_ACCESS_KEY_ID=THREE");
        assert!(variables(&BTreeMap::new(), false).is_empty());
    }
}
