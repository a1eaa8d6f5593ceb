//! Groups: factors on every price.

use crate::exact::Decimal;
use crate::fields::Fields;
use crate::ops::record::{self, Subject};
use crate::page::{Page, PageRequest, Where};
use crate::{Actor, AdminError, AdminState, exact, words};
use domain::Ratio;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use store::{Row, Statement, StoreError};
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
        fields.finish(&["updated_at", "users", "keys", "channels"], &[])?;
        Ok(Self { group_name, ratio })
    }
}

fn view(row: &Row) -> Result<GroupView, StoreError> {
    Ok(GroupView {
        group_name: row.get("group_name")?,
        ratio: exact::decimal(row, "ratio")?,
        updated_at: exact::seconds(row.get("updated_at")?),
        members: GroupMembers::default(),
    })
}

/// The members of every group that has some.
async fn members(state: &AdminState) -> Result<BTreeMap<String, GroupMembers>, StoreError> {
    let mut members: BTreeMap<String, GroupMembers> = BTreeMap::new();
    let users = "SELECT \"group\" AS name, count(*) AS users FROM users
        WHERE deleted_at IS NULL GROUP BY 1";
    for row in state.db.search(users, &[]).await? {
        members.entry(row.get("name")?).or_default().users = row.get("users")?;
    }
    let keys = "SELECT \"group\" AS name, count(*) AS keys FROM tokens
        WHERE \"group\" IS NOT NULL GROUP BY 1";
    for row in state.db.search(keys, &[]).await? {
        members.entry(row.get("name")?).or_default().keys = row.get("keys")?;
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
    let group = view(rows.first().ok_or_else(not_found)?)?;
    let members = members(state).await?.remove(name).unwrap_or_default();
    Ok(GroupView { members, ..group })
}

/// A page of the groups that have a ratio.
///
/// # Errors
/// When the database fails.
pub async fn list(state: &AdminState, page: PageRequest) -> Result<Page<GroupView>, AdminError> {
    let all = Where::default();
    let mut groups =
        all.page(&state.db, (COLUMNS, "group_ratio", "group_name"), page, view).await?;
    let mut members = members(state).await?;
    for group in &mut groups.items {
        group.members = members.remove(&group.group_name).unwrap_or_default();
    }
    Ok(groups)
}

/// Most groups that are named.
const MAX_NAMED: i64 = 200;

/// The groups there are: those that have a ratio, or that a channel names. To choose from.
///
/// # Errors
/// For ordinary users, or when the database fails.
pub async fn names(state: &AdminState, actor: &Actor) -> Result<BTreeSet<String>, AdminError> {
    actor.require_admin()?;
    let mut names = BTreeSet::from(["default".to_owned()]);
    let sql = "SELECT group_name AS name FROM group_ratio LIMIT $1";
    for row in state.db.read(sql, &[MAX_NAMED.into()]).await? {
        names.insert(row.get("name")?);
    }
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
