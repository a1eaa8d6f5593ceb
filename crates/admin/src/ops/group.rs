//! Groups: factors on every price.

use crate::exact::Decimal;
use crate::fields::Fields;
use crate::ops::log::lately;
use crate::ops::price;
use crate::ops::record::{self, Subject};
use crate::page::{Page, PageRequest, Where};
use crate::{Actor, AdminError, AdminState, exact, words};
use domain::{Quota, Ratio, UnixMs};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use store::{Catalog, Row, Statement, StoreError, Value};
use utoipa::ToSchema;

const COLUMNS: &str = "group_name, ratio, updated_at";

/// A group as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInput {
    /// Group of users or keys.
    pub group_name: String,
    /// Factor on every price of the group.
    pub ratio: Ratio,
}

/// A group as answers show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GroupView {
    /// Group of users or keys.
    pub group_name: String,
    /// Factor on every price of the group.
    #[schema(value_type = Decimal)]
    pub ratio: Box<RawValue>,
    /// When it was last set through the API, in seconds since 1970.
    pub updated_at: i64,
    /// How many users are in it, and of whom and what else it is.
    #[serde(flatten)]
    pub members: GroupMembers,
    /// What the model costs there that cost most in the last 30 days, of those that the group can
    /// call and that have a price; null: there is none.
    pub example: Option<GroupExample>,
}

/// What a model costs in a group, of a user without a ratio of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GroupExample {
    /// The model.
    pub model_name: String,
    /// A call, in quota; of models priced per call.
    pub a_call: Option<Quota>,
    /// A million prompt tokens, in quota; of models priced by use.
    pub prompt_million: Option<Quota>,
    /// A million completion tokens.
    pub completion_million: Option<Quota>,
}

/// Who pays by the ratio of a group, and which channels serve it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct GroupMembers {
    /// Users who are in it.
    pub users: i64,
    /// Keys that name it; others are in the group of their owner.
    pub keys: i64,
    /// Enabled channels that serve it.
    pub channels: i64,
}

impl GroupInput {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        fields.alias("group_name", "name");
        let group_name = fields.text("group_name")?;
        let group_name = fields.required("group_name", group_name)?;
        let ratio = fields.ratio("ratio")?.unwrap_or(Ratio::ONE);
        fields.finish(&["updated_at", "users", "keys", "channels", "example"], &[])?;
        Ok(Self { group_name, ratio })
    }
}

fn view(row: &Row) -> Result<GroupView, StoreError> {
    Ok(GroupView {
        group_name: row.get("group_name")?,
        ratio: exact::decimal(row, "ratio")?,
        updated_at: exact::seconds(row.get("updated_at")?),
        members: GroupMembers::default(),
        example: None,
    })
}

/// Says of groups who is in them, and what a model costs there.
async fn complete(state: &AdminState, groups: &mut [GroupView]) -> Result<(), AdminError> {
    let names: Vec<&str> = groups.iter().map(|group| group.group_name.as_str()).collect();
    let mut members = members(state, &names).await?;
    for group in &mut *groups {
        group.members = members.remove(&group.group_name).unwrap_or_default();
    }
    // The command line has no live view, and shows no examples.
    let Some(live) = &state.live else { return Ok(()) };
    let mut dearest: Vec<_> = lately::of_models(state).await?.into_iter().collect();
    dearest.sort_by_key(|(_, spent)| Reverse(*spent));
    let catalog = live.catalog.load();
    for group in groups {
        let mut used = dearest.iter().map(|(model, _)| model);
        group.example = used.find_map(|model| example(&catalog, &group.group_name, model));
    }
    Ok(())
}

/// What a model costs in a group that can call it; `None` where that is nothing.
fn example(catalog: &Catalog, group: &str, model: &str) -> Option<GroupExample> {
    if catalog.candidates(group, model).is_empty() {
        return None;
    }
    // What is priced by units has no number that stands for all of it.
    let priced = price::in_group(catalog, group, model)
        .filter(|price| price.a_call.is_some() || price.prompt_million.is_some())?;
    Some(GroupExample {
        model_name: priced.model_name,
        a_call: priced.a_call,
        prompt_million: priced.prompt_million,
        completion_million: priced.completion_million,
    })
}

