//! Checks of the way to the servers: clock, names of hosts, proxies, certificates.

use std::time::{Duration, SystemTime};

use super::check::Check;
use super::servers::ServerFacts;
use crate::crds::times;
use crate::machine::as_root;
use crate::remote::{Certificates, Proxy};

/// A clock that differs by more than this from a server's is wrong: certificates and catalogs are judged by it.
const LARGEST_SKEW: Duration = Duration::from_secs(5 * 60);

/// The facts, beside those of the servers.
#[derive(Debug, Clone)]
pub(super) struct NetworkFacts {
    pub(super) now: SystemTime,
    pub(super) proxies: Vec<Proxy>,
    /// Hosts of proxies without an address, with the reason.
    pub(super) lost_proxies: Vec<(String, String)>,
    pub(super) no_proxy: Option<String>,
    pub(super) certificates: Certificates,
}

pub(super) fn checks(facts: &NetworkFacts, servers: &[ServerFacts]) -> Vec<Check> {
    let mut checks = Vec::new();
    if servers.iter().any(|server| server.measure().is_some()) {
        checks.push(clock(facts.now, servers));
    }
    if servers.iter().any(|server| server.answer.is_some()) {
        checks.push(names(facts, servers));
    }
    checks.extend(proxies(facts));
    checks.push(certificates(facts, servers));
    checks
}

fn clock(now: SystemTime, servers: &[ServerFacts]) -> Check {
    let name = "clock";
    let difference = |date: SystemTime| now.duration_since(date).unwrap_or_else(|early| early.duration());
    let dates = servers.iter().filter_map(|server| server.measure()?.date);
    // Servers may be wrong as well: one that agrees is enough.
    let Some((date, skew)) = dates
        .map(|date| (date, difference(date)))
        .min_by_key(|(_, skew)| *skew)
    else {
        return Check::note("clock", "no server has told the time");
    };
    if skew <= LARGEST_SKEW {
        return Check::ok(name, "agrees with the servers'");
    }
    let way = if now > date { "ahead of" } else { "behind" };
    let skew = times::friendly(Duration::from_secs(skew.as_secs()));
    Check::wrong(
        name,
        format!("it is {skew} {way} the servers': certificates are judged by it"),
    )
    .mended_by(as_root("timedatectl set-ntp true"))
}

/// The addresses of the servers' hosts.
fn names(facts: &NetworkFacts, servers: &[ServerFacts]) -> Check {
    let name = "DNS";
    let mut lost: Vec<(String, &str)> = Vec::new();
    for server in servers {
        if let (Some(Err(why)), Some(host)) = (&server.address, server.url.host())
            && !lost.iter().any(|(known, _)| *known == host)
        {
            lost.push((host, why));
        }
    }
    let Some((first, why)) = lost.first() else {
        return Check::ok(name, "every server has an address");
    };
    let hosts: Vec<&str> = lost.iter().map(|(host, _)| host.as_str()).collect();
    let text = format!("no address for {} ({why})", hosts.join(", "));
    if facts.proxies.is_empty() {
        Check::wrong(name, text).mended_by(format!("getent hosts {first}; cat /etc/resolv.conf"))
    } else {
        Check::note(name, format!("{text}; the proxy may know better"))
    }
}

fn proxies(facts: &NetworkFacts) -> Vec<Check> {
    if facts.proxies.is_empty() {
        return vec![Check::ok("proxy", "none is set")];
    }
    let mut checks: Vec<Check> = facts
        .proxies
        .iter()
        .map(|proxy| one_proxy(facts, proxy))
        .collect();
    checks.extend(
        facts
            .proxies
            .iter()
            .filter_map(|proxy| contradiction(facts, proxy)),
    );
    if let Some(exceptions) = &facts.no_proxy {
        checks.push(Check::ok("no_proxy", exceptions.as_str()));
    }
    checks
}

fn one_proxy(facts: &NetworkFacts, proxy: &Proxy) -> Check {
    let (name, url) = (proxy.variable.as_str(), &proxy.url);
    let unset = format!("unset {name}");
    if let Some(problem) = proxy.problem {
        return Check::wrong(name, format!("'{url}': {problem}")).mended_by(unset);
    }
    let host = url.host().unwrap_or_default();
    match facts.lost_proxies.iter().find(|(lost, _)| *lost == host) {
        Some((_, why)) => {
            Check::wrong(name, format!("'{url}': its host has no address ({why})")).mended_by(unset)
        }
        None => Check::ok(name, format!("requests go through {url}")),
    }
}

/// The same variable in capitals that says something else.
fn contradiction(facts: &NetworkFacts, proxy: &Proxy) -> Option<Check> {
    let capitals = proxy.variable.to_ascii_uppercase();
    let other = facts.proxies.iter().find(|other| other.variable == capitals)?;
    let differ = proxy.variable != capitals && proxy.url.with_credentials() != other.url.with_credentials();
    differ.then(|| {
        Check::note(
            capitals.as_str(),
            format!("it says otherwise than {}, which comes first", proxy.variable),
        )
        .mended_by(format!("unset {capitals}"))
    })
}

