//! The same change of many channels.

use super::input::ChannelInput;
use super::setting::{self, SettingInput};
use super::write::changed;
use super::{ChannelView, get};
use crate::ops::batch::{BatchItem, BatchRequest, BatchResult, RowDecision, change_each};
use crate::{Actor, AdminError, AdminState, Fields};
use domain::ChannelId;
use serde_json::value::RawValue;
use std::fmt::Write as _;
use store::Value;

/// The fields that one channel can take over from another. None of them says where a key
/// is sent; a protocol that presents keys otherwise is refused.
pub const COPIED_FIELDS: [&str; 11] = [
    "models",
    "groups",
    "priority",
    "weight",
    "auto_ban",
    "protocol",
    "model_mapping",
    "param_override",
    "status_code_mapping",
    "custompass_status_mapping",
    "setting",
];

/// What is set of many channels. `None` and empty lists: as it is.
#[derive(Clone, Debug, Default)]
pub struct ChannelSet {
    /// 1 enabled, 2 disabled.
    pub status: Option<i64>,
    /// Models served.
    pub models: ListChange,
    /// Groups served.
    pub groups: ListChange,
    /// Higher is tried first.
    pub priority: Option<i64>,
    /// Share among channels of the same priority.
    pub weight: Option<i64>,
    /// Pause by itself when it keeps failing.
    pub auto_ban: Option<bool>,
    /// Label; empty: none.
    pub tag: Option<String>,
    /// The channel that fields are copied from.
    pub copy_from: Option<ChannelId>,
    /// Which fields.
    pub copy: Vec<String>,
}

/// How a list changes: first replaced, then added to, then taken from.
#[derive(Clone, Debug, Default)]
pub struct ListChange {
    /// All of it.
    pub all: Option<Vec<String>>,
    /// What is added.
    pub add: Vec<String>,
    /// What is taken away.
    pub remove: Vec<String>,
}

impl ListChange {
    fn read(fields: &mut Fields, [all, add, remove]: [&str; 3]) -> Result<Self, AdminError> {
        Ok(Self {
            all: fields.list(all)?,
            add: fields.list(add)?.unwrap_or_default(),
            remove: fields.list(remove)?.unwrap_or_default(),
        })
    }

    /// What becomes of `now`; `copied` takes its place.
    fn of(&self, now: &[String], copied: Option<&[String]>) -> Vec<String> {
        let base = self.all.as_deref().or(copied).unwrap_or(now);
        let mut list: Vec<String> = base.to_vec();
        for item in &self.add {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
        list.retain(|item| !self.remove.contains(item));
        list
    }
}

impl ChannelSet {
    /// Reads what is set.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let set = Self {
            status: fields.int_in("status", 1, 2)?,
            models: ListChange::read(&mut fields, ["models", "add_models", "remove_models"])?,
            groups: ListChange::read(&mut fields, ["groups", "add_groups", "remove_groups"])?,
            priority: fields.int("priority")?,
            weight: fields.int("weight")?,
            auto_ban: fields.flag("auto_ban")?,
            tag: fields.text("tag")?.map(|tag| tag.trim().to_owned()),
            copy_from: fields.int("copy_from")?.map(ChannelId),
            copy: fields.list("copy")?.unwrap_or_default(),
        };
        let known = |field: &String| COPIED_FIELDS.contains(&field.as_str());
        if !set.copy.iter().all(known) {
            let known = COPIED_FIELDS.join(", ");
            let en = format!("names some of {known}");
            return Err(fields.wrong("copy", format!("只能包含 {known}"), en));
        }
        if set.copy_from.is_some() == set.copy.is_empty() {
            let en = "copy_from names the channel, and copy its fields: give both, or neither";
            return Err(fields.wrong("copy", "copy_from 与 copy 必须同时提供", en));
        }
        fields.finish(&[], &[])?;
        Ok(set)
    }

    /// The channel as it will be: what of it differs, noted in `item`.
    fn of(
        &self,
        before: &ChannelView,
        source: Option<&ChannelView>,
        item: &mut BatchItem,
    ) -> Result<ChannelInput, AdminError> {
        let from = |field: &str| source.filter(|_| self.copy.iter().any(|it| it == field));
        let models = self.models.of(&before.models, from("models").map(|it| &*it.models));
        let groups = self.groups.of(&before.groups, from("groups").map(|it| &*it.groups));
        if models.is_empty() {
            let en = "would leave no model: disable the channel, or name others";
            return Err(AdminError::field("models", "会使渠道没有任何模型", en));
        }
        let priority = self.priority.or(from("priority").map(|it| it.priority));
        let weight = self.weight.or(from("weight").map(|it| it.weight));
        let auto_ban = self.auto_ban.or(from("auto_ban").map(|it| it.auto_ban));
        let protocol = from("protocol").map(|it| it.protocol.clone());
        let mut json = |field: &'static str, of: fn(&ChannelView) -> &RawValue| {
            let after = from(field).map(|source| parsed(of(source)));
            item.set(field, &parsed(of(before)), after)?;
            from(field).map(|source| of(source).get().to_owned())
        };
        let model_mapping = json("model_mapping", |it| &it.model_mapping);
        let param_override = json("param_override", |it| &it.param_override);
        let status_code_mapping = json("status_code_mapping", |it| &it.status_code_mapping);
        let custompass_status_mapping =
            json("custompass_status_mapping", |it| &it.custompass_status_mapping);
        let setting = match from("setting") {
            None => None,
            Some(source) => {
                let now = setting_of(before)?;
                // A proxy decides where the key is sent: each channel keeps its own.
                let copied = SettingInput { proxy: now.proxy.clone(), ..setting_of(source)? };
                item.set("setting", &now, Some(copied))
            }
        };
        Ok(ChannelInput {
            status: item.set("status", &before.status, self.status),
            models: item.set("models", &before.models, Some(models)),
            groups: item.set("groups", &before.groups, Some(groups)),
            priority: item.set("priority", &before.priority, priority),
            weight: item.set("weight", &before.weight, weight),
            auto_ban: item.set("auto_ban", &before.auto_ban, auto_ban),
            tag: item.set("tag", &before.tag, self.tag.clone()),
            protocol: item.set("protocol", &before.protocol, protocol),
            model_mapping,
            param_override,
            status_code_mapping,
            custompass_status_mapping,
            setting,
            ..ChannelInput::default()
        })
    }
}

