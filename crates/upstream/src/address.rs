//! The address of an upstream: `base_url`, and the targets below it.

use crate::encode::encode_path;
use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use std::fmt;
use std::net::Ipv6Addr;

/// Longest `base_url`: a host name has at most 253 characters.
const MAX_LEN: usize = 300;

/// A checked `base_url`: a scheme and a host, perhaps a port, and, where the protocol has it, a
/// path.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: Box<str>,
    /// Without a slash at its end; empty, where there is none.
    path: Box<str>,
    scheme: Scheme,
    authority: Authority,
}

/// Why a text is not a [`BaseUrl`], or can't be combined with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.en())]
pub enum AddressError {
    /// Neither `http://` nor `https://`.
    Scheme,
    /// No host.
    NoHost,
    /// The host is not a name or an address.
    Host,
    /// The port is not 1 to 65535.
    Port,
    /// A `/` at the end.
    TrailingSlash,
    /// A path.
    Path,
    /// A `?` or a `#`.
    Query,
    /// A user name or a password.
    Credentials,
    /// A blank, a control character or a character that is not ASCII.
    Character,
    /// Longer than any host name.
    TooLong,
    /// The whole address of a request is too long, or its query can't be sent.
    Target,
}

impl AddressError {
    /// The field, what is wrong with it and the remedy, in Chinese.
    #[must_use]
    pub const fn zh(self) -> &'static str {
        match self {
            Self::Scheme => "base_url 必须以 http:// 或 https:// 开头",
            Self::NoHost => "base_url 缺少主机名,应形如 https://api.example.com",
            Self::Host => "base_url 的主机名无效,应形如 https://api.example.com",
            Self::Port => "base_url 的端口无效,应为 1 到 65535",
            Self::TrailingSlash => "base_url 末尾不能有斜杠,请去掉末尾的 /",
            Self::Path => "base_url 不能带路径,请只保留协议和主机,路径写在模型名中",
            Self::Query => "base_url 不能带 ? 或 #,请去掉该部分",
            Self::Credentials => "base_url 不能带用户名或密码,请写入渠道的 key",
            Self::Character => "base_url 含有空白、控制字符或非 ASCII 字符,国际化域名请用 punycode",
            Self::TooLong => "base_url 超过 300 个字符",
            Self::Target => "请求地址过长或查询串无法发送",
        }
    }

    /// The same in English.
    #[must_use]
    pub const fn en(self) -> &'static str {
        match self {
            Self::Scheme => "base_url must start with http:// or https://",
            Self::NoHost => "base_url has no host; write it like https://api.example.com",
            Self::Host => "base_url has an invalid host; write it like https://api.example.com",
            Self::Port => "base_url has an invalid port; it must be 1 to 65535",
            Self::TrailingSlash => "base_url must not end in a slash; remove the final /",
            Self::Path => {
                "base_url must not have a path; keep scheme and host, and put the path into the \
                 model name"
            }
            Self::Query => "base_url must not have ? or #; remove that part",
            Self::Credentials => {
                "base_url must not have a user name or password; use the channel's key"
            }
            Self::Character => {
                "base_url has a blank, a control or a non-ASCII character; write an international \
                 name in punycode"
            }
            Self::TooLong => "base_url is longer than 300 characters",
            Self::Target => "the request's address is too long, or its query can't be sent",
        }
    }
}

