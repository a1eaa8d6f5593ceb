//! What a lane says to PostgreSQL.

/// A lane finds a few rows by their keys, whatever the planner believes about young tables: without
/// this, a table that was never analysed is joined by reading all of it. Plans are made once.
pub(super) const SESSION: &str = "SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET jit = off; SET plan_cache_mode = force_generic_plan;
    SET synchronous_commit = on";

pub(super) const READ_USERS: &str = "SELECT id, username, quota,
           status = 1 AND deleted_at IS NULL, daily_limit, monthly_limit, spent_on, spent_day,
           spent_month
    FROM users WHERE id = ANY($1::bigint[])";
pub(super) const READ_KEYS: &str = "SELECT id, remain_quota, unlimited_quota,
           daily_limit, monthly_limit, spent_on, spent_day, spent_month
    FROM tokens WHERE id = ANY($1::bigint[])";
pub(super) const READ_HOLDS: &str = "SELECT id, user_id, key_id, channel_id, model_name,
           request_id, amount, key_amount, state, charged, node_id IS NULL, counted_on,
           key_counted_on
    FROM holds WHERE id = ANY($1::uuid[])";
/// The same, with the transaction's number; what others have locked is skipped.
pub(super) const LOCK_USERS: &str = "SELECT id, username, quota,
           status = 1 AND deleted_at IS NULL, daily_limit, monthly_limit, spent_on, spent_day,
           spent_month, txid_current()
    FROM users WHERE id = ANY($1::bigint[]) FOR NO KEY UPDATE SKIP LOCKED";
pub(super) const LOCK_CODES: &str = "SELECT id, name, quota, status,
           (extract(epoch FROM expires_at) * 1000)::bigint
    FROM redemptions WHERE id = ANY($1::bigint[]) FOR NO KEY UPDATE SKIP LOCKED";
/// Makes another reading statement lock what it finds, and skip what others have locked.
pub(super) const AND_LOCK: &str = " FOR NO KEY UPDATE SKIP LOCKED";

pub(super) const MOVE_BALANCES: &str = "UPDATE users AS u
    SET quota = u.quota + c.delta, used_quota = u.used_quota + c.used,
        request_count = u.request_count + c.requests, revision = u.revision + 1,
        spent_on = coalesce(c.spent_on, u.spent_on),
        spent_day = CASE WHEN c.spent_on IS NULL THEN u.spent_day ELSE c.spent_day END,
        spent_month = CASE WHEN c.spent_on IS NULL THEN u.spent_month ELSE c.spent_month END
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::integer[],
                $6::bigint[], $7::bigint[])
         AS c (id, delta, used, requests, spent_on, spent_day, spent_month)
    WHERE u.id = c.id
      AND (c.delta <> 0 OR c.used <> 0 OR c.requests <> 0 OR c.spent_on IS NOT NULL)";
pub(super) const MOVE_KEYS: &str = "UPDATE tokens AS t
    SET remain_quota = t.remain_quota + c.delta,
        spent_on = coalesce(c.spent_on, t.spent_on),
        spent_day = CASE WHEN c.spent_on IS NULL THEN t.spent_day ELSE c.spent_day END,
        spent_month = CASE WHEN c.spent_on IS NULL THEN t.spent_month ELSE c.spent_month END
    FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[])
         AS c (id, delta, spent_on, spent_day, spent_month)
    WHERE t.id = c.id AND (c.delta <> 0 OR c.spent_on IS NOT NULL)";
pub(super) const INSERT_HOLDS: &str = "INSERT INTO holds (id, user_id, key_id, channel_id,
           model_name, request_id, amount, key_amount, price, deadline_at, state, charged,
           for_task, node_id, created_at, counted_on, key_counted_on)
    SELECT c.id, c.user_id, c.key_id, c.channel_id, c.model, c.request_id, c.amount, c.key_amount,
           c.price::jsonb, c.deadline_at, c.state, c.charged, c.for_task, $14::uuid,
           $15::timestamptz, c.counted_on, c.key_counted_on
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
                $7::bigint[], $8::bigint[], $9::text[], $10::timestamptz[], $11::text[],
                $12::bigint[], $13::boolean[], $16::integer[], $17::integer[])
         AS c (id, user_id, key_id, channel_id, model, request_id, amount, key_amount, price,
               deadline_at, state, charged, for_task, counted_on, key_counted_on)";
