//! Reading one value: text in, a checked value out, or what would have been allowed.

use super::table::{DAY, HOUR, SettingKind};
use admin::ops::first_start::{MAX_ACCESS_TOKEN_CHARS, MIN_ACCESS_TOKEN_CHARS, is_access_token};
use domain::{Quota, millis};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use relay::CorsOrigins;
use std::borrow::Cow;
use std::net::IpAddr;

/// A value that keeps its setting's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingValue {
    /// Not set, and without a default.
    Unset,
    /// Text, a word, a path, an address of a proxy or a database.
    Text(String),
    /// A switch.
    Flag(bool),
    /// A count, milliseconds or bytes.
    Number(u64),
    /// An address.
    Address(IpAddr),
    /// Networks.
    Networks(Vec<IpNet>),
}

/// Reads `text` as `kind` asks.
///
/// # Errors
/// What is allowed, in words, when `text` is not it.
pub(super) fn read(kind: SettingKind, text: &str) -> Result<SettingValue, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(SettingValue::Unset);
    }
    let value = match kind {
        SettingKind::Text | SettingKind::Secret | SettingKind::Dsn | SettingKind::Path => {
            Some(SettingValue::Text(text.to_owned()))
        }
        SettingKind::Switch => switch(text).map(SettingValue::Flag),
        SettingKind::Word(words) => {
            let lower = text.to_ascii_lowercase();
            words.contains(&lower.as_str()).then_some(SettingValue::Text(lower))
        }
        SettingKind::Count(min, max) => bounded(text.parse().ok(), min, max),
        SettingKind::Millis(min, max) => bounded(millis(text), min, max),
        SettingKind::Bytes(min, max) => bounded(bytes(text), min, max),
        SettingKind::Address => text.parse().ok().map(SettingValue::Address),
        SettingKind::Networks => networks(text).map(SettingValue::Networks),
        SettingKind::Header => HeaderName::from_bytes(text.as_bytes())
            .ok()
            .map(|_| SettingValue::Text(text.to_owned())),
        SettingKind::Origins => {
            CorsOrigins::parse(text).map(|_| SettingValue::Text(text.to_owned()))
        }
        SettingKind::AccessToken => {
            is_access_token(text).then(|| SettingValue::Text(text.to_owned()))
        }
        SettingKind::Redis => {
            throttle::is_address(text).then(|| SettingValue::Text(text.to_owned()))
        }
        SettingKind::Proxy => proxy(text).map(SettingValue::Text),
        SettingKind::Url => is_url(text).then(|| SettingValue::Text(text.to_owned())),
        SettingKind::Headers => headers(text).map(|_| SettingValue::Text(text.to_owned())),
        SettingKind::Share => share(text).map(|_| SettingValue::Text(text.to_owned())),
        SettingKind::Amount => is_amount_or_off(text).then(|| SettingValue::Text(text.to_owned())),
        SettingKind::Unit => {
            console::Unit::parse(text).map(|_| SettingValue::Text(text.to_owned()))
        }
    };
    value.ok_or_else(|| allowed(kind))
}

/// What `kind` allows, in words.
pub(crate) fn allowed(kind: SettingKind) -> String {
    match kind {
        SettingKind::Text | SettingKind::Secret => "any text".into(),
        SettingKind::Path => "a path".into(),
        SettingKind::Dsn => "postgres://user:password@host:port/database, or local".into(),
        SettingKind::Switch => "true or false".into(),
        SettingKind::Word(words) => words.join(", "),
        SettingKind::Count(min, max) => format!("a whole number from {min} to {max}"),
        SettingKind::Millis(min, max) => {
            let (min, max) = (show_millis(min), show_millis(max));
            format!("a duration like 30, 30s, 2m, 1h or 500ms, from {min} to {max}")
        }
        SettingKind::Bytes(min, max) => {
            let (min, max) = (show_bytes(min), show_bytes(max));
            format!("a size like 1048576, 32MiB or 2GiB, from {min} to {max}")
        }
        SettingKind::Address => "an IP address like 127.0.0.1, 0.0.0.0 or ::".into(),
        SettingKind::Networks => "IP networks separated by commas, like 10.0.0.0/8,fd00::/8".into(),
        SettingKind::Header => "the name of an HTTP header".into(),
        SettingKind::Origins => "*, off, or origins like https://app.example.com,…".into(),
        SettingKind::AccessToken => {
            format!("{MIN_ACCESS_TOKEN_CHARS} to {MAX_ACCESS_TOKEN_CHARS} visible ASCII characters")
        }
        SettingKind::Redis => {
            "an address like redis://:password@localhost:6379/0, or rediss://…".into()
        }
        SettingKind::Proxy => "an address like http://proxy.example.com:8080".into(),
        SettingKind::Url => "an address like http://localhost:4318".into(),
        SettingKind::Headers => "headers like key=value,key=value, percent-encoded".into(),
        SettingKind::Share => "a number from 0 to 1, like 0.1".into(),
        SettingKind::Amount => "an amount like $100 or 50000000q, or off".into(),
        SettingKind::Unit => "$, q, or a sign and what a dollar is worth, like ¥7.25".into(),
    }
}

