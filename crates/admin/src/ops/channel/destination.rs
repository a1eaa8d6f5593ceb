//! Where a channel's key is sent. Responses never show the key, which would protect nothing if
//! anyone who may edit a channel could have the key sent to a server of their own.

use super::input::ChannelInput;
use super::not_found;
use crate::{Actor, AdminError, AdminState, ROLE_ROOT};
use domain::ChannelId;
use protocol::Library;
use std::fmt::Write as _;
use store::{Statement, Value};

/// The stored fields that decide where and how a channel's key, and its callers' keys, are sent.
pub(super) struct Destination {
    base_url: String,
    protocol: String,
    other: String,
    /// The text of the column, for [`Self::still_there`].
    setting: String,
    /// The proxy in it, opened.
    pub(super) proxy: Option<String>,
}

impl Destination {
    pub(super) async fn read(state: &AdminState, id: ChannelId) -> Result<Self, AdminError> {
        let sql = "SELECT base_url, protocol, other, CAST(setting AS text) AS setting \
                   FROM channels WHERE id = $1";
        let rows = state.db.read(sql, &[id.into()]).await?;
        let row = rows.first().ok_or_else(not_found)?;
        let setting: String = row.get("setting")?;
        // One that can't be opened can't be kept: it has to be given anew.
        let opened = store::open_proxy(&state.sealer, &setting).unwrap_or_default();
        let opened: serde_json::Value = serde_json::from_str(&opened).unwrap_or_default();
        let proxy = opened.get("proxy").and_then(|proxy| proxy.as_str()).map(str::to_owned);
        let (base_url, protocol) = (row.get("base_url")?, row.get("protocol")?);
        Ok(Self { base_url, protocol, other: row.get("other")?, setting, proxy })
    }

    /// The field of `input`, whose proxy is unmasked, that would send the channel's key elsewhere,
    /// or otherwise: as a parameter of the address, say, where it was in a header. `library` has
    /// the protocols, where `input` names one.
    pub(super) fn key_moved_by(
        &self,
        input: &ChannelInput,
        library: Option<&Library>,
    ) -> Option<&'static str> {
        let auth = |name: &str| library?.get(name).map(|protocol| &protocol.auth);
        let is_alike = |name: &String| match (auth(name), auth(&self.protocol)) {
            (Some(new), Some(old)) => new.presents_as(old),
            _ => false,
        };
        match self.moved_by(input) {
            Some("protocol") if input.protocol.as_ref().is_some_and(is_alike) => None,
            moved => moved,
        }
    }

    /// The field of `input`, whose proxy is unmasked, that would send any key elsewhere: the
    /// channel's, or its callers'.
    pub(super) fn moved_by(&self, input: &ChannelInput) -> Option<&'static str> {
        if input.base_url.as_ref().is_some_and(|it| *it != self.base_url) {
            return Some("base_url");
        }
        if input.other.as_ref().is_some_and(|it| *it != self.other) {
            return Some("other");
        }
        let proxy = input.setting.as_ref().map(|setting| &setting.proxy);
        if proxy.is_some_and(|it| *it != self.proxy) {
            return Some("setting.proxy");
        }
        // Some protocols have the caller's key sent.
        input.protocol.as_ref().is_some_and(|it| *it != self.protocol).then_some("protocol")
    }

    /// Has `update` touch the row only while all of this is as it was read: two edits at once must
    /// not bring one's key to the other's address.
    pub(super) fn still_there(&self, update: &mut Statement) {
        let columns = ["base_url", "protocol", "other", "CAST(setting AS text)"];
        let values = [&self.base_url, &self.protocol, &self.other, &self.setting];
        for (column, value) in columns.iter().zip(values) {
            update.params.push(Value::from(value.as_str()));
            let _ = write!(update.sql.to_mut(), " AND {column} = ${}", update.params.len());
        }
    }
}

/// Who decides where a channel sends keys, as it is stored: nobody in particular where it is root.
pub(super) fn placed_by(actor: &Actor) -> Value {
    if actor.role >= ROLE_ROOT { Value::Null } else { actor.user_id.into() }
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
            protocol: "openai".to_owned(),
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
        let speaks = |name| ChannelInput { protocol: text(name), ..ChannelInput::default() };
        assert_eq!(
            (moved(speaks("openai")), moved(speaks("custompass"))),
            (None, Some("protocol"))
        );
        let library = Library::builtin().unwrap();
        let moves_key = |name| stored().key_moved_by(&speaks(name), Some(library));
        assert_eq!((moves_key("openai"), moves_key("custompass")), (None, None));
        assert_eq!(
            (moves_key("anthropic"), moves_key("none")),
            (Some("protocol"), Some("protocol"))
        );
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
        assert!(update.sql.ends_with("AND CAST(setting AS text) = $6"), "{}", update.sql);
        assert_eq!(update.params.len(), 6);
    }
}
