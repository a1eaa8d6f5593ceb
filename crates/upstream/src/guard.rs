//! The address guard: a channel can't be used to probe the operator's own networks.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Refuses private, loopback and special addresses, except in allowed networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressGuard {
    allow: Vec<IpNet>,
}

impl AddressGuard {
    /// A guard that permits the public internet and `allow`.
    #[must_use]
    pub const fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Whether a connection to `address` may be made.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.allow.iter().any(|net| net.contains(&address)) {
            return true;
        }
        match address {
            IpAddr::V4(v4) => is_public_v4(v4),
            IpAddr::V6(v6) => match embedded_v4(v6) {
                // The translated address is the one that is reached.
                Some(v4) => self.permits(IpAddr::V4(v4)),
                None => is_public_v6(v6),
            },
        }
    }

    /// Whether there is nothing to check: the operator allows all networks.
    pub(crate) fn permits_everything(&self) -> bool {
        let all = |v4: bool| {
            let whole = |net: &IpNet| net.prefix_len() == 0 && net.addr().is_ipv4() == v4;
            self.allow.iter().any(whole)
        };
        all(true) && all(false)
    }

    /// Whether a name that is resolved elsewhere (by a proxy) may be requested. Literal addresses
    /// are checked as such; a name for loopback is checked as loopback.
    #[must_use]
    pub fn permits_host(&self, host: &str) -> bool {
        match literal(host) {
            Some(address) => self.permits(address),
            None => !is_localhost(host) || self.permits(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        }
    }
}

/// The address that `host` is, if it is one and no name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    inner.parse().ok()
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    // Many resolvers take a bare number for an IPv4 address; no public name looks like that.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
    host == "localhost" || host.ends_with(".localhost") || numeric
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        (0 | 10 | 127, _, _)              // this network, private, loopback
        | (169, 254, _)                   // link-local: also the clouds' metadata
        | (192, 168, _)                   // private
        | (192, 0, 0 | 2)                 // protocol assignments, documentation
        | (192, 88, 99)                   // 6to4 relays
        | (198, 18 | 19, _)               // benchmarks
        | (198, 51, 100)                  // documentation
        | (203, 0, 113) => true,          // documentation
        (100, 64..=127, _)                // carrier-grade NAT: also Alibaba's metadata
        | (172, 16..=31, _)               // private
        | (224..=255, _, _) => true,      // multicast, reserved, broadcast
        // Azure's metadata and DNS service has a public address.
        (168, 63, 129) => address.octets()[3] == 16,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    // Only 2000::/3 is assigned as global unicast; all the rest (::, ::1, fc00::/7, fe80::/10,
    // fec0::/10, ff00::/8, 64:ff9b:1::/48, 100::/64, …) is refused with it.
    let global = s[0] & 0xe000 == 0x2000;
    let special = match (s[0], s[1]) {
        (0x2001, second) => second < 0x0200 || second == 0x0db8, // Teredo, ORCHID…; documentation
        (0x3fff, second) => second < 0x1000,                     // documentation
        _ => false,
    };
    global && !special
}

/// The IPv4 address within a NAT64, 6to4 or IPv4-compatible one.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        // ::/96, without the unspecified and the loopback address.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(guard: &AddressGuard, address: &str) -> bool {
        guard.permits(address.parse().unwrap())
    }

    #[test]
    fn lets_the_public_internet_through() {
        let guard = AddressGuard::default();
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "168.63.129.17",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn refuses_everything_special() {
        let guard = AddressGuard::default();
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "3fff::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:c0a8:1::",
            "100::1",
            "5f00::1",
        ] {
            assert!(!permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn allows_what_the_operator_allows() {
        let nets = ["127.0.0.0/8", "fd00::/8", "10.1.0.0/16"].map(|n| n.parse().unwrap());
        let guard = AddressGuard::new(nets.to_vec());
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "fd12::1", "10.1.2.3", "64:ff9b::7f00:1"] {
            assert!(permits(&guard, address), "{address}");
        }
        for address in ["10.2.0.1", "::1", "192.168.0.1"] {
            assert!(!permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn judges_names_that_a_proxy_would_resolve() {
        let guard = AddressGuard::default();
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "[::1]",
            "10.0.0.1",
            "169.254.169.254",
        ] {
            assert!(!guard.permits_host(host), "{host}");
        }
        for host in ["example.com", "8.8.8.8", "localhost.example.com", "3com.com"] {
            assert!(guard.permits_host(host), "{host}");
        }
        let open = AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(open.permits_host("localhost"));
    }
}