/// The members of these groups, of all that have some.
async fn members(
    state: &AdminState,
    names: &[&str],
) -> Result<BTreeMap<String, GroupMembers>, StoreError> {
    let mut members: BTreeMap<String, GroupMembers> = BTreeMap::new();
    if names.is_empty() {
        return Ok(members);
    }
    let values: Vec<Value> = names.iter().map(|name| (*name).into()).collect();
    let places = (1..=values.len()).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT \"group\" AS name, count(*) AS users, 0 AS keys FROM users
         WHERE deleted_at IS NULL AND \"group\" IN ({places}) GROUP BY \"group\"
         UNION ALL
         SELECT \"group\", 0, count(*) FROM tokens WHERE \"group\" IN ({places}) GROUP BY \"group\""
    );
    for row in state.db.search(&sql, &values).await? {
        let group = members.entry(row.get("name")?).or_default();
        group.users += row.get::<i64>("users")?;
        group.keys += row.get::<i64>("keys")?;
    }
    let channels = "SELECT groups, count(*) AS channels FROM channels WHERE status = 1 GROUP BY 1";
    for row in state.db.read(channels, &[]).await? {
        let (listed, channels): (String, i64) = (row.get("groups")?, row.get("channels")?);
        let named: BTreeSet<&str> = listed.split(',').map(str::trim).collect();
        for name in named.into_iter().filter(|name| !name.is_empty()) {
            members.entry(name.to_owned()).or_default().channels += channels;
        }
    }
    Ok(members)
}

/// Creates or replaces the ratio of a group, live when this returns.
///
/// # Errors
/// When a field breaks its rule, or the database fails.
pub async fn put(
    state: &AdminState,
    actor: &Actor,
    input: GroupInput,
) -> Result<GroupView, AdminError> {
    actor.require_admin()?;
    let name = words::group("group_name", &input.group_name)?;
    let upsert = Statement::new(
        "INSERT INTO group_ratio (group_name, ratio, updated_at) VALUES ($1, $2, $3) \
         ON CONFLICT (group_name) DO UPDATE SET ratio = excluded.ratio, \
         updated_at = excluded.updated_at",
        vec![name.as_str().into(), input.ratio.into(), state.clock.now().into()],
    );
    record::write(
        state,
        actor,
        vec![upsert],
        Subject::Other,
        ("group.put", format!("设置分组倍率 {name} = {}", input.ratio)),
        json!({ "group_name": name, "ratio": input.ratio }),
    )
    .await?;
    state.refresh().await;
    get(state, &name).await
}

/// One group.
///
/// # Errors
/// When it has no ratio, or the database fails.
pub async fn get(state: &AdminState, name: &str) -> Result<GroupView, AdminError> {
    let sql = format!("SELECT {COLUMNS} FROM group_ratio WHERE group_name = $1");
    let rows = state.db.read(&sql, &[name.into()]).await?;
    let mut group = view(rows.first().ok_or_else(not_found)?)?;
    complete(state, std::slice::from_mut(&mut group)).await?;
    Ok(group)
}

/// A page of the groups that have a ratio.
///
/// # Errors
/// When the database fails.
pub async fn list(state: &AdminState, page: PageRequest) -> Result<Page<GroupView>, AdminError> {
    let all = Where::default();
    let mut groups =
        all.page(&state.db, (COLUMNS, "group_ratio", "group_name"), page, view).await?;
    complete(state, &mut groups.items).await?;
    Ok(groups)
}

/// A group in the list of all groups that are used.
#[derive(Clone, Debug)]
pub struct ListedGroup {
    /// The group.
    pub view: GroupView,
    /// Whether it has a ratio of its own; others pay the plain price.
    pub has_ratio: bool,
}

/// All groups: those that have a ratio, and those that pay the plain price.
const LISTED: &str = "(SELECT group_name, ratio, updated_at FROM group_ratio
         UNION ALL SELECT name, NULL, NULL FROM (
             SELECT 'default' AS name
             UNION SELECT \"group\" FROM users WHERE deleted_at IS NULL
             UNION SELECT \"group\" FROM tokens WHERE \"group\" <> '') AS named
         WHERE name NOT IN (SELECT group_name FROM group_ratio)) AS listed";

