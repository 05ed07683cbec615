//! The proxies that the environment names.

use crate::crds::Url;

/// A proxy that the environment names.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// The variable.
    pub variable: String,
    /// Its URL; a missing scheme is `http`.
    pub url: Url,
    /// The reason why it cannot be used.
    pub problem: Option<&'static str>,
}

/// The proxies for http and https.
pub(crate) fn proxies(variable: impl Fn(&str) -> Option<String>) -> Vec<Proxy> {
    let names = ["http_proxy", "https_proxy", "all_proxy"];
    let spellings = names
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_ascii_uppercase()]);
    let set = spellings.filter_map(|name| Some((variable(&name)?, name)));
    set.filter(|(text, _)| !text.trim().is_empty())
        .map(|(text, variable)| {
            let whole = if text.contains("://") {
                text
            } else {
                format!("http://{text}")
            };
            let url = Url::new(&whole);
            Proxy {
                variable,
                problem: problem(&url),
                url,
            }
        })
        .collect()
}

fn problem(url: &Url) -> Option<&'static str> {
    match url.parsed() {
        None => Some("it is not a URL"),
        Some(parsed) if !parsed.has_host() => Some("it names no host"),
        Some(parsed) if matches!(parsed.scheme(), "http" | "https") => None,
        Some(_) => Some("only http:// and https:// proxies can be used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_known_by_their_hosts() {
        let found = proxies(|name| match name {
            "http_proxy" => Some("proxy.example:3128".to_owned()),
            "HTTPS_PROXY" => Some("http://me:pw@other.example:1/".to_owned()),
            "all_proxy" => Some("socks5://third.example".to_owned()),
            "ALL_PROXY" => Some(String::new()),
            _ => None,
        });
        let hosts: Vec<_> = found.iter().filter_map(|proxy| proxy.url.host()).collect();
        assert_eq!(hosts, ["proxy.example", "other.example", "third.example"]);
        let problems: Vec<_> = found.iter().map(|proxy| proxy.problem.is_some()).collect();
        assert_eq!(problems, [false, false, true]);
        assert!(!found.iter().any(|proxy| proxy.url.to_string().contains("pw")));
    }
}
