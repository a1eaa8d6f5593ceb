//! A channel, ready to be called: what follows from its row alone. Calls, polls of tasks and trials
//! all use this, so that a row means the same to each of them.
#![warn(unreachable_pub, clippy::disallowed_methods)]

pub mod faults;
mod price;
pub mod request_body;
pub mod request_units;

pub use price::{RequestTexts, price_for};

use domain::{Fault, FaultKind, ModelName, UnixMs, UserId};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::{Credential, PriceWord, ProbeCall, Protocol, ProtocolRoute};
use std::borrow::Cow;
use std::sync::Arc;
use store::Channel;
use store::channel_fields::NO_USER_TOKEN;
use upstream::{AddressError, BaseUrl, Deadlines, EchoGuard, ProxyChoice};

/// The protocol of channels that name none.
pub const CUSTOM_PASS: &str = "custompass";

/// The lowest role of administrators.
const ADMIN_ROLE: i64 = 10;

/// A caller's key, and whose it is.
#[derive(Clone, Debug)]
pub struct CallerKey {
    /// The key.
    pub value: HeaderValue,
    /// Its owner.
    pub user_id: UserId,
    /// The owner's role.
    pub role: i64,
}

/// Defaults for what a channel does not set. Durations in milliseconds.
#[derive(Clone, Debug)]
pub struct EgressConfig {
    /// The header that carries the caller's key to the upstream (`CUSTOM_PASS_HEADER_KEY`).
    pub user_token_header: HeaderName,
    /// The deadlines of a call.
    pub deadlines: Deadlines,
}

/// What a call of a channel needs, validated once for each version of its row.
#[derive(Debug)]
pub struct Prepared {
    /// The row.
    pub channel: Arc<Channel>,
    /// The protocol that the upstream speaks.
    pub protocol: Arc<Protocol>,
    /// Scheme and host, and a path where the protocol has it.
    pub base: BaseUrl,
    /// What presents the channel's key; none when it has none.
    credential: Option<ReadyCredential>,
    /// Headers that the protocol wants, where the client sent none.
    default_headers: Vec<(HeaderName, HeaderValue)>,
    /// Removes the channel's key from the upstream's replies.
    pub echo: Option<EchoGuard>,
    /// The header that carries the caller's key, if the upstream is to have it.
    pub user_token_header: Option<HeaderName>,
    /// Headers that carry a caller's key to this or to other upstreams: a caller's own never do.
    pub token_headers: Vec<HeaderName>,
    /// How the upstream is reached.
    pub proxy: ProxyChoice,
    /// The deadlines of a call.
    pub deadlines: Deadlines,
}

/// What presents a channel's key, ready to be sent.
#[derive(Debug)]
enum ReadyCredential {
    Header(HeaderName, HeaderValue),
    /// `name=value`, encoded.
    Query(String),
    /// A header that is signed anew for each request.
    Signed,
}