fn certificates(facts: &NetworkFacts, servers: &[ServerFacts]) -> Check {
    let name = "certificates";
    let found = &facts.certificates;
    if let Some((variable, path)) = found.leading_nowhere.first() {
        return Check::wrong(
            name,
            format!("{variable} leads to '{}', which is not there", path.display()),
        )
        .mended_by(format!("unset {variable}"));
    }
    if found.count > 0 {
        return Check::ok(name, format!("{} authorities are trusted", found.count));
    }
    let needed =
        |server: &ServerFacts| server.answer.is_some() && server.url.scheme().as_deref() == Some("https");
    if servers.iter().any(needed) {
        Check::wrong(name, "").advised(Certificates::missing())
    } else {
        Check::note(name, "").advised(Certificates::missing())
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{State, assert_found};
    use super::*;
    use crate::crds::{Observatory, ServerInfo, Url};
    use crate::remote::measure::Measure;
    use crate::remote::proxies;

    fn well() -> NetworkFacts {
        NetworkFacts {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
            proxies: Vec::new(),
            lost_proxies: Vec::new(),
            no_proxy: None,
            certificates: Certificates {
                count: 140,
                leading_nowhere: Vec::new(),
            },
        }
    }

    fn server(date: u64) -> ServerFacts {
        let measure = Measure {
            date: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(date)),
            head: Duration::ZERO,
            whole: Duration::ZERO,
            bytes: 0,
        };
        ServerFacts {
            observatory: Observatory::Jwst,
            url: Url::new("https://crds.example/jwst"),
            address: Some(Ok(())),
            answer: Some(Ok((ServerInfo::empty(Observatory::Jwst), measure))),
            build: None,
            is_needed: true,
        }
    }

    #[track_caller]
    fn finds(facts: &NetworkFacts, servers: &[ServerFacts], name: &str, state: State, remedy: &str) {
        assert_found(&checks(facts, servers), name, state, remedy);
    }

    #[test]
    fn a_good_network_has_nothing_to_mend() {
        let found = checks(&well(), &[server(1_000_060)]);
        assert!(found.iter().all(|check| check.state == State::Ok), "{found:?}");
        let nobody = ServerFacts {
            answer: None,
            address: None,
            ..server(0)
        };
        let found = checks(&well(), &[nobody]);
        assert!(
            found
                .iter()
                .all(|check| check.state == State::Ok && check.name != "clock")
        );
    }

    #[test]
    fn a_clock_is_judged_by_the_server_that_agrees_most() {
        finds(&well(), &[server(1_003_600)], "clock", State::Wrong, "set-ntp");
        finds(&well(), &[server(900_000)], "clock", State::Wrong, "set-ntp");
        finds(
            &well(),
            &[server(1_003_600), server(1_000_000)],
            "clock",
            State::Ok,
            "",
        );
    }

    #[test]
    fn hosts_without_an_address() {
        let lost = || ServerFacts {
            address: Some(Err("Name or service not known".into())),
            ..server(1_000_000)
        };
        finds(
            &well(),
            &[lost()],
            "DNS",
            State::Wrong,
            "getent hosts crds.example",
        );
        let behind = NetworkFacts {
            proxies: proxies(|name| (name == "https_proxy").then(|| "proxy.example:1".into())),
            ..well()
        };
        finds(&behind, &[lost()], "DNS", State::Note, "");
    }

    #[test]
    fn proxies_that_cannot_be_used() {
        let facts = NetworkFacts {
            proxies: proxies(|name| match name {
                "http_proxy" => Some("socks5://a.example".into()),
                "https_proxy" => Some("http://me:secret@b.example".into()),
                "HTTPS_PROXY" => Some("http://c.example".into()),
                _ => None,
            }),
            lost_proxies: vec![("b.example".into(), "unknown".into())],
            ..well()
        };
        finds(&facts, &[], "http_proxy", State::Wrong, "unset http_proxy");
        finds(&facts, &[], "https_proxy", State::Wrong, "unset https_proxy");
        let told = checks(&facts, &[]);
        assert!(!format!("{told:?}").contains("secret"));
        assert!(
            told.iter()
                .any(|check| check.state == State::Note && check.name == "HTTPS_PROXY")
        );
    }

    #[test]
    fn certificates_that_are_missing() {
        let none = Certificates::default();
        let facts = NetworkFacts {
            certificates: none.clone(),
            ..well()
        };
        finds(&facts, &[server(0)], "certificates", State::Wrong, "");
        finds(&facts, &[], "certificates", State::Note, "");
        let nowhere = Certificates {
            leading_nowhere: vec![("SSL_CERT_FILE", "/nowhere.pem".into())],
            ..none
        };
        finds(
            &NetworkFacts {
                certificates: nowhere,
                ..well()
            },
            &[],
            "certificates",
            State::Wrong,
            "unset SSL_CERT_FILE",
        );
    }
}