impl BaseUrl {
    /// Checks what an operator wrote. Surrounding blanks are ignored.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let url = Self::parse_with_path(text)?;
        if !url.path.is_empty() {
            return Err(AddressError::Path);
        }
        if text.trim().ends_with('/') {
            return Err(AddressError::TrailingSlash);
        }
        Ok(url)
    }

    /// The same, for a protocol whose APIs may be below a path. A slash at its end is no
    /// matter.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse_with_path(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.len() > MAX_LEN {
            return Err(AddressError::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(AddressError::Character);
        }
        let (scheme, rest) = split_scheme(text)?;
        if rest.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.contains('@') {
            return Err(AddressError::Credentials);
        }
        check_host_and_port(host)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        check_base_path(path)?;
        let host = host.to_ascii_lowercase();
        let text = format!("{scheme}://{host}{path}").into_boxed_str();
        let authority = Authority::try_from(host).map_err(|_| AddressError::Host)?;
        Ok(Self { text, path: path.into(), scheme, authority })
    }

    /// The address as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the upstream is reached over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The host (an IPv6 address in brackets), without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The port, explicit or implied.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// `{base_url}/{path}`, where `path` is decoded and has no leading slash: the path that was
    /// priced is the path that is requested, however the client had spelt it.
    ///
    /// # Errors
    /// When the address gets too long, or `raw_query` has characters that a query can't have.
    pub fn target(&self, path: &str, raw_query: Option<&str>) -> Result<Uri, AddressError> {
        self.at_encoded(&format!("{}/{}", self.path, encode_path(path)), raw_query)
    }

    /// Its path, without a slash at its end.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Scheme and host with this absolute path, which is decoded, in place of its own.
    ///
    /// # Errors
    /// Those of [`BaseUrl::target`].
    pub fn at_path(&self, path: &str, raw_query: Option<&str>) -> Result<Uri, AddressError> {
        self.at_encoded(&encode_path(path), raw_query)
    }

    /// The same with a path that is encoded.
    ///
    /// # Errors
    /// Those of [`BaseUrl::target`].
    pub fn at_encoded(&self, path: &str, raw_query: Option<&str>) -> Result<Uri, AddressError> {
        self.join(path.trim_start_matches('/'), raw_query)
    }

    /// The path is without its first slash.
    fn join(&self, path: &str, raw_query: Option<&str>) -> Result<Uri, AddressError> {
        let query_len = raw_query.map_or(0, |q| q.len() + 1);
        let mut text = String::with_capacity(1 + path.len() + query_len);
        text.push('/');
        text.push_str(path);
        if let Some(query) = raw_query {
            // A fragment is never sent, so it would cut off the rest of the query.
            if query.contains('#') {
                return Err(AddressError::Target);
            }
            text.push('?');
            text.push_str(query);
        }
        let path = PathAndQuery::from_maybe_shared(Bytes::from(text));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.map_err(|_| AddressError::Target)?);
        Uri::from_parts(parts).map_err(|_| AddressError::Target)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({})", self.text)
    }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), AddressError> {
    for (prefix, scheme) in [("http://", Scheme::HTTP), ("https://", Scheme::HTTPS)] {
        if text.get(..prefix.len()).is_some_and(|front| front.eq_ignore_ascii_case(prefix)) {
            return Ok((scheme, &text[prefix.len()..]));
        }
    }
    Err(AddressError::Scheme)
}

fn check_host_and_port(text: &str) -> Result<(), AddressError> {
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let (address, after) = inner.split_once(']').ok_or(AddressError::Host)?;
        address.parse::<Ipv6Addr>().map_err(|_| AddressError::Host)?;
        match after {
            "" => (address, None),
            _ => (address, Some(after.strip_prefix(':').ok_or(AddressError::Host)?)),
        }
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        check_name(host)?;
        (host, port)
    };
    if host.is_empty() {
        return Err(AddressError::NoHost);
    }
    match port {
        None => Ok(()),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let number = digits.parse::<u16>().map_err(|_| AddressError::Port)?;
            if number == 0 { Err(AddressError::Port) } else { Ok(()) }
        }
        Some(_) => Err(AddressError::Port),
    }
}

/// Segments that need no encoding and do not climb.
fn check_base_path(path: &str) -> Result<(), AddressError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~');
    let is_segment = |text: &str| !matches!(text, "" | "." | "..") && text.bytes().all(plain);
    let mut segments = path.split('/').skip(1);
    if segments.all(is_segment) { Ok(()) } else { Err(AddressError::Path) }
}

