//! Channels: accounts at upstreams. Their keys go in and never come out.

mod batch;
mod destination;
mod input;
mod live;
mod mapping;
mod probe;
mod reach;
mod setting;
mod write;

pub use batch::{COPIED_FIELDS, ChannelSet, ListChange, change_many, read_batch};
pub use input::{ChannelInput, TYPE_CUSTOM_PASS};
use live::CallRules;
pub use live::{
    BreakerView, ChannelTrafficView, FailureCount, ModelTraffic, NodeTraffic, TrafficCounts,
    TrafficMinute, live, minutes_of, minutes_of_requests, read_minutes, requests_of,
};
pub(super) use live::{are_paused, unasked};
pub use probe::{Probe, ProbeCost, ProbeRequest, UpstreamModels, probe, upstream_models};
pub use reach::{ChannelReach, GroupReach, ModelReach, reach};
pub use setting::SettingInput;
pub use write::{check, copy, create, delete, set_status, update};

use crate::ops::log::lately;
use crate::page::{self, Page, PageRequest, Query, Where};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{ChannelId, Quota, UnixMs, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use store::patterns;
use store::{Row, Sealer, StoreError, Value};
use upstream::BaseUrl;
use utoipa::ToSchema;

const COLUMNS: &str = "id, name, type, base_url, (key <> '') AS has_key, models, groups, priority, \
     weight, auto_ban, status, other, model_mapping, param_override, status_code_mapping, \
     custompass_status_mapping, setting, protocol, tag, remark, used_quota, placed_by, created_at, \
     updated_at, tested_at, test_model, test_ok, test_ms, test_error";

/// Most channels that are named at once: those of a page.
const MAX_NAMES: usize = 100;

/// A channel as answers show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelView {
    /// Number of the channel.
    pub id: ChannelId,
    /// Name to show.
    pub name: String,
    /// 52.
    pub r#type: i64,
    /// Scheme and host, and a path where the protocol has it.
    pub base_url: String,
    /// Name of the protocol that the upstream speaks.
    pub protocol: String,
    /// Whether the address guard refuses its address as it stands: a private one that
    /// `UPSTREAM_ALLOW_NETS` does not allow. A name is judged when it is called.
    pub address_refused: bool,
    /// Whether a key is set.
    pub has_key: bool,
    /// Models served.
    pub models: Vec<String>,
    /// Groups served.
    pub groups: Vec<String>,
    /// Higher is tried first.
    pub priority: i64,
    /// Share among channels of the same priority.
    pub weight: i64,
    /// Pause by itself when it keeps failing.
    pub auto_ban: bool,
    /// 1 enabled, 2 disabled, 3 disabled automatically.
    pub status: i64,
    /// Name of the header that carries the caller's key upstream.
    pub other: String,
    /// Model asked for → model sent.
    #[schema(value_type = Object)]
    pub model_mapping: Box<RawValue>,
    /// Members put into JSON request bodies.
    #[schema(value_type = Object)]
    pub param_override: Box<RawValue>,
    /// Upstream's status → status for the client.
    #[schema(value_type = Object)]
    pub status_code_mapping: Box<RawValue>,
    /// Status words of tasks.
    #[schema(value_type = Object)]
    pub custompass_status_mapping: Box<RawValue>,
    /// Timeout, retries, proxy (without its password), estimate, concurrency.
    #[schema(value_type = Object)]
    pub setting: Box<RawValue>,
    /// Label to find and change channels by; empty: none.
    pub tag: String,
    /// Note of the operators.
    pub remark: String,
    /// What was charged for calls through it.
    pub used_quota: Quota,
    /// What of it today, in UTC. Of one channel alone it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_today: Option<Quota>,
    /// The administrator below root who decided where it sends keys: keys of other administrators,
    /// and root's, are not sent there. Null: root decided.
    pub placed_by: Option<UserId>,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it was last edited.
    pub updated_at: i64,
    /// How its last test went; null: it was never tested.
    pub last_test: Option<LastTest>,
    /// What it is doing on the node that answers, with the sums of the last hour; null where no
    /// calls are served, on the command line.
    pub live: Option<ChannelTrafficView>,
}

/// The last test of a channel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LastTest {
    /// When it was made, in seconds since 1970.
    pub at: i64,
    /// The model that was called.
    pub model: String,
    /// Whether the upstream answered, and not with a failure.
    pub ok: bool,
    /// How long the call took, in milliseconds.
    pub time_ms: i64,
    /// What went wrong, in a word or as the status; empty: nothing.
    pub error: String,
}

fn last_test(row: &Row) -> Result<Option<LastTest>, StoreError> {
    let Some(at) = row.get::<Option<UnixMs>>("tested_at")? else { return Ok(None) };
    Ok(Some(LastTest {
        at: exact::seconds(at),
        model: row.get("test_model")?,
        ok: row.get("test_ok")?,
        time_ms: row.get("test_ms")?,
        error: row.get("test_error")?,
    }))
}

