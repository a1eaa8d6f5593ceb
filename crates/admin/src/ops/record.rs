//! Administrative writes: the change, and the log line that records who did what.

use super::batch::RowChange;
use crate::{Actor, AdminState};
use domain::{ChannelId, KeyId};
use ledger::Told;
use serde_json::{Value as Json, json};
use store::{Engine, Row, Statement, StoreError, Value};

/// What an administrative write was about, where the log has a column for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    /// No column of its own.
    Other,
    /// A channel.
    Channel(ChannelId),
    /// The channel that the statement before this one inserted.
    NewChannel,
    /// A key.
    Token(KeyId),
    /// The key of this hash, inserted by the statement before this one.
    NewToken(&'a [u8; 32]),
    /// The user of this name, inserted by the statement before this one; the log has no column for
    /// whom something was done to, but the details have `target_user_id`.
    NewUser(&'a str),
}

/// Carries `statements` out together with the log line about them: all, or nothing.
pub(super) async fn write(
    state: &AdminState,
    actor: &Actor,
    mut statements: Vec<Statement>,
    subject: Subject<'_>,
    (action, content): (&str, String),
    details: Json,
) -> Result<Vec<Vec<Row>>, StoreError> {
    statements.push(manage(state, actor, subject, (action, content), details));
    let rows = state.db.write_all(statements).await?;
    tracing::info!(
        target: "custompass",
        event = "admin_action",
        user_id = actor.user_id.0,
        action = action,
    );
    Ok(rows)
}

/// Carries all changes out, each together with its log line, in one transaction.
pub(super) async fn write_each(
    state: &AdminState,
    actor: &Actor,
    changes: Vec<RowChange>,
) -> Result<(), StoreError> {
    let (mut statements, count) = (Vec::new(), changes.len());
    let action = changes.first().map_or("", |change| change.told.0);
    for change in changes {
        let RowChange { statements: own, subject, told, details } = change;
        statements.extend(own);
        statements.push(manage(state, actor, subject, told, details));
    }
    state.db.write_all(statements).await?;
    tracing::info!(
        target: "custompass",
        event = "admin_action",
        user_id = actor.user_id.0,
        action = action,
        rows = count,
    );
    Ok(())
}

/// Returns the update of the row `id` of `table`, which must exist. Column names come from the
/// code; all input is bound as values.
pub(super) fn update_row(table: &str, set: &[(&'static str, Value)], id: i64) -> Statement {
    let columns = set.iter().enumerate();
    let pairs: Vec<String> =
        columns.map(|(n, (column, _))| format!("{column} = ${}", n + 1)).collect();
    let mut params: Vec<Value> = set.iter().map(|(_, value)| value.clone()).collect();
    params.push(id.into());
    let sql = format!("UPDATE {table} SET {} WHERE id = ${}", pairs.join(", "), params.len());
    Statement::new(sql, params).expecting(1)
}

/// The id that the first statement returned.
pub(super) fn returned_id(rows: &[Vec<Row>]) -> Result<i64, StoreError> {
    match rows.first().and_then(|rows| rows.first()) {
        Some(row) => row.get("id"),
        None => Err(StoreError::Other("an insert returned no id".to_owned())),
    }
}

/// The line about a movement of money, which the ledger writes with it.
pub(super) fn told(actor: &Actor, (action, content): (&str, String), details: Json) -> Told {
    let details = signed(actor, action, details).to_string();
    Told { user_id: actor.user_id, content, details }
}

/// Details with what was done, and by whom.
fn signed(actor: &Actor, action: &str, details: Json) -> Json {
    let mut other = json!({ "action": action, "by": actor.username, "by_role": actor.role });
    if let (Json::Object(into), Json::Object(details)) = (&mut other, details) {
        into.extend(details);
    }
    other
}

/// Returns the log line for `action`, with `content` for people and `details` for programs. Neither
/// may contain a secret.
pub(super) fn manage(
    state: &AdminState,
    actor: &Actor,
    subject: Subject<'_>,
    (action, content): (&str, String),
    details: Json,
) -> Statement {
    let other = signed(actor, action, details);
    let mut params: Vec<Value> = vec![
        actor.user_id.into(),
        actor.username.as_str().into(),
        state.clock.now().into(),
        content.into(),
        other.into(),
    ];
    let mut subject_sql = |param: Value, sql: &'static str| {
        params.push(param);
        sql
    };
    let (channel, token, details) = match subject {
        Subject::Other => ("NULL", "NULL", "$5"),
        Subject::Channel(id) => (subject_sql(id.into(), "$6"), "NULL", "$5"),
        Subject::Token(id) => ("NULL", subject_sql(id.into(), "$6"), "$5"),
        Subject::NewToken(hash) => {
            let of_hash = "(SELECT id FROM tokens WHERE key_hash = $6)";
            ("NULL", subject_sql(hash.into(), of_hash), "$5")
        }
        Subject::NewUser(name) => {
            let with_target = match state.db.engine() {
                Engine::Postgres => {
                    "$5::jsonb || jsonb_build_object('target_user_id', \
                     (SELECT id FROM users WHERE username = $6))"
                }
                Engine::Sqlite => {
                    "json_patch($5, json_object('target_user_id', \
                     (SELECT id FROM users WHERE username = $6)))"
                }
            };
            ("NULL", "NULL", subject_sql(name.into(), with_target))
        }
        Subject::NewChannel => (
            match state.db.engine() {
                Engine::Postgres => "currval(pg_get_serial_sequence('channels', 'id'))",
                Engine::Sqlite => "last_insert_rowid()",
            },
            "NULL",
            "$5",
        ),
    };
    let sql = format!(
        "INSERT INTO logs (user_id, username, created_at, type, content, other, channel_id, \
         token_id) VALUES ($1, $2, $3, 'manage', $4, {details}, {channel}, {token})"
    );
    Statement::new(sql, params)
}