/// A page of all groups, first of those that pay the plain price, as they have no ratio of their
/// own: `default`, and those that users or keys are in.
///
/// # Errors
/// For ordinary users, or when the database fails.
pub async fn listed(
    state: &AdminState,
    actor: &Actor,
    page: PageRequest,
) -> Result<Page<ListedGroup>, AdminError> {
    actor.require_admin()?;
    let order = "ratio IS NOT NULL, group_name";
    let groups =
        Where::default().page(&state.db, (COLUMNS, LISTED, order), page, listed_view).await?;
    let (mut views, have_ratios): (Vec<_>, Vec<_>) = groups.items.into_iter().unzip();
    complete(state, &mut views).await?;
    let items = views.into_iter().zip(have_ratios);
    let items = items.map(|(view, has_ratio)| ListedGroup { view, has_ratio }).collect();
    Ok(Page { items, total: groups.total, page: groups.page, page_size: groups.page_size })
}

fn listed_view(row: &Row) -> Result<(GroupView, bool), StoreError> {
    let ratio = exact::decimal(row, "ratio")?;
    let has_ratio = ratio.get() != "null";
    let updated_at = row.get::<Option<UnixMs>>("updated_at")?.map_or(0, exact::seconds);
    let view = GroupView {
        group_name: row.get("group_name")?,
        ratio: if has_ratio { ratio } else { exact::json("1".to_owned()) },
        updated_at,
        members: GroupMembers::default(),
        example: None,
    };
    Ok((view, has_ratio))
}

/// Most groups that are named.
const MAX_NAMED: i64 = 200;

/// The groups there are: those that have a ratio, or that a channel names. To choose from.
///
/// # Errors
/// For ordinary users, or when the database fails.
pub async fn names(state: &AdminState, actor: &Actor) -> Result<BTreeSet<String>, AdminError> {
    actor.require_admin()?;
    let mut names = of_channels(state).await?;
    names.insert("default".to_owned());
    let sql = "SELECT group_name AS name FROM group_ratio LIMIT $1";
    for row in state.db.read(sql, &[MAX_NAMED.into()]).await? {
        names.insert(row.get("name")?);
    }
    Ok(names)
}

/// Whether a group has a ratio, or a channel names it.
///
/// # Errors
/// For ordinary users, or when the database fails.
pub async fn is_known(state: &AdminState, actor: &Actor, name: &str) -> Result<bool, AdminError> {
    actor.require_admin()?;
    let ratio = "SELECT 1 AS one FROM group_ratio WHERE group_name = $1";
    let has_ratio = !state.db.read(ratio, &[name.into()]).await?.is_empty();
    Ok(name == "default" || has_ratio || of_channels(state).await?.contains(name))
}

/// The groups that channels name.
async fn of_channels(state: &AdminState) -> Result<BTreeSet<String>, StoreError> {
    let mut names = BTreeSet::new();
    for row in state.db.read("SELECT DISTINCT groups FROM channels", &[]).await? {
        let listed: String = row.get("groups")?;
        let items = listed.split(',').map(str::trim).filter(|item| !item.is_empty());
        names.extend(items.map(str::to_owned));
    }
    Ok(names)
}

/// Takes the ratio of a group away: it counts as 1 from then on.
///
/// # Errors
/// When it has none, or the database fails.
pub async fn delete(state: &AdminState, actor: &Actor, name: &str) -> Result<(), AdminError> {
    actor.require_admin()?;
    let statement =
        Statement::new("DELETE FROM group_ratio WHERE group_name = $1", vec![name.into()])
            .expecting(1);
    record::write(
        state,
        actor,
        vec![statement],
        Subject::Other,
        ("group.delete", format!("删除分组倍率 {name}")),
        json!({ "group_name": name }),
    )
    .await
    .map_err(AdminError::or_missing(not_found))?;
    state.refresh().await;
    Ok(())
}

fn not_found() -> AdminError {
    AdminError::not_found("分组", "group with a ratio of its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_of_the_contract() {
        let fields = Fields::parse(br#"{"group_name":"vip","ratio":0.8}"#).unwrap();
        let want = GroupInput { group_name: "vip".to_owned(), ratio: "0.8".parse().unwrap() };
        assert_eq!(GroupInput::read(fields).unwrap(), want);
        for bad in [&br#"{"ratio":1}"#[..], br#"{"group_name":"v","ratio":-1}"#] {
            assert!(GroupInput::read(Fields::parse(bad).unwrap()).is_err());
        }
    }
}