impl Prepared {
    /// Validates a row. Operators write rows with plain SQL too, so any part may be unusable.
    ///
    /// # Errors
    /// A configuration fault, with the part that can't be used.
    pub fn read(channel: &Arc<Channel>, config: &EgressConfig) -> Result<Self, Fault> {
        let protocol = Arc::clone(protocol_of(channel)?);
        let base = match protocol.address.path {
            true => BaseUrl::parse_with_path(&channel.base_url),
            false => BaseUrl::parse(&channel.base_url),
        };
        let base = base.map_err(|e| bad_channel().caused_by(e.en()))?;
        // What is not signed does not depend on the time.
        let credential = protocol.auth.apply(channel.key.expose(), UnixMs(0));
        let credential = match credential.map(ReadyCredential::new).transpose()? {
            Some(_) if protocol.auth.is_signed() => Some(ReadyCredential::Signed),
            credential => credential,
        };
        let default_headers = protocol.auth.default_headers().map(|(name, value)| {
            let name = HeaderName::try_from(name).map_err(|e| bad_channel().caused_by(e))?;
            let value = HeaderValue::try_from(value).map_err(|e| bad_channel().caused_by(e))?;
            Ok((name, value))
        });
        let default_headers = default_headers.collect::<Result<_, Fault>>()?;
        // Only an upstream that a channel says it of, or one of CustomPass, gets a caller's key.
        let user_token_header = match channel.user_token_header.as_deref().unwrap_or_default() {
            NO_USER_TOKEN => None,
            "" => (*protocol.name == *CUSTOM_PASS).then(|| config.user_token_header.clone()),
            name => Some(
                HeaderName::try_from(name)
                    .map_err(|_| bad_channel().caused_by("user-token header"))?,
            ),
        };
        let mut token_headers = vec![config.user_token_header.clone()];
        token_headers.extend(user_token_header.clone());
        let proxy = match &channel.setting.proxy {
            None => ProxyChoice::Default,
            Some(proxy) => {
                ProxyChoice::parse(proxy.expose()).map_err(|e| bad_channel().caused_by(e))?
            }
        };
        let first_byte_ms = channel.setting.timeout_ms.unwrap_or(config.deadlines.first_byte_ms);
        // A longer total time includes a longer wait for the first byte.
        let total_ms = config.deadlines.total_ms.max(first_byte_ms);
        let deadlines = Deadlines { first_byte_ms, total_ms, ..config.deadlines };
        let channel = Arc::clone(channel);
        let secrets = protocol.auth.secrets_of(channel.key.expose());
        let sent = credential.as_ref().and_then(ReadyCredential::encoded_key);
        let sent: Vec<&str> = secrets.iter().map(String::as_str).chain(sent).collect();
        let echo = EchoGuard::of(channel.key.expose(), &sent);
        Ok(Self {
            channel,
            protocol,
            base,
            credential,
            default_headers,
            echo,
            user_token_header,
            token_headers,
            proxy,
            deadlines,
        })
    }

    /// The deadlines of a call by a route: the protocol knows how long its API takes to begin, and
    /// the channel's own setting wins.
    #[must_use]
    pub fn deadlines_of(&self, route: Option<&ProtocolRoute>) -> Deadlines {
        let own = self.channel.setting.timeout_ms;
        match route.and_then(|route| route.first_byte_s).filter(|_| own.is_none()) {
            None => self.deadlines,
            Some(seconds) => {
                let first_byte_ms = u64::from(seconds) * 1_000;
                let total_ms = self.deadlines.total_ms.max(first_byte_ms);
                Deadlines { first_byte_ms, total_ms, ..self.deadlines }
            }
        }
    }

    /// Presents the channel's key, and that of the caller where the upstream is to have it.
    pub fn authorize(&self, headers: &mut HeaderMap, caller: &CallerKey) {
        if let Some(name) = self.user_token_header.as_ref().filter(|_| self.may_have(caller)) {
            headers.insert(name.clone(), caller.value.clone());
        }
        self.authorize_alone(headers);
    }

    /// Whether a caller's key may be sent where the channel leads. An administrator reaches the
    /// things of users, and not those of root or of other administrators: their keys go only where
    /// root, or they themselves, have sent them.
    fn may_have(&self, caller: &CallerKey) -> bool {
        let placed_by = self.channel.placed_by;
        caller.role < ADMIN_ROLE || placed_by.is_none_or(|admin| admin == caller.user_id)
    }

    /// Presents the channel's key where that takes a signature, which is valid for a while.
    pub fn sign(&self, headers: &mut HeaderMap, now: UnixMs) {
        let Some(ReadyCredential::Signed) = &self.credential else { return };
        let signed = self.protocol.auth.apply(self.channel.key.expose(), now);
        if let Some(Ok(ReadyCredential::Header(name, value))) = signed.map(ReadyCredential::new) {
            headers.insert(name, value);
        }
    }

    /// The headers of a call of our own: the channel's key, and what the route of the call sets.
    pub fn set_own_headers(&self, (method, path): (&Method, &str), headers: &mut HeaderMap) {
        self.authorize_alone(headers);
        if let Some(found) = self.protocol.route(method.as_str(), path) {
            set_headers_of(found.route, headers);
        }
    }