pub(super) const UPDATE_HOLDS: &str = "UPDATE holds AS h
    SET channel_id = c.channel_id, amount = c.amount, key_amount = c.key_amount, state = c.state,
        charged = c.charged,
        node_id = CASE WHEN c.abandoned THEN NULL ELSE coalesce(h.node_id, $8::uuid) END,
        closed_at = CASE WHEN c.state = 'held' THEN NULL
                         ELSE coalesce(h.closed_at, $9::timestamptz) END,
        counted_on = c.counted_on, key_counted_on = c.key_counted_on
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[],
                $7::boolean[], $10::integer[], $11::integer[])
         AS c (id, channel_id, amount, key_amount, state, charged, abandoned, counted_on,
               key_counted_on)
    WHERE h.id = c.id";
pub(super) const INSERT_ENTRIES: &str = "INSERT INTO logs (user_id, username, type, model_name,
           quota, prompt_tokens, completion_tokens, channel_id, token_id, request_id, use_time_ms,
           content, other, delta, used_delta, hold_id, closes, created_at)
    SELECT c.user_id, c.username, c.type, c.model, c.quota, c.prompt, c.completion, c.channel_id,
           c.token_id, c.request_id, c.use_time_ms, c.content, c.other::jsonb, c.delta,
           c.used_delta, c.hold_id, c.closes, $18::timestamptz
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::text[],
                $13::text[], $14::bigint[], $15::bigint[], $16::uuid[], $17::boolean[])
         AS c (user_id, username, type, model, quota, prompt, completion, channel_id, token_id,
               request_id, use_time_ms, content, other, delta, used_delta, hold_id, closes)";
pub(super) const REDEEM_CODES: &str = "UPDATE redemptions AS r
    SET status = 3, redeemed_by = c.user_id, redeemed_at = $3::timestamptz
    FROM unnest($1::bigint[], $2::bigint[]) AS c (id, user_id) WHERE r.id = c.id";
pub(super) const KEEP_REPLIES: &str = "UPDATE idempotency AS i
    SET done = true, reply_sealed = c.sealed
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS c (user_id, key, sealed)
    WHERE i.user_id = c.user_id AND i.idempotency_key = c.key";
pub(super) const FORGET_REPLIES: &str = "DELETE FROM idempotency AS i
    USING unnest($1::bigint[], $2::text[]) AS c (user_id, key)
    WHERE i.user_id = c.user_id AND i.idempotency_key = c.key AND NOT i.done";

/// A whole batch in one statement, and so in one transaction: written if every row is still as the
/// Book saw it, else nothing is. Accounts and keys are locked, if nobody else has them, and
/// compared; a hold has been this lane's alone since it was made, so it is compared as it is
/// changed, and an unexpected change undoes the statement.
///
/// Parameters and tables cost a small batch as much as its rows do. So there are two forms: one for
/// batches in which a key has a limit of its own or somebody's spending is counted, and one that
/// makes sure that there is no such thing. Each lacks the lines that are marked for the other.
pub(super) fn enter_batch(limited: bool) -> String {
    let others = if limited { "-- free" } else { "-- limited" };
    let lines: Vec<&str> = ENTER_BATCH.lines().filter(|line| !line.ends_with(others)).collect();
    lines.join("\n")
}

const ENTER_BATCH: &str = "WITH
account AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::boolean[], $5::bigint[],
                         $6::bigint[], $7::bigint[]
                         , $51::bigint[], $52::bigint[], $53::integer[], $54::bigint[] -- limited
                         , $55::bigint[], $56::integer[], $57::bigint[], $58::bigint[] -- limited
    ) AS c (id, username, quota, usable, delta, used, requests
            , daily, monthly, on_was, day_was, month_was -- limited
            , spent_on, spent_day, spent_month -- limited
    )),
