//! Proxies: the operator's (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`) and a channel's own.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use std::fmt;
use std::sync::Arc;

/// The proxies of the whole installation, as the usual environment variables set them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://` upstreams (`HTTP_PROXY`).
    pub http: Option<String>,
    /// For `https://` upstreams (`HTTPS_PROXY`).
    pub https: Option<String>,
    /// Hosts and networks that are reached directly (`NO_PROXY`).
    pub no: Option<String>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The addresses may contain passwords.
        let (http, https) = (self.http.is_some(), self.https.is_some());
        f.debug_struct("Proxies").field("http", &http).field("https", &https).finish()
    }
}

/// Not the address of a proxy. The text itself is not repeated: it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy must be written like http://host:port, https://host:port or socks5://host:port")]
pub struct ProxyError;

impl ProxyError {
    /// What is wrong and the remedy, in Chinese.
    #[must_use]
    pub const fn zh(self) -> &'static str {
        "代理地址无效,应形如 http://host:port、https://host:port 或 socks5://host:port"
    }
}

/// How one channel's upstream is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxyChoice {
    /// By the installation's proxies.
    #[default]
    Default,
    /// Without any proxy.
    Direct,
    /// Through this one.
    Via(ProxyUrl),
}

/// The checked address of a proxy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProxyUrl(Arc<str>);

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl")
    }
}

impl ProxyChoice {
    /// Parses a channel's setting: empty is the installation's proxy, `direct` is none.
    ///
    /// # Errors
    /// When it is not the address of a proxy.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        match text.trim() {
            "" => Ok(Self::Default),
            word if word.eq_ignore_ascii_case("direct") => Ok(Self::Direct),
            url => {
                intercept(url)?;
                Ok(Self::Via(ProxyUrl(url.into())))
            }
        }
    }
}

/// The route of a client's connections.
pub(crate) enum Route {
    Direct,
    Matched(Matcher),
    Via(Intercept),
}

impl Route {
    pub(crate) fn of_installation(proxies: &Proxies) -> Result<Self, ProxyError> {
        let text = |proxy: &Option<String>| proxy.as_deref().unwrap_or_default().trim().to_owned();
        let (http, https) = (text(&proxies.http), text(&proxies.https));
        if http.is_empty() && https.is_empty() {
            return Ok(Self::Direct);
        }
        for url in [&http, &https] {
            if !url.is_empty() {
                intercept(url)?;
            }
        }
        let matcher = Matcher::builder().http(http).https(https).no(text(&proxies.no));
        Ok(Self::Matched(matcher.build()))
    }

    pub(crate) fn via(url: &ProxyUrl) -> Result<Self, ProxyError> {
        intercept(&url.0).map(Self::Via)
    }

    /// Whether this is a channel's own proxy, chosen by its editor and not by the operator.
    pub(crate) const fn is_a_channels(&self) -> bool {
        matches!(self, Self::Via(_))
    }

    /// The proxy for `target`, if it is reached through one.
    pub(crate) fn intercept(&self, target: &Uri) -> Option<Intercept> {
        match self {
            Self::Direct => None,
            Self::Matched(matcher) => matcher.intercept(target),
            Self::Via(proxy) => Some(proxy.clone()),
        }
    }

    /// How the request line must be written for the proxy: absolute for one that forwards plain
    /// requests; a tunnel got its target when it was opened.
    pub(crate) fn request_auth(&self, target: &Uri) -> Option<HeaderValue> {
        if target.scheme_str() != Some("http") {
            return None;
        }
        self.intercept(target).and_then(|proxy| proxy.basic_auth().cloned())
    }
}

fn intercept(url: &str) -> Result<Intercept, ProxyError> {
    let any = Uri::from_static("http://example.com");
    let proxy = Matcher::builder().all(url).build().intercept(&any).ok_or(ProxyError)?;
    match proxy.uri().scheme_str() {
        Some("http" | "https" | "socks5" | "socks5h") => Ok(proxy),
        _ => Err(ProxyError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_channels_setting() {
        assert_eq!(ProxyChoice::parse(" "), Ok(ProxyChoice::Default));
        assert_eq!(ProxyChoice::parse("direct"), Ok(ProxyChoice::Direct));
        for url in ["http://u:p@proxy:3128", "https://proxy", "socks5://proxy:1080", "proxy:3128"] {
            assert!(matches!(ProxyChoice::parse(url), Ok(ProxyChoice::Via(_))), "{url}");
        }
        for url in ["ftp://proxy", "http://", "http://a b", "socks4://proxy:1080"] {
            assert_eq!(ProxyChoice::parse(url), Err(ProxyError), "{url}");
        }
        let shown = format!("{:?}", ProxyChoice::parse("http://u:secret@proxy:3128"));
        assert!(!shown.contains("secret"));
    }

    #[test]
    fn the_installations_proxy_spares_whom_it_should() {
        let proxies = Proxies {
            http: Some("http://u:p@proxy:3128".to_owned()),
            https: None,
            no: Some("internal.example,10.0.0.0/8".to_owned()),
        };
        let route = Route::of_installation(&proxies).unwrap();
        let auth = |uri| route.request_auth(&Uri::from_static(uri)).is_some();
        assert!(auth("http://example.com/"));
        assert!(!auth("https://example.com/"));
        assert!(!auth("http://a.internal.example/"));
        assert!(!auth("http://10.1.2.3/"));
        assert!(matches!(Route::of_installation(&Proxies::default()), Ok(Route::Direct)));
    }
}
