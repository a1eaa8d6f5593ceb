//! The client's address: the peer, or what a trusted proxy forwards.

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The networks of trusted proxies.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts these networks.
    #[must_use]
    pub const fn new(nets: Vec<IpNet>) -> Self {
        Self(nets)
    }

    /// The client's address. Forwarding headers count only when the peer is a trusted proxy; of a
    /// chain, the last address that is not a trusted proxy's is the client.
    #[must_use]
    pub fn client_address(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.ip().to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let mut nearest = None;
        for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            for hop in value.as_bytes().rsplit(|&b| b == b',') {
                match address(hop) {
                    Some(address) if self.trusts(address) => nearest = Some(address),
                    Some(address) => return address,
                    // What comes before an entry that can't be parsed is not vouched for by a
                    // trusted proxy.
                    None => return nearest.unwrap_or(peer),
                }
            }
        }
        let real = headers.get(X_REAL_IP).and_then(|value| address(value.as_bytes()));
        nearest.or(real).unwrap_or(peer)
    }

    /// Whether a trusted proxy reports that the client used https.
    #[must_use]
    pub fn over_https(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        let said = headers.get(X_FORWARDED_PROTO);
        self.trusts(peer.ip().to_canonical())
            && said.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }
}

/// An address, with or without a port, as proxies write them.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().ok().or_else(|| text.parse().ok().map(|s: SocketAddr| s.ip()));
    parsed.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn seen(peer: &str, headers: &[(HeaderName, &str)]) -> String {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        trusted.client_address(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn untrusted_peers_are_ignored() {
        assert_eq!(seen("9.9.9.9:1", &[(X_FORWARDED_FOR, "1.2.3.4")]), "9.9.9.9");
        assert_eq!(seen("9.9.9.9:1", &[(X_REAL_IP, "1.2.3.4")]), "9.9.9.9");
    }

    #[test]
    fn a_trusted_proxy_is() {
        let via = |value| seen("10.0.0.1:1", &[(X_FORWARDED_FOR, value)]);
        assert_eq!(via("1.2.3.4"), "1.2.3.4");
        assert_eq!(via("6.6.6.6, 1.2.3.4, 10.0.0.7"), "1.2.3.4");
        assert_eq!(via("1.2.3.4:5678"), "1.2.3.4");
        assert_eq!(via("[2001:db8::1]:5"), "2001:db8::1");
        assert_eq!(via("[2001:db8::1]"), "2001:db8::1");
        assert_eq!(via("unknown, 10.0.0.7"), "10.0.0.7");
        assert_eq!(via("unknown"), "10.0.0.1");
        assert_eq!(seen("10.0.0.1:1", &[(X_REAL_IP, "1.2.3.4")]), "1.2.3.4");
        assert_eq!(seen("[::ffff:10.0.0.1]:1", &[(X_REAL_IP, "1.2.3.4")]), "1.2.3.4");
        let two = [(X_FORWARDED_FOR, "6.6.6.6"), (X_FORWARDED_FOR, "1.2.3.4")];
        assert_eq!(seen("10.0.0.1:1", &two), "1.2.3.4");
        assert_eq!(seen("10.0.0.1:1", &[]), "10.0.0.1");
    }
}