key AS ( -- limited
    SELECT * FROM unnest($47::bigint[], $48::bigint[], $49::boolean[], $50::bigint[], -- limited
                         $59::bigint[], $60::bigint[], $61::integer[], $62::bigint[], -- limited
                         $63::bigint[], $64::integer[], $65::bigint[], $66::bigint[]) -- limited
        AS c (id, remain, unlimited, delta, daily, monthly, on_was, day_was, -- limited
              month_was, spent_on, spent_day, spent_month)), -- limited
locked_user AS MATERIALIZED (
    SELECT u.id FROM account AS c JOIN users AS u ON u.id = c.id
    WHERE u.quota = c.quota AND u.username = c.username
      AND (u.status = 1 AND u.deleted_at IS NULL) = c.usable
      AND u.daily_limit IS NULL AND u.monthly_limit IS NULL AND u.spent_on IS NULL -- free
      AND u.daily_limit IS NOT DISTINCT FROM c.daily -- limited
      AND u.monthly_limit IS NOT DISTINCT FROM c.monthly -- limited
      AND u.spent_on IS NOT DISTINCT FROM c.on_was -- limited
      AND (c.on_was IS NULL OR u.spent_day = c.day_was AND u.spent_month = c.month_was) -- limited
    FOR NO KEY UPDATE OF u SKIP LOCKED),
locked_key AS MATERIALIZED ( -- limited
    SELECT t.id FROM key AS c JOIN tokens AS t ON t.id = c.id -- limited
    WHERE t.remain_quota = c.remain AND t.unlimited_quota = c.unlimited -- limited
      AND t.daily_limit IS NOT DISTINCT FROM c.daily -- limited
      AND t.monthly_limit IS NOT DISTINCT FROM c.monthly -- limited
      AND t.spent_on IS NOT DISTINCT FROM c.on_was -- limited
      AND (c.on_was IS NULL OR t.spent_day = c.day_was AND t.spent_month = c.month_was) -- limited
    FOR NO KEY UPDATE OF t SKIP LOCKED), -- limited
fit AS MATERIALIZED (
    SELECT (SELECT count(*) FROM locked_user) = cardinality($1::bigint[])
       AND (SELECT count(*) FROM locked_key) = cardinality($47::bigint[]) -- limited
        AS ok),
