//! Where a channel's key is sent. Responses never show the key, which would protect nothing if
//! anyone who may edit a channel could have the key sent to a server of their own.

use super::input::ChannelInput;
use super::not_found;
use crate::{AdminError, AdminState};
use domain::ChannelId;
use std::fmt::Write as _;
use store::{Statement, Value};

/// The stored fields that decide where and how a channel's key is sent.
pub(super) struct Destination {
    base_url: String,
    other: String,
    /// The text of the column, for [`Self::still_there`].
    setting: String,
    /// The proxy in it, opened.
    pub(super) proxy: Option<String>,
}

impl Destination {
    pub(super) async fn read(state: &AdminState, id: ChannelId) -> Result<Self, AdminError> {
        let sql = "SELECT base_url, other, CAST(setting AS text) AS setting \
                   FROM channels WHERE id = $1";
        let rows = state.db.read(sql, &[id.into()]).await?;
        let row = rows.first().ok_or_else(not_found)?;
        let setting: String = row.get("setting")?;
        // One that can't be opened can't be kept: it has to be given anew.
        let opened = store::open_proxy(&state.sealer, &setting).unwrap_or_default();
        let opened: serde_json::Value = serde_json::from_str(&opened).unwrap_or_default();
        let proxy = opened.get("proxy").and_then(|proxy| proxy.as_str()).map(str::to_owned);
        Ok(Self { base_url: row.get("base_url")?, other: row.get("other")?, setting, proxy })
    }

    /// The field of `input`, whose proxy is unmasked, that would send the key elsewhere.
    pub(super) fn moved_by(&self, input: &ChannelInput) -> Option<&'static str> {
        if input.base_url.as_ref().is_some_and(|it| *it != self.base_url) {
            return Some("base_url");
        }
        if input.other.as_ref().is_some_and(|it| *it != self.other) {
            return Some("other");
        }
        let proxy = input.setting.as_ref().map(|setting| &setting.proxy);
        proxy.is_some_and(|it| *it != self.proxy).then_some("setting.proxy")
    }

    /// Has `update` touch the row only while all of this is as it was read: two edits at once must
    /// not bring one's key to the other's address.
    pub(super) fn still_there(&self, update: &mut Statement) {
        let columns = ["base_url", "other", "CAST(setting AS text)"];
        let values = [&self.base_url, &self.other, &self.setting];
        for (column, value) in columns.iter().zip(values) {
            update.params.push(Value::from(value.as_str()));
            let _ = write!(update.sql.to_mut(), " AND {column} = ${}", update.params.len());
        }
    }
}

/// Refuses to move a channel whose key was not given again.
pub(super) fn key_needed(field: &str) -> AdminError {
    AdminError::field(
        field,
        "会把渠道密钥发往别处, 修改时请同时提供该渠道的 key",
        "would send the channel's key elsewhere: give its key again in the same request",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::channel::SettingInput;

    fn stored() -> Destination {
        Destination {
            base_url: "https://a.example".to_owned(),
            other: String::new(),
            setting: "{}".to_owned(),
            proxy: Some("http://u:p@proxy:1".to_owned()),
        }
    }

    #[test]
    fn what_moves_a_key() {
        let text = |text: &str| Some(text.to_owned());
        let moved = |input: ChannelInput| stored().moved_by(&input);
        let via = |proxy| Some(SettingInput { proxy, ..SettingInput::default() });
        let same = ChannelInput {
            base_url: text("https://a.example"),
            other: text(""),
            setting: via(text("http://u:p@proxy:1")),
            ..ChannelInput::default()
        };
        assert_eq!(moved(same), None);
        assert_eq!(moved(ChannelInput::default()), None);
        let to = ChannelInput { base_url: text("http://a.example"), ..ChannelInput::default() };
        assert_eq!(moved(to), Some("base_url"));
        let header = ChannelInput { other: text("X-Token"), ..ChannelInput::default() };
        assert_eq!(moved(header), Some("other"));
        for proxy in [None, text("direct"), text("http://u:p@other:1")] {
            let input = ChannelInput { setting: via(proxy), ..ChannelInput::default() };
            assert_eq!(moved(input), Some("setting.proxy"));
        }
    }

    #[test]
    fn an_update_finds_only_what_was_read() {
        let mut update = Statement::new("UPDATE channels SET name = $1 WHERE id = $2", vec![]);
        update.params = vec!["a".into(), Value::Int(7)];
        stored().still_there(&mut update);
        assert!(update.sql.ends_with("AND CAST(setting AS text) = $5"), "{}", update.sql);
        assert_eq!(update.params.len(), 5);
    }
}