    /// Presents the channel's key alone: for calls of our own.
    pub fn authorize_alone(&self, headers: &mut HeaderMap) {
        if let Some(ReadyCredential::Header(name, value)) = &self.credential {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.default_headers {
            headers.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }

    /// The cheapest call that the channel's protocol has, as its document says: method, path and
    /// body. What CustomPass speaks besides is no call of its own: its model is its path.
    #[must_use]
    pub fn cheapest(&self, model: &str) -> Option<(Method, String, String)> {
        if *self.protocol.name == *CUSTOM_PASS {
            return None;
        }
        let ProbeCall { method, path, body } = self.protocol.probe()?.probe_call(model)?;
        Some((method.parse().ok()?, path, body))
    }

    /// The address of an absolute path, which is encoded, and perhaps has a query.
    ///
    /// # Errors
    /// Those of [`Prepared::at_path`].
    pub fn at_encoded(&self, target: &str) -> Result<Uri, AddressError> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let path = self.protocol.address.join((self.base.host(), self.base.path()), path);
        self.base.at_encoded(&path, self.with_key(query).as_deref())
    }

    /// The address of an absolute path, which is decoded, below the channel's base URL.
    ///
    /// # Errors
    /// When the address gets too long, or the query has characters that none can have.
    pub fn at_path(&self, path: &str, query: Option<&str>) -> Result<Uri, AddressError> {
        let path = self.protocol.address.join((self.base.host(), self.base.path()), path);
        self.base.at_path(&path, self.with_key(query).as_deref())
    }

    /// A query with the channel's key, where that is where it is presented.
    fn with_key<'a>(&'a self, query: Option<&'a str>) -> Option<Cow<'a, str>> {
        match (&self.credential, query) {
            (Some(ReadyCredential::Query(key)), Some(query)) => {
                Some(Cow::Owned(format!("{query}&{key}")))
            }
            (Some(ReadyCredential::Query(key)), None) => Some(Cow::Borrowed(key)),
            (_, query) => query.map(Cow::Borrowed),
        }
    }
}

impl ReadyCredential {
    /// The key as it stands in an address.
    fn encoded_key(&self) -> Option<&str> {
        match self {
            Self::Header(..) | Self::Signed => None,
            Self::Query(pair) => pair.split_once('=').map(|(_, key)| key),
        }
    }

    fn new(credential: Credential) -> Result<Self, Fault> {
        let bad_key = || bad_channel().caused_by("key");
        match credential {
            Credential::Header(name, value) => {
                let name = HeaderName::try_from(name).map_err(|_| bad_key())?;
                let mut value = HeaderValue::try_from(value).map_err(|_| bad_key())?;
                value.set_sensitive(true);
                Ok(Self::Header(name, value))
            }
            Credential::Query(name, value) => {
                let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                Ok(Self::Query(format!("{}={}", encode(&name), encode(&value))))
            }
        }
    }
}

/// Sets the headers that all calls of a route have, or have not, whatever the client sends.
pub fn set_headers_of(route: &ProtocolRoute, headers: &mut HeaderMap) {
    for (name, value) in &route.headers {
        let Ok(name) = HeaderName::try_from(name.as_str()) else { continue };
        match HeaderValue::try_from(value.as_str()) {
            Ok(value) if !value.is_empty() => {
                headers.insert(name, value);
            }
            _ => {
                headers.remove(name);
            }
        }
    }
}

/// The cheapest call of a protocol, if it costs nothing.
#[must_use]
pub fn free_probe(protocol: &Protocol) -> Option<&Arc<ProtocolRoute>> {
    protocol.probe().filter(|route| route.price == PriceWord::Free)
}

/// The protocol of a channel. One that is not there never makes its calls free.
///
/// # Errors
/// When there is none of that name.
pub fn protocol_of(channel: &Channel) -> Result<&Arc<Protocol>, Fault> {
    let name = &channel.protocol.name;
    let unknown = || bad_channel().caused_by(format!("there is no protocol {name}"));
    channel.protocol.found.as_ref().ok_or_else(unknown)
}

/// The upstream's name of a model.
///
/// # Errors
/// When the channel's mapping leads to a name that is not allowed in a path.
pub fn mapped<'a>(channel: &'a Channel, model: &'a str) -> Result<&'a str, Fault> {
    let Some(mapped) = channel.model_mapping.get(model) else { return Ok(model) };
    // Written by an operator, perhaps with plain SQL: `..` must still be refused.
    ModelName::parse(mapped).map_err(|e| bad_channel().caused_by(e))?;
    Ok(mapped)
}

fn bad_channel() -> Fault {
    Fault::new(FaultKind::Config, "渠道配置有误", "the channel is misconfigured")
}