changed_hold AS (
    UPDATE holds AS h
    SET channel_id = c.channel_id, amount = c.amount, key_amount = c.key_amount, state = c.state,
        charged = c.charged,
        counted_on = c.counted_on, key_counted_on = c.key_counted_on, -- limited
        node_id = CASE WHEN c.abandoned THEN NULL ELSE coalesce(h.node_id, $45::uuid) END,
        closed_at = CASE WHEN c.state = 'held' THEN NULL
                         ELSE coalesce(h.closed_at, $46::timestamptz) END
    FROM unnest($8::uuid[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[],
                $13::bigint[], $14::boolean[], $15::text[], $16::bigint[], $17::bigint[]
                , $67::integer[], $68::integer[] -- limited
    ) AS c (id, channel_id, amount, key_amount, state, charged, abandoned, state_was,
            amount_was, charged_was
            , counted_on, key_counted_on -- limited
    )
    WHERE h.id = c.id AND h.state = c.state_was AND h.amount = c.amount_was
      AND h.charged = c.charged_was AND (SELECT ok FROM fit)
    RETURNING 1),
made_hold AS (
    INSERT INTO holds (id, user_id, key_id, channel_id, model_name, request_id, amount, key_amount,
           counted_on, key_counted_on, -- limited
           price, deadline_at, node_id, created_at)
    SELECT c.id, c.user_id, c.key_id, c.channel_id, c.model, c.request_id, c.amount, c.key_amount,
           c.counted_on, c.key_counted_on, -- limited
           c.price::jsonb, c.deadline_at, $45::uuid, $46::timestamptz
    FROM unnest($18::uuid[], $19::bigint[], $20::bigint[], $21::bigint[], $22::text[], $23::text[],
                $24::bigint[], $25::bigint[], $26::text[], $27::timestamptz[]
                , $69::integer[], $70::integer[] -- limited
    ) AS c (id, user_id, key_id, channel_id, model, request_id, amount, key_amount, price,
            deadline_at
            , counted_on, key_counted_on -- limited
    )
    WHERE (SELECT ok FROM fit)),
moved_balance AS (
    UPDATE users AS u
    SET quota = u.quota + c.delta, used_quota = u.used_quota + c.used,
        spent_on = coalesce(c.spent_on, u.spent_on), -- limited
        spent_day = CASE WHEN c.spent_on IS NULL THEN u.spent_day ELSE c.spent_day END, -- limited
        spent_month = CASE WHEN c.spent_on IS NULL THEN u.spent_month -- limited
                           ELSE c.spent_month END, -- limited
        request_count = u.request_count + c.requests, revision = u.revision + 1
    FROM account AS c
    WHERE u.id = c.id AND (SELECT ok FROM fit)
      AND (c.delta <> 0 OR c.used <> 0 OR c.requests <> 0
           OR c.spent_on IS NOT NULL -- limited
      )),
moved_key AS ( -- limited
    UPDATE tokens AS t -- limited
    SET remain_quota = t.remain_quota + c.delta, -- limited
        spent_on = coalesce(c.spent_on, t.spent_on), -- limited
        spent_day = CASE WHEN c.spent_on IS NULL THEN t.spent_day ELSE c.spent_day END, -- limited
        spent_month = CASE WHEN c.spent_on IS NULL THEN t.spent_month -- limited
                           ELSE c.spent_month END -- limited
    FROM key AS c -- limited
    WHERE t.id = c.id AND (SELECT ok FROM fit) -- limited
      AND (c.delta <> 0 OR c.spent_on IS NOT NULL)), -- limited
entered AS (
    INSERT INTO logs (user_id, username, type, model_name, quota, prompt_tokens,
           completion_tokens, channel_id, token_id, request_id, use_time_ms, content, other, delta,
           used_delta, hold_id, closes, created_at)
    SELECT c.user_id, c.username, c.type, c.model, c.quota, c.prompt, c.completion, c.channel_id,
           c.token_id, c.request_id, c.use_time_ms, c.content, c.other::jsonb, c.delta,
           c.used_delta, c.hold_id, c.closes, $46::timestamptz
    FROM unnest($28::bigint[], $29::text[], $30::text[], $31::text[], $32::bigint[], $33::bigint[],
                $34::bigint[], $35::bigint[], $36::bigint[], $37::text[], $38::bigint[],
                $39::text[], $40::text[], $41::bigint[], $42::bigint[], $43::uuid[],
                $44::boolean[])
         AS c (user_id, username, type, model, quota, prompt, completion, channel_id, token_id,
               request_id, use_time_ms, content, other, delta, used_delta, hold_id, closes)
    WHERE (SELECT ok FROM fit))
SELECT CASE WHEN NOT ok THEN false
            WHEN (SELECT count(*) FROM changed_hold) = cardinality($8::uuid[]) THEN true
            ELSE newapi_refuse_batch() END
FROM fit";

pub(super) const EXISTING: &str = "SELECT 'u', id::text FROM users WHERE id = ANY($1::bigint[])
    UNION ALL SELECT 'k', id::text FROM tokens WHERE id = ANY($2::bigint[])
    UNION ALL SELECT 'h', id::text FROM holds WHERE id = ANY($3::uuid[])
    UNION ALL SELECT 'c', id::text FROM redemptions WHERE id = ANY($4::bigint[])";

/// Who serves this connection. A number alone may be given to another process later.
pub(super) const WHO_SERVES: &str = "SELECT pid, backend_start::text FROM pg_stat_activity
    WHERE pid = pg_backend_pid()";
pub(super) const STILL_SERVES: &str = "SELECT 1 FROM pg_stat_activity
    WHERE pid = $1::integer AND backend_start::text = $2::text";
pub(super) const BEARS_WITNESS: &str = "SELECT 1 FROM holds
    WHERE id = $1::uuid AND state = coalesce($2::text, state)
      AND amount = coalesce($3::bigint, amount)";
