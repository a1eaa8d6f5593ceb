//! Input for webhook endpoints, and its rules.

use crate::fields::Fields;
use crate::{AdminError, AdminState};
use domain::UserId;
use http::Uri;
use store::{Secret, webhooks};
use upstream::AddressGuard;

const MAX_URL_CHARS: usize = 2048;
/// Events that an endpoint can subscribe to.
const EVENTS: [&str; 3] = ["task.completed", "task.failed", "balance.low"];
/// Fields that responses show; ignored in requests.
const IGNORED: &[&str] = &[
    "id",
    "disabled_reason",
    "previous_until",
    "created_at",
    "updated_at",
    "last_delivery_state",
    "last_delivery_at",
    "failing",
];

/// Fields of an endpoint as given: what is `None` stays as it is, or gets its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookInput {
    /// Owner; `None`: the caller. Immutable after creation.
    pub user_id: Option<UserId>,
    /// Address.
    pub url: Option<String>,
    /// Subscribed events; empty: all.
    pub events: Option<Vec<String>>,
    /// What signs, for a new endpoint; `None`: made here.
    pub secret: Option<Secret>,
    /// 1 enabled, 2 disabled.
    pub status: Option<i64>,
}

impl WebhookInput {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let input = Self {
            user_id: fields.int("user_id")?.map(UserId),
            url: fields.text("url")?,
            events: fields.list("events")?,
            secret: secret(&mut fields)?,
            status: fields.int_in("status", 1, 2)?,
        };
        fields.finish(IGNORED, &[])?;
        Ok(input)
    }

    /// The same in its stored form, if every field keeps its rule.
    ///
    /// # Errors
    /// The first field that doesn't.
    pub fn checked(mut self, state: &AdminState) -> Result<Self, AdminError> {
        if let Some(url) = &mut self.url {
            *url = checked_url(url, &state.webhook_client.guard())?;
        }
        let unknown = self.events.iter().flatten().find(|event| !EVENTS.contains(&event.as_str()));
        if let Some(event) = unknown {
            return Err(AdminError::field(
                "events",
                format!(
                    "{event:?} 不是事件, 只有 task.completed, task.failed 和 balance.low, 空表示全部"
                ),
                format!(
                    "{event:?} is not one of task.completed, task.failed, balance.low; empty: all"
                ),
            ));
        }
        Ok(self)
    }

    /// The names of the fields that are given, for the record.
    #[must_use]
    pub fn given(&self) -> Vec<&'static str> {
        let given = [
            ("url", self.url.is_some()),
            ("events", self.events.is_some()),
            ("secret", self.secret.is_some()),
            ("status", self.status.is_some()),
        ];
        given.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

/// The secret of a request that has nothing else.
///
/// # Errors
/// When it is none, or there is more.
pub fn read_secret(mut fields: Fields) -> Result<Option<Secret>, AdminError> {
    let secret = secret(&mut fields)?;
    fields.finish(&[], &[])?;
    Ok(secret)
}

fn secret(fields: &mut Fields) -> Result<Option<Secret>, AdminError> {
    let Some(secret) = fields.text("secret")?.map(Secret::from) else { return Ok(None) };
    if webhooks::signing_key(&secret).is_none() {
        return Err(fields.wrong(
            "secret",
            "必须是 whsec_ 加 24 到 64 字节的 base64, 或不填",
            "must be whsec_ and the base64 of 24 to 64 bytes; leave it out to have one made",
        ));
    }
    Ok(Some(secret))
}

fn checked_url(url: &str, guard: &AddressGuard) -> Result<String, AdminError> {
    let wrong = |zh: &str, en: &str| Err(AdminError::field("url", zh, en));
    let url = url.trim();
    if url.len() > MAX_URL_CHARS || !url.bytes().all(|b| b.is_ascii_graphic()) {
        return wrong(
            "最多 2048 个可见 ASCII 字符, 国际化域名请用 punycode",
            "has at most 2048 visible ASCII characters; write an international name in punycode",
        );
    }
    if url.contains('#') {
        return wrong("不能有 # 片段", "must not have a fragment");
    }
    let uri = url.parse::<Uri>().ok();
    let http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    let Some(uri) = uri.filter(|uri| http(uri) && uri.host().is_some_and(|host| !host.is_empty()))
    else {
        return wrong(
            "必须是完整的 http(s) 地址, 例如 https://example.com/hook",
            "must be a whole http(s) address, like https://example.com/hook",
        );
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return wrong("不能带用户名或密码", "must not have a user name or password");
    }
    if !uri.host().is_some_and(|host| guard.permits_host(host)) {
        return wrong(
            "不能是内网或特殊地址, 管理员可用 WEBHOOK_ALLOW_NETS 放行",
            "is a private or special address; the operator can allow it with WEBHOOK_ALLOW_NETS",
        );
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |url: &str| checked_url(url, &AddressGuard::default());
        for good in ["https://example.com/hook?a=1", "http://8.8.8.8:81/", " https://a.b "] {
            assert_eq!(check(good).unwrap(), good.trim(), "{good}");
        }
        let long = format!("https://example.com/{}", "a".repeat(2048));
        for bad in [
            "",
            "example.com",
            "/hook",
            "ftp://example.com/",
            "https://",
            "https://u:p@example.com/",
            "https://example.com/#x",
            "https://例子.com/",
            "https://example.com/a b",
            "http://127.0.0.1/",
            "http://[::1]:80/",
            "http://10.0.0.1/",
            "http://localhost/",
            "http://2130706433/",
            "http://169.254.169.254/latest/meta-data",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let open = AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(checked_url("http://127.0.0.1/", &open).is_ok());
    }

    #[test]
    fn fields_and_their_rules() {
        let read = |json: &str| WebhookInput::read(Fields::parse(json.as_bytes()).unwrap());
        let input = read(r#"{"url":"https://a.b/","events":"task.failed, task.failed"}"#).unwrap();
        assert_eq!(input.events.unwrap(), ["task.failed"]);
        for bad in [
            r#"{"secret":""}"#,
            r#"{"secret":"whsec_"}"#,
            r#"{"secret":"whsec_c2hvcnQ="}"#,
            r#"{"status":3}"#,
            r#"{"uri":"https://a.b/"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
