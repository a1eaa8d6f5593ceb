//! Snapshots of the statements that are built from the tables.

use crate::columns::{Forms, Placeholders};
use crate::postgres::statement_of;
use crate::tables::{ACCOUNTS, HOLDS, LINES};

#[test]
fn a_plain_settlement_on_postgresql() {
    assert_eq!(
        statement_of(&["moves_accounts", "ends_holds", "adds_lines"], Forms::ALWAYS),
        "WITH moved_account AS (
    UPDATE users AS t SET quota = t.quota + c.delta, used_quota = t.used_quota + c.used, \
request_count = t.request_count + c.requests, revision = t.revision + 1
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::boolean[], $5::bigint[], \
$6::bigint[], $7::bigint[])
        AS c (id, username, quota_was, usable, delta, used, requests)
    WHERE t.id = c.id AND t.username = c.username AND t.quota = c.quota_was AND \
(t.status = 1 AND t.deleted_at IS NULL) = c.usable AND t.daily_limit IS NULL AND \
t.monthly_limit IS NULL AND t.spent_on IS NULL
    RETURNING 1),
ended_hold AS (
    DELETE FROM holds AS t
    USING unnest($8::uuid[], $9::bigint[])
        AS c (id, amount_was)
    WHERE t.id = c.id AND t.amount = c.amount_was
    RETURNING 1),
added_line AS (
    INSERT INTO logs (user_id, username, created_at, type, model_name, quota, prompt_tokens, \
completion_tokens, channel_id, token_id, request_id, use_time_ms, delta, used_delta, hold_id, \
held, price_id)
    SELECT c.user_id, c.username, c.created_at, c.type, c.model_name, c.quota, c.prompt_tokens, \
c.completion_tokens, c.channel_id, c.token_id, c.request_id, c.use_time_ms, c.delta, \
c.used_delta, c.hold_id, c.held, c.price_id
    FROM unnest($10::bigint[], $11::text[], $12::timestamptz[], $13::text[], $14::text[], \
$15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::text[], \
$21::bigint[], $22::bigint[], $23::bigint[], $24::uuid[], $25::bigint[], $26::bigint[])
        AS c (user_id, username, created_at, type, model_name, quota, prompt_tokens, \
completion_tokens, channel_id, token_id, request_id, use_time_ms, delta, used_delta, hold_id, \
held, price_id))
SELECT CASE WHEN (SELECT count(*) FROM moved_account) = cardinality($1::bigint[])
    AND (SELECT count(*) FROM ended_hold) = cardinality($8::uuid[])
    THEN true ELSE newapi_refuse_batch() END"
    );
}

#[test]
fn a_hold_with_limits_on_postgresql() {
    let mut at = Placeholders::default();
    assert_eq!(
        HOLDS.insert_all(Forms::LIMITED, &mut at),
        "INSERT INTO holds (id, user_id, key_id, channel_id, model_name, request_id, amount, \
price_id, node_id, deadline_at, created_at, key_amount, counted_on, key_counted_on)
    SELECT c.id, c.user_id, c.key_id, c.channel_id, c.model_name, c.request_id, c.amount, \
c.price_id, c.node_id, c.deadline_at, c.created_at, c.key_amount, c.counted_on, c.key_counted_on
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], \
$7::bigint[], $8::bigint[], $9::uuid[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], \
$13::integer[], $14::integer[])
        AS c (id, user_id, key_id, channel_id, model_name, request_id, amount, price_id, node_id, \
deadline_at, created_at, key_amount, counted_on, key_counted_on)"
    );
}

#[test]
fn one_row_on_sqlite() {
    assert_eq!(
        ACCOUNTS.update_one(),
        "UPDATE users AS t SET quota = t.quota + ?2, used_quota = t.used_quota + ?3, \
request_count = t.request_count + ?4, spent_on = ?5, spent_day = ?6, spent_month = ?7, \
revision = t.revision + 1 WHERE t.id = ?1"
    );
    assert_eq!(
        HOLDS.update_one(),
        "UPDATE holds AS t SET channel_id = ?2, amount = ?3, node_id = ?4, deadline_at = ?5, \
key_amount = ?6, counted_on = ?7, key_counted_on = ?8 WHERE t.id = ?1"
    );
    assert_eq!(
        LINES.insert_one(),
        "INSERT INTO logs (user_id, username, created_at, type, model_name, quota, \
prompt_tokens, completion_tokens, channel_id, token_id, request_id, use_time_ms, delta, \
used_delta, hold_id, held, price_id, content, other, reference, counted_on, key_counted_on) \
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
?20, ?21, ?22)"
    );
    assert_eq!(
        HOLDS.selected(),
        "t.id, t.user_id, t.key_id, t.channel_id, t.model_name, t.request_id, t.amount, \
t.price_id, t.node_id, t.deadline_at, t.for_task, t.key_amount, t.counted_on, t.key_counted_on"
    );
}