fn parsed(json: &RawValue) -> serde_json::Value {
    serde_json::from_str(json.get()).unwrap_or_default()
}

/// The setting of a channel as it is shown: its proxy without the password.
fn setting_of(channel: &ChannelView) -> Result<SettingInput, AdminError> {
    let text = format!("{{\"setting\":{}}}", channel.setting.get());
    let mut fields = Fields::parse(text.as_bytes())?;
    Ok(setting::read(&mut fields)?.unwrap_or_default())
}

/// Reads `{ids, set, dry_run}`.
///
/// # Errors
/// The first field that breaks its rule.
pub fn read_batch(fields: Fields) -> Result<BatchRequest<ChannelSet>, AdminError> {
    BatchRequest::read(fields, ChannelSet::read)
}

/// Changes many channels, all or none, live when this returns; or tells what would change.
///
/// # Errors
/// When a field breaks its rule, one of the channels is not there or was just changed, or the
/// database fails.
pub async fn change_many(
    state: &AdminState,
    actor: &Actor,
    request: BatchRequest<ChannelSet>,
) -> Result<BatchResult, AdminError> {
    actor.require_admin()?;
    let source = match request.set.copy_from {
        None => None,
        Some(id) => {
            let missing = |_| AdminError::field("copy_from", "渠道不存在", "is not a channel");
            Some(get(state, id).await.map_err(missing)?)
        }
    };
    let one = |id| one_of_many(state, actor, ChannelId(id), (&request.set, source.as_ref()));
    let result = change_each(state, actor, &request, one).await?;
    if !request.dry_run {
        state.refresh().await;
    }
    Ok(result)
}

async fn one_of_many(
    state: &AdminState,
    actor: &Actor,
    id: ChannelId,
    (set, source): (&ChannelSet, Option<&ChannelView>),
) -> Result<RowDecision, AdminError> {
    // The lists as they are stored: plain SQL may have written blanks into them.
    let sql = "SELECT models, groups FROM channels WHERE id = $1";
    let rows = state.db.read(sql, &[id.into()]).await?;
    let before = get(state, id).await?;
    let mut item = BatchItem::new(id.0, &before.name);
    let input = set.of(&before, source, &mut item)?.checked()?;
    if item.changes.is_empty() {
        return Ok((item, None));
    }
    let lists = input.models.is_some() || input.groups.is_some();
    let mut change = changed(state, actor, &before, input).await?;
    if let (Some(update), Some(row)) =
        (change.statements.first_mut().filter(|_| lists), rows.first())
    {
        // What is added and taken away was reckoned from the lists as they were read.
        for column in ["models", "groups"] {
            update.params.push(Value::from(row.get::<String>(column)?));
            let _ = write!(update.sql.to_mut(), " AND {column} = ${}", update.params.len());
        }
    }
    Ok((item, Some(change)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(json: &str) -> String {
        let fields = Fields::parse(json.as_bytes()).unwrap();
        match read_batch(fields).unwrap_err() {
            AdminError::Field { field, .. } => field,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn lists_are_replaced_then_added_to_then_taken_from() {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let change = |all: Option<&str>, add: &str, remove: &str| ListChange {
            all: all.map(list),
            add: list(add),
            remove: list(remove),
        };
        let now = list("a b");
        assert_eq!(change(None, "", "").of(&now, None), now);
        assert_eq!(change(None, "b c", "a").of(&now, None), list("b c"));
        assert_eq!(change(Some("x"), "y", "").of(&now, Some(&list("z"))), list("x y"));
        assert_eq!(change(None, "y", "").of(&now, Some(&list("z"))), list("z y"));
        assert!(change(None, "", "a b").of(&now, None).is_empty());
    }

    #[test]
    fn each_rule_names_its_field() {
        for (json, field) in [
            (r#"{"set":{}}"#, "ids"),
            (r#"{"ids":[],"set":{}}"#, "ids"),
            (r#"{"ids":["x"],"set":{}}"#, "ids"),
            (r#"{"ids":[1]}"#, "set"),
            (r#"{"ids":[1],"set":{"status":3}}"#, "set.status"),
            (r#"{"ids":[1],"set":{"key":"k"}}"#, "set.key"),
            (r#"{"ids":[1],"set":{"copy":["models"]}}"#, "set.copy"),
            (r#"{"ids":[1],"set":{"copy_from":2}}"#, "set.copy"),
            (r#"{"ids":[1],"set":{"copy_from":2,"copy":["base_url"]}}"#, "set.copy"),
            (r#"{"ids":[1],"set":{},"other":1}"#, "other"),
        ] {
            assert_eq!(complaint(json), field, "{json}");
        }
    }
}