fn view(state: &AdminState, row: &Row) -> Result<ChannelView, StoreError> {
    let (id, rules) = (row.get("id")?, CallRules::read(state, row)?);
    let base_url: String = row.get("base_url")?;
    Ok(ChannelView {
        id,
        name: row.get("name")?,
        r#type: row.get("type")?,
        address_refused: is_refused(state, &base_url),
        base_url,
        protocol: row.get("protocol")?,
        has_key: row.get("has_key")?,
        models: items(&row.get::<String>("models")?),
        groups: items(&row.get::<String>("groups")?),
        priority: row.get("priority")?,
        weight: row.get("weight")?,
        auto_ban: rules.auto_ban,
        status: row.get("status")?,
        other: row.get("other")?,
        model_mapping: exact::object(row.get("model_mapping")?),
        param_override: exact::object(row.get("param_override")?),
        status_code_mapping: exact::object(row.get("status_code_mapping")?),
        custompass_status_mapping: exact::object(row.get("custompass_status_mapping")?),
        setting: shown_setting(&state.sealer, row.get("setting")?),
        tag: row.get("tag")?,
        remark: row.get("remark")?,
        used_quota: row.get("used_quota")?,
        used_today: None,
        placed_by: row.get("placed_by")?,
        created_at: exact::seconds(row.get("created_at")?),
        updated_at: exact::seconds(row.get("updated_at")?),
        last_test: last_test(row)?,
        live: live::live_of(state, id, rules),
    })
}

fn is_refused(state: &AdminState, base_url: &str) -> bool {
    let base = BaseUrl::parse_with_path(base_url);
    base.is_ok_and(|base| !state.client.guard().permits_host(base.host()))
}

/// The setting as stored, but for the password of its proxy.
fn shown_setting(sealer: &Sealer, text: String) -> Box<RawValue> {
    let text = store::open_proxy(sealer, &text).unwrap_or(text);
    let Ok(serde_json::Value::Object(mut stored)) = serde_json::from_str(&text) else {
        return exact::object(String::new());
    };
    if let Some(serde_json::Value::String(proxy)) = stored.get_mut("proxy") {
        *proxy = setting::masked(proxy);
    }
    exact::json(serde_json::Value::Object(stored).to_string())
}

/// The items of a list with commas, as operators write it with plain SQL.
fn items(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Which channels to list.
#[derive(Clone, Debug, Default)]
pub struct ChannelFilter {
    /// Stands in the name or the address, or is the number.
    pub keyword: Option<String>,
    /// 52.
    pub r#type: Option<i64>,
    /// 1, 2 or 3.
    pub status: Option<i64>,
    /// Enabled, and this node asks it for nothing: its breaker is open, or its account is broken.
    pub is_paused: bool,
    /// Serves this group.
    pub group: Option<String>,
    /// Serves this model.
    pub model: Option<String>,
    /// Has this tag.
    pub tag: Option<String>,
    /// Their order, as SQL of ours; empty: by number.
    order: String,
}

/// What channels are sorted by: words, and their columns.
const SORTED: &[(&str, &str)] = &[
    ("name", "name"),
    ("tag", "tag"),
    ("status", "status"),
    ("priority", "priority"),
    ("weight", "weight"),
    ("used_quota", "used_quota"),
    ("updated_at", "updated_at"),
];

impl ChannelFilter {
    /// Reads the filters of an address. `status` may be a word, as in `enabled`.
    ///
    /// # Errors
    /// When a number is none.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        let owned = |name: &str| query.text(name).map(str::to_owned);
        Ok(Self {
            keyword: owned("keyword"),
            r#type: query.number("type")?,
            status: match query.text("status") {
                Some("enabled") => Some(1),
                Some("disabled") => Some(2),
                // Similar servers say -1 or "all" for any.
                Some("all" | "-1" | "paused") => None,
                _ => query.number("status")?,
            },
            is_paused: query.text("status") == Some("paused"),
            group: owned("group"),
            model: owned("model"),
            tag: owned("tag"),
            order: page::order(query, SORTED)?,
        })
    }
}

/// The names of these channels by their numbers, those of their hosts where they have none; of at
/// most 100. One that is deleted is not among them.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn names(
    state: &AdminState,
    actor: &Actor,
    ids: impl IntoIterator<Item = ChannelId>,
) -> Result<BTreeMap<ChannelId, String>, AdminError> {
    actor.require_admin()?;
    let ids = ids.into_iter().map(|id| id.0).take(MAX_NAMES);
    let Some(list) = page::number_list(ids) else { return Ok(BTreeMap::new()) };
    let sql = format!("SELECT id, name, base_url FROM channels WHERE id IN ({list})");
    let rows = state.db.read(&sql, &[]).await?;
    let named = rows.iter().map(|row| {
        let (name, address): (String, String) = (row.get("name")?, row.get("base_url")?);
        let name = if name.is_empty() { host(&address).to_owned() } else { name };
        Ok((row.get("id")?, name))
    });
    Ok(named.collect::<Result<_, StoreError>>()?)
}