fn check_name(host: &str) -> Result<(), AddressError> {
    if host.is_empty() {
        return Err(AddressError::NoHost);
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let labels = host.strip_suffix('.').unwrap_or(host);
    if host.len() > 253
        || !host.bytes().all(plain)
        || labels.split('.').any(|label| label.is_empty() || label.len() > 63)
    {
        return Err(AddressError::Host);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_a_scheme_and_a_host() {
        for (text, stored) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            (" HTTPS://API.Example.com ", "https://api.example.com"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://[::1]", "http://[::1]"),
            ("http://my_service.svc.cluster.local.", "http://my_service.svc.cluster.local."),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap().as_str(), stored, "{text}");
        }
        let base = BaseUrl::parse("https://[2001:db8::1]").unwrap();
        assert_eq!((base.host(), base.port(), base.is_https()), ("[2001:db8::1]", 443, true));
    }

    #[test]
    fn refuses_everything_else_with_its_remedy() {
        use AddressError::*;
        for (text, why) in [
            ("", Scheme),
            ("example.com", Scheme),
            ("ftp://example.com", Scheme),
            ("http:/example.com", Scheme),
            ("http://", NoHost),
            ("http://:80", NoHost),
            ("http://a..b", Host),
            ("http://.a", Host),
            ("http://a,b", Host),
            ("http://a%2fb", Host),
            ("http://a\\b", Host),
            ("http://[::1", Host),
            ("http://[1.2.3.4]", Host),
            ("http://[::1]x", Host),
            ("http://[fe80::1%25eth0]", Host),
            ("http://a:0", Port),
            ("http://a:", Port),
            ("http://a:65536", Port),
            ("http://a:+80", Port),
            ("http://a:80:80", Port),
            ("http://a/", TrailingSlash),
            ("http://a/v1", Path),
            ("http://a//", Path),
            ("http://a?x", Query),
            ("http://a/#x", Query),
            ("http://u:p@a", Credentials),
            ("http://u@a", Credentials),
            ("http://a b", Character),
            ("http://a\n", Port),
            ("http://例子.cn", Character),
        ] {
            if text.ends_with('\n') {
                assert!(BaseUrl::parse(text).is_ok());
                continue;
            }
            assert_eq!(BaseUrl::parse(text), Err(why), "{text:?}");
            assert!(why.zh().contains("base_url") && why.en().contains("base_url"));
        }
        assert_eq!(BaseUrl::parse(&format!("http://{}", "a".repeat(300))), Err(TooLong));
    }

    #[test]
    fn a_path_is_kept_where_a_protocol_has_one() {
        let parse = |text| BaseUrl::parse_with_path(text).map(|url| url.to_string());
        assert_eq!(parse("https://A.example/openai/v1/").unwrap(), "https://a.example/openai/v1");
        assert_eq!(parse("https://a.example/").unwrap(), "https://a.example");
        for bad in ["http://a//b", "http://a/../b", "http://a/b c", "http://a/%2e", "http://a/b//"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let base = BaseUrl::parse_with_path("http://up/api").unwrap();
        assert_eq!(base.target("m", None).unwrap().to_string(), "http://up/api/m");
        assert_eq!(
            base.at_path("/api/v1/x", Some("q")).unwrap().to_string(),
            "http://up/api/v1/x?q"
        );
    }

    #[test]
    fn addresses_what_was_priced() {
        let base = BaseUrl::parse("http://up:9000").unwrap();
        for (path, query, target) in [
            ("gpt-4", None, "http://up:9000/gpt-4"),
            ("img/submit", Some("a=1&b"), "http://up:9000/img/submit?a=1&b"),
            ("a b%2e字", None, "http://up:9000/a%20b%252e%E5%AD%97"),
            ("org/m:free@1!$&'()*+,;=-._~", None, "http://up:9000/org/m:free@1!$&'()*+,;=-._~"),
            ("a[1]{x}|^`\"<>", None, "http://up:9000/a%5B1%5D%7Bx%7D%7C%5E%60%22%3C%3E"),
            ("x", Some(""), "http://up:9000/x?"),
        ] {
            assert_eq!(base.target(path, query).unwrap().to_string(), target);
        }
        let v1 = base.at_path("/v1/chat/completions", None).unwrap();
        assert_eq!(v1.to_string(), "http://up:9000/v1/chat/completions");
        assert_eq!(base.target("x", Some("a b")), Err(AddressError::Target));
        assert_eq!(base.target("x", Some("a#b")), Err(AddressError::Target));
        assert_eq!(base.target("x", Some(&"a".repeat(70_000))), Err(AddressError::Target));
    }
}
