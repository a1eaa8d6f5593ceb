//! A channel, ready to be called: what follows from its row alone.

use crate::{RelayConfig, faults};
use domain::Fault;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use store::Channel;
use upstream::{BaseUrl, Deadlines, ProxyChoice};

/// What a call of a channel needs, checked once for each version of its row.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The row.
    pub channel: Arc<Channel>,
    pub base: BaseUrl,
    /// `Bearer {channel key}`; none when the channel has no key.
    pub authorization: Option<HeaderValue>,
    /// The header that carries the caller's key.
    pub user_token_header: HeaderName,
    pub proxy: ProxyChoice,
    pub deadlines: Deadlines,
}

impl Prepared {
    /// Reads a row. Operators write rows with plain SQL too, so each part may be unusable.
    pub(crate) fn read(channel: &Arc<Channel>, config: &RelayConfig) -> Result<Self, Fault> {
        let base = BaseUrl::parse(&channel.base_url)
            .map_err(|e| faults::bad_channel().caused_by(e.en()))?;
        let authorization = match channel.key.expose() {
            "" => None,
            key => {
                let value = HeaderValue::try_from(format!("Bearer {key}"));
                let mut value = value.map_err(|_| faults::bad_channel().caused_by("key"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let user_token_header = match channel.user_token_header.as_deref() {
            None | Some("") => config.user_token_header.clone(),
            Some(name) => HeaderName::try_from(name)
                .map_err(|_| faults::bad_channel().caused_by("user-token header"))?,
        };
        let proxy = match &channel.setting.proxy {
            None => ProxyChoice::Default,
            Some(proxy) => ProxyChoice::parse(proxy.expose())
                .map_err(|e| faults::bad_channel().caused_by(e))?,
        };
        let first_byte_ms = channel.setting.timeout_ms.unwrap_or(config.first_byte_ms);
        let deadlines = Deadlines {
            connect_ms: config.connect_ms,
            first_byte_ms,
            idle_ms: config.idle_ms,
            total_ms: config.total_ms(first_byte_ms),
        };
        let channel = Arc::clone(channel);
        Ok(Self { channel, base, authorization, user_token_header, proxy, deadlines })
    }
}