/// The host of an address.
#[must_use]
pub fn host(address: &str) -> &str {
    let (_, host) = address.split_once("://").unwrap_or(("", address));
    host.split(['/', '?']).next().unwrap_or(host)
}

/// A page of the channels that `filter` names, in its order.
///
/// # Errors
/// When the database fails.
pub async fn list(
    state: &AdminState,
    filter: &ChannelFilter,
    page: PageRequest,
) -> Result<Page<ChannelView>, AdminError> {
    let mut page = rows(state, filter, page).await?;
    let ids: Vec<ChannelId> = page.items.iter().map(|channel| channel.id).collect();
    let spent = lately::of_channels(state, &ids).await?;
    for channel in &mut page.items {
        channel.used_today = Some(spent.get(&channel.id).copied().unwrap_or_default());
    }
    Ok(page)
}

/// The same without what was charged through them today, which is dear: for those who show names
/// alone.
///
/// # Errors
/// When the database fails.
pub async fn rows(
    state: &AdminState,
    filter: &ChannelFilter,
    page: PageRequest,
) -> Result<Page<ChannelView>, AdminError> {
    let mut conditions = Where::default();
    if let Some(keyword) = &filter.keyword {
        let pattern = page::anywhere(&keyword.to_lowercase());
        let like = |column| format!(r"lower({column}) LIKE ? ESCAPE '\'");
        let by_words = ["name", "base_url", "remark"].map(like).join(" OR ");
        match keyword.parse::<i64>() {
            Ok(id) => conditions.with(&format!("({by_words} OR id = {id})"), pattern),
            Err(_) => conditions.with(&format!("({by_words})"), pattern),
        }
    }
    conditions.with_some("type = ?", filter.r#type);
    conditions.with_some("status = ?", filter.status);
    if filter.is_paused {
        conditions.fixed(&are_paused(state));
    }
    conditions.with_some("tag = ?", filter.tag.as_deref());
    conditions.with_some(&listed("groups"), filter.group.as_deref().map(among));
    if let Some(model) = &filter.model {
        let by_pattern = serving_by_pattern(state, model).await?;
        let listed = listed("models");
        match by_pattern.is_empty() {
            true => conditions.with(&listed, among(model)),
            false => conditions.with(&format!("({listed} OR id IN ({by_pattern}))"), among(model)),
        }
    }
    let order = if filter.order.is_empty() { "id" } else { &filter.order };
    let columns = (COLUMNS, "channels", order);
    conditions.page(&state.db, columns, page, |row| view(state, row)).await
}

/// The numbers of the channels that have a pattern which the model fits, between commas.
async fn serving_by_pattern(state: &AdminState, model: &str) -> Result<String, StoreError> {
    let sql = "SELECT id, models FROM channels WHERE models LIKE '%*%'";
    let mut serving = Vec::new();
    for row in state.db.read(sql, &[]).await? {
        let models = items(&row.get::<String>("models")?);
        if patterns::lists(&models, model) {
            serving.push(row.get::<ChannelId>("id")?.to_string());
        }
    }
    Ok(serving.join(", "))
}

/// The condition that an item stands in the comma list `column`, whose items may have blanks.
fn listed(column: &str) -> String {
    format!(r"',' || replace({column}, ', ', ',') || ',' LIKE ? ESCAPE '\'")
}

fn among(item: &str) -> String {
    format!("%,{},%", page::literally(item))
}

/// One channel.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(state: &AdminState, id: ChannelId) -> Result<ChannelView, AdminError> {
    let sql = format!("SELECT {COLUMNS} FROM channels WHERE id = $1");
    let rows = state.db.read(&sql, &[id.into()]).await?;
    let row = rows.first().ok_or_else(not_found)?;
    Ok(view(state, row)?)
}

fn not_found() -> AdminError {
    AdminError::not_found("渠道", "channel")
}

/// Text for a text column.
fn text(value: &str) -> Value {
    value.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let shown = |text: &str| shown_setting(&Sealer::new(b"ours"), text.to_owned());
        let one = shown(r#"{"timeout":30,"proxy":"http://u:hidden@p:1"}"#);
        assert!(!one.get().contains("hidden"));
        assert!(one.get().contains("http://u:***@p:1"));
        let sealed = store::seal_proxy(&Sealer::new(b"other"), r#"{"proxy":"http://u:p@h"}"#);
        assert_eq!(shown(&sealed.unwrap().unwrap()).get(), r#"{"proxy":"***"}"#);
        assert_eq!(shown("broken").get(), "{}");
    }

    #[test]
    fn comma_lists_as_people_write_them() {
        assert_eq!(items("a, b/submit ,,c"), ["a", "b/submit", "c"]);
        assert_eq!(among("a_b"), r"%,a\_b,%");
    }
}
