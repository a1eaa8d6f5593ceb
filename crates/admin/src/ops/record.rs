//! The line in the log that says who did what.

use crate::{Actor, AdminState};
use domain::{ChannelId, KeyId};
use serde_json::{Value as Json, json};
use store::{Engine, Statement, Value};

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
}

/// The log line for `action`, told in `content`, with `details` for programs. Neither may hold a
/// secret.
pub(super) fn manage(
    state: &AdminState,
    actor: &Actor,
    subject: Subject<'_>,
    (action, content): (&str, String),
    details: Json,
) -> Statement {
    let mut other = json!({ "action": action, "by": actor.username, "by_role": actor.role });
    if let (Json::Object(into), Json::Object(details)) = (&mut other, details) {
        into.extend(details);
    }
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
    let (channel, token) = match subject {
        Subject::Other => ("NULL", "NULL"),
        Subject::Channel(id) => (subject_sql(id.into(), "$6"), "NULL"),
        Subject::Token(id) => ("NULL", subject_sql(id.into(), "$6")),
        Subject::NewToken(hash) => {
            ("NULL", subject_sql(hash.into(), "(SELECT id FROM tokens WHERE key_hash = $6)"))
        }
        Subject::NewChannel => (
            match state.db.engine() {
                Engine::Postgres => "currval(pg_get_serial_sequence('channels', 'id'))",
                Engine::Sqlite => "last_insert_rowid()",
            },
            "NULL",
        ),
    };
    let sql = format!(
        "INSERT INTO logs (user_id, username, created_at, type, content, other, channel_id, \
         token_id) VALUES ($1, $2, $3, 'manage', $4, $5, {channel}, {token})"
    );
    tracing::info!(
        target: "custompass",
        event = "admin_action",
        user_id = actor.user_id.0,
        action = action,
    );
    Statement::new(sql, params)
}
