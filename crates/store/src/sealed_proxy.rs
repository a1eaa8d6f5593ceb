//! The proxy in the column `setting` of a channel: sealed where it has a password.

use crate::seal::{SealError, Sealer};
use serde_json::Value as Json;

/// Purpose of a channel's proxy.
const PROXY: &str = "channels.setting.proxy";

/// The column with its proxy decrypted: for use, never to be stored or shown.
///
/// # Errors
/// When it was sealed with another key, or altered.
pub fn open_proxy(sealer: &Sealer, setting: &str) -> Result<String, SealError> {
    let opened = with_proxy(setting, |proxy| {
        let sealed = Sealer::is_sealed(proxy).then(|| sealer.open_text(PROXY, proxy));
        Ok(sealed.transpose()?.map(|plain| plain.expose().to_owned()))
    });
    Ok(opened?.unwrap_or_else(|| setting.to_owned()))
}

/// The column as it is to be stored; `None` when it has no plain-text password.
///
/// # Errors
/// [`SealError::Random`].
pub fn seal_proxy(sealer: &Sealer, setting: &str) -> Result<Option<String>, SealError> {
    with_proxy(setting, |proxy| {
        let readable = proxy.contains('@') && !Sealer::is_sealed(proxy);
        readable.then(|| sealer.seal(PROXY, proxy.as_bytes())).transpose()
    })
}

/// The column with another proxy; `None` when that leaves it unchanged.
fn with_proxy(
    setting: &str,
    other: impl FnOnce(&str) -> Result<Option<String>, SealError>,
) -> Result<Option<String>, SealError> {
    let Ok(Json::Object(mut members)) = serde_json::from_str(setting) else { return Ok(None) };
    let Some(Json::String(proxy)) = members.get_mut("proxy") else { return Ok(None) };
    let Some(other) = other(proxy)? else { return Ok(None) };
    *proxy = other;
    Ok(Some(Json::Object(members).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_with_a_password_is_sealed_and_the_rest_stays() {
        let sealer = Sealer::new(b"secret");
        let plain = r#"{"proxy":"socks5://u:hidden@h:1","timeout":"30s"}"#;
        let sealed = seal_proxy(&sealer, plain).unwrap().unwrap();
        assert!(!sealed.contains("hidden") && sealed.contains(r#""timeout":"30s""#), "{sealed}");
        assert_eq!(open_proxy(&sealer, &sealed).unwrap(), plain);
        assert_eq!(open_proxy(&sealer, plain).unwrap(), plain);
        assert_eq!(open_proxy(&Sealer::new(b"other"), &sealed), Err(SealError::Refused));
        for stays in [&sealed, r#"{"proxy":"http://h:1"}"#, r#"{"proxy":7}"#, "[]", ""] {
            assert_eq!(seal_proxy(&sealer, stays), Ok(None), "{stays}");
        }
    }
}
