//! A channel, ready to be called: what follows from its row alone. Calls, polls of tasks and trials
//! all use this, so that a row means the same to each of them.
#![warn(unreachable_pub, clippy::disallowed_methods)]

use domain::{Fault, FaultKind, ModelName};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use store::Channel;
use upstream::{BaseUrl, Deadlines, EchoGuard, ProxyChoice};

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
    /// Scheme and host.
    pub base: BaseUrl,
    /// `Bearer {channel key}`; none when the channel has no key.
    pub authorization: Option<HeaderValue>,
    /// Removes the channel's key from the upstream's replies.
    pub echo: Option<EchoGuard>,
    /// The header that carries the caller's key.
    pub user_token_header: HeaderName,
    /// How the upstream is reached.
    pub proxy: ProxyChoice,
    /// The deadlines of a call.
    pub deadlines: Deadlines,
}

impl Prepared {
    /// Validates a row. Operators write rows with plain SQL too, so any part may be unusable.
    ///
    /// # Errors
    /// A configuration fault, with the part that can't be used.
    pub fn read(channel: &Arc<Channel>, config: &EgressConfig) -> Result<Self, Fault> {
        let base =
            BaseUrl::parse(&channel.base_url).map_err(|e| bad_channel().caused_by(e.en()))?;
        let authorization = match channel.key.expose() {
            "" => None,
            key => {
                let value = HeaderValue::try_from(format!("Bearer {key}"));
                let mut value = value.map_err(|_| bad_channel().caused_by("key"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let user_token_header = match channel.user_token_header.as_deref() {
            None | Some("") => config.user_token_header.clone(),
            Some(name) => HeaderName::try_from(name)
                .map_err(|_| bad_channel().caused_by("user-token header"))?,
        };
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
        let echo = EchoGuard::of(channel.key.expose());
        Ok(Self { channel, base, authorization, echo, user_token_header, proxy, deadlines })
    }

    /// Sets the headers that authenticate the channel and name the caller.
    pub fn authorize(&self, headers: &mut HeaderMap, caller_key: HeaderValue) {
        headers.insert(self.user_token_header.clone(), caller_key);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
    }
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
