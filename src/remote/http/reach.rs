//! The reach of addresses: what only this machine or this network can reach must not be reached in the name of a server
//! that is farther away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url as Parsed};

use super::proxies::proxies;

/// The reach of an address, the nearest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Anywhere on the internet.
    Public,
    /// In the networks of the site.
    Private,
    /// On the same wire; clouds tell machines their secrets there.
    LinkLocal,
    /// On this machine.
    Loopback,
}

impl Reach {
    /// All, as many as there are.
    pub(super) const COUNT: usize = 4;

    const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
        }
    }

    /// The reach of this address. Reserved addresses count as private.
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, third, _] = address.octets();
        match (first, second, third) {
            // 0.0.0.0 is this machine as well.
            (0 | 127, ..) => Self::Loopback,
            (169, 254, _) => Self::LinkLocal,
            (10 | 224..=255, ..)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (100, 64..=127, _)
            | (192, 0, 0)
            | (198, 18..=19, _) => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let low = |high: u16, low: u16| {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] | [0xff01 | 0xff11, ..] => Self::Loopback,
            // An IPv4 address in another form: mapped, compatible, translated, 6to4.
            [0, 0, 0, 0, 0, 0 | 0xffff, c, d] | [0x64, 0xff9b, 0, 0, 0, 0, c, d] | [0x2002, c, d, ..] => {
                low(c, d)
            }
            [0xfe80..=0xfebf | 0xff02 | 0xff12, ..] => Self::LinkLocal,
            [0xfc00..=0xfdff | 0xfec0..=0xfeff | 0xff00..=0xffff, ..] | [0x64, 0xff9b, 1, ..] => {
                Self::Private
            }
            _ => Self::Public,
        }
    }
}

/// The address in a URL that has one in the place of a name.
pub(super) fn literal(url: &Parsed) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// The reach of a host: the farthest of its addresses. One that is not known here, as behind a proxy, is far.
pub(super) async fn of_host(url: &Parsed) -> Reach {
    if let Some(address) = literal(url) {
        return Reach::of(address);
    }
    let Some(name) = url.host_str() else {
        return Reach::Public;
    };
    let found = tokio::net::lookup_host((name, 0)).await;
    let nearest_first = found.into_iter().flatten().map(|address| Reach::of(address.ip()));
    nearest_first.min().unwrap_or(Reach::Public)
}

/// The reason why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is at the {} address {address}, where a server that is at a {} one may not lead",
    .found.as_str(), .allowed.as_str()
)]
pub(super) struct TooNear {
    host: String,
    address: IpAddr,
    found: Reach,
    allowed: Reach,
}

impl TooNear {
    /// Refuses an address that is nearer than allowed.
    pub(super) fn check(host: &str, address: IpAddr, allowed: Reach) -> Result<(), Self> {
        let found = Reach::of(address);
        if found <= allowed {
            return Ok(());
        }
        Err(Self {
            host: host.to_owned(),
            address,
            found,
            allowed,
        })
    }
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoSuchHost(std::io::Error);

/// Resolves names, without the addresses that are too near. Proxies are the user's own, and may be anywhere.
pub(super) struct Resolver {
    allowed: Reach,
    proxies: Arc<[String]>,
}

impl Resolver {
    pub(super) fn new(allowed: Reach) -> Self {
        Self {
            allowed,
            proxies: proxies(|name| std::env::var(name).ok())
                .iter()
                .filter_map(|proxy| proxy.url.host())
                .collect(),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let allowed = if self.proxies.contains(&name) {
            Reach::Loopback
        } else {
            self.allowed
        };
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found: Vec<SocketAddr> = found.map_err(NoSuchHost)?.collect();
            let mut refusal = None;
            let mut good = Vec::new();
            for address in found {
                match TooNear::check(&name, address.ip(), allowed) {
                    Ok(()) => good.push(address),
                    Err(error) => refusal = Some(error),
                }
            }
            match refusal {
                Some(error) if good.is_empty() => Err(error.into()),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_place() {
        for (reach, addresses) in [
            (
                Reach::Public,
                "130.167.1.1 8.8.8.8 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 192.0.2.1 169.253.0.1 2001:db8::1 \
                 2600::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:0808:0808::1",
            ),
            (
                Reach::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 224.0.0.1 255.255.255.255 \
                 240.0.0.1 fc00::1 fd12::1 fec0::1 ff05::1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 2002:0a00:0001::1",
            ),
            (
                Reach::LinkLocal,
                "169.254.169.254 fe80::1 febf::1 ff02::1 ::ffff:169.254.0.1",
            ),
            (
                Reach::Loopback,
                "127.0.0.1 127.255.0.1 0.0.0.0 0.1.2.3 ::1 :: ::ffff:127.0.0.1 64:ff9b::127.0.0.1",
            ),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
            }
        }
        assert!(Reach::Public < Reach::Private && Reach::LinkLocal < Reach::Loopback);
    }

    #[test]
    fn disguises_are_seen_through() {
        for text in [
            "http://0x7f.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://[::ffff:7f00:1]/",
        ] {
            let url = Parsed::parse(text).unwrap();
            assert_eq!(literal(&url).map(Reach::of), Some(Reach::Loopback), "{text}");
        }
    }

    #[tokio::test]
    async fn names_lead_no_nearer_than_allowed() {
        let resolve = |allowed| Resolver {
            allowed,
            proxies: ["proxy.invalid".to_owned()].into(),
        };
        let name = || "localhost".parse::<Name>().unwrap();
        assert!(resolve(Reach::Loopback).resolve(name()).await.is_ok());
        let Err(error) = resolve(Reach::Private).resolve(name()).await else {
            panic!("localhost was found");
        };
        let error = error.downcast_ref::<TooNear>().unwrap().to_string();
        assert!(error.contains("localhost is at the loopback address"), "{error}");
    }
}