fn bounded(number: Option<u64>, min: u64, max: u64) -> Option<SettingValue> {
    number.filter(|n| (min..=max).contains(n)).map(SettingValue::Number)
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// `1048576`, `32MiB`, `32MB`, `32m`, `2GiB`; `off` is 0. Every unit is a power of 1024, as
/// in the systems that operators come from.
fn bytes(text: &str) -> Option<u64> {
    if text.eq_ignore_ascii_case("off") {
        return Some(0);
    }
    let (number, unit) = leading_number(text)?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1u64 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(len)?;
    Some((digits.parse().ok()?, rest))
}

fn networks(text: &str) -> Option<Vec<IpNet>> {
    let parse = |one: &str| {
        let one = one.trim();
        one.parse::<IpNet>().ok().or_else(|| one.parse::<IpAddr>().ok().map(IpNet::from))
    };
    text.split(',').filter(|one| !one.trim().is_empty()).map(parse).collect()
}

/// A proxy's address; `host:port` means `http://host:port`, as in curl.
fn proxy(text: &str) -> Option<String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: http::Uri = full.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    (known && uri.host().is_some_and(|host| !host.is_empty())).then_some(full)
}

fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let plain = uri.query().is_none() && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    plain && has_host && matches!(uri.scheme_str(), Some("http" | "https"))
}

/// `key=value,key=value`; values are percent-encoded, as OpenTelemetry has it.
pub(super) fn headers(text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim());
        let mut value = HeaderValue::from_bytes(&Cow::from(value)).ok()?;
        value.set_sensitive(true);
        headers.append(HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value);
    }
    Some(headers)
}

/// A number from 0 to 1.
pub(super) fn share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

/// `$100` or `50000000q`; `off` is none.
pub(super) fn amount(text: &str) -> Option<Quota> {
    console::Unit::default().read(text)
}

fn is_amount_or_off(text: &str) -> bool {
    text.eq_ignore_ascii_case("off") || amount(text).is_some()
}

/// A duration as its setting is written.
pub(super) fn show_millis(ms: u64) -> String {
    match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(DAY) => format!("{}d", ms / DAY),
        _ if ms.is_multiple_of(HOUR) => format!("{}h", ms / HOUR),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// A size as its setting is written.
pub(super) fn show_bytes(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// An address with its password taken out, for showing.
pub(super) fn without_password(address: &str) -> String {
    if let Some((scheme, rest)) = address.split_once("://") {
        // The last @ before the path ends the credentials: a password may hold others.
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let at = match rest.get(..authority_len).and_then(|a| a.rfind('@')) {
            // An unescaped slash in a password: hide everything up to the last @ there is.
            None => rest.rfind('@'),
            found => found,
        };
        let host_on = at.and_then(|at| rest.split_at_checked(at));
        return match host_on {
            None => address.to_owned(),
            Some((credentials, host)) => {
                let user = credentials.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}:***{host}")
            }
        };
    }
    let lower = address.to_ascii_lowercase();
    if lower.contains("password") || lower.contains('@') { "***".into() } else { address.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds() {
        assert_eq!(
            read(SettingKind::Millis(1_000, 5_000), "6s").map_err(|e| e.contains("1s")),
            Err(true)
        );
    }

    #[test]
    fn sizes() {
        for (text, size) in [
            ("32MiB", Some(32 << 20)),
            ("32m", Some(32 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1024", Some(1024)),
            ("off", Some(0)),
            ("1.5G", None),
            ("GiB", None),
            ("18446744073709551615T", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
        assert_eq!(show_bytes(32 << 20), "32MiB");
        assert_eq!(show_millis(90_000), "90s");
    }

    #[test]
    fn networks_and_addresses() {
        assert!(networks("10.0.0.0/8, 127.0.0.1,::1/128").is_some_and(|nets| nets.len() == 3));
        assert!(networks("10.0.0.0/33").is_none());
        assert!(proxy("proxy:8080").is_some_and(|p| p == "http://proxy:8080"));
        assert!(proxy("socks5://proxy:1080").is_none());
        assert!(read(SettingKind::Header, "X Bad").is_err());
    }

    #[test]
    fn amounts_are_those_of_the_console() {
        assert_eq!(amount("$100"), Some(Quota(50_000_000)));
        assert_eq!(amount("7q"), Some(Quota(7)));
        assert!(is_amount_or_off("Off") && amount("Off").is_none());
        assert!(!is_amount_or_off("-1") && !is_amount_or_off("0,5"));
    }

    #[test]
    fn what_traces_need() {
        assert!(is_url("http://localhost:4318") && is_url("https://otel.example/base/"));
        for bad in ["localhost:4318", "grpc://x:4317", "http://u:p@x", "http://x/?k=1", "http://"] {
            assert!(!is_url(bad), "{bad}");
        }
        let read = headers("api-key=s%3D1, X-Scope = a b ,").unwrap();
        let said = ["api-key", "x-scope"].map(|name| read[name].to_str().unwrap());
        assert_eq!(said, ["s=1", "a b"]);
        assert!(headers("no value").is_none() && headers("a b=c").is_none());
        assert_eq!(share("0.25"), Some(0.25));
        for bad in ["-0.1", "1.1", "NaN", "10%"] {
            assert_eq!(share(bad), None, "{bad}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (address, shown) in [
            ("postgres://u:p@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:p@x@h/d", "postgres://u:***@h/d"),
            ("postgres://u:p/x@h/d", "postgres://u:***@h/d"),
            ("postgres://h/d", "postgres://h/d"),
            ("http://proxy:8080", "http://proxy:8080"),
            ("host=h password=p", "***"),
            ("local", "local"),
        ] {
            assert_eq!(without_password(address), shown);
        }
    }
}
