-- The whole schema. The same tables as on PostgreSQL, where every column is explained. Instants are milliseconds since 1970, decimals are
-- text (SQLite would keep them as floats) of at most six places, ids of holds and nodes are 16
-- bytes.

CREATE TABLE users (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    username          TEXT    NOT NULL UNIQUE CHECK (username <> ''),
    display_name      TEXT    NOT NULL DEFAULT '',
    password_hash     TEXT,
    access_token_hash BLOB UNIQUE,
    role              INTEGER NOT NULL DEFAULT 1 CHECK (role IN (1, 10, 100)),
    status            INTEGER NOT NULL DEFAULT 1 CHECK (status IN (1, 2)),
    "group"           TEXT    NOT NULL DEFAULT 'default',
    ratio             TEXT    NOT NULL DEFAULT '1'
                      CHECK (ratio GLOB '[0-9]*' AND ratio NOT GLOB '*[^0-9.]*'
                             AND ratio NOT GLOB '*.*.*' AND ratio NOT GLOB '*.???????*'
                             AND CAST(ratio AS REAL) <= 1000000),
    quota             INTEGER NOT NULL DEFAULT 0 CHECK (typeof(quota) = 'integer'),
    used_quota        INTEGER NOT NULL DEFAULT 0 CHECK (typeof(used_quota) = 'integer'),
    request_count     INTEGER NOT NULL DEFAULT 0,
    revision          INTEGER NOT NULL DEFAULT 0,
    created_at        INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    updated_at        INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    deleted_at        INTEGER,
    daily_limit       INTEGER
        CHECK (daily_limit > 0 AND typeof(daily_limit) IN ('integer', 'null')),
    monthly_limit     INTEGER
        CHECK (monthly_limit > 0 AND typeof(monthly_limit) IN ('integer', 'null')),
    spent_on          INTEGER CHECK (spent_on > 0),
    spent_day         INTEGER NOT NULL DEFAULT 0,
    spent_month       INTEGER NOT NULL DEFAULT 0,
    low_balance_threshold INTEGER
        CHECK (low_balance_threshold > 0 AND typeof(low_balance_threshold) IN ('integer', 'null')),
    low_balance_event     BLOB,
    low_balance_told_at   INTEGER,
    language              TEXT CHECK (language IN ('zh', 'en'))
);
CREATE INDEX users_low_balance ON users (id) WHERE low_balance_threshold IS NOT NULL;

CREATE TABLE tokens (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id         INTEGER NOT NULL REFERENCES users (id),
    name            TEXT    NOT NULL DEFAULT '',
    key_hash        BLOB    NOT NULL UNIQUE,
    key_hint        TEXT    NOT NULL DEFAULT '',
    key_sealed      TEXT,
    status          INTEGER NOT NULL DEFAULT 1 CHECK (status IN (1, 2)),
    remain_quota    INTEGER NOT NULL DEFAULT 0 CHECK (typeof(remain_quota) = 'integer'),
    unlimited_quota INTEGER NOT NULL DEFAULT 0,
    used_quota      INTEGER NOT NULL DEFAULT 0,
    "group"         TEXT,
    models          TEXT    NOT NULL DEFAULT '',
    allow_ips       TEXT    NOT NULL DEFAULT '',
    rate_limit_rpm  INTEGER CHECK (rate_limit_rpm > 0),
    expired_at      INTEGER,
    created_at      INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    updated_at      INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    last_used_at    INTEGER,
    daily_limit     INTEGER
        CHECK (daily_limit > 0 AND typeof(daily_limit) IN ('integer', 'null')),
    monthly_limit   INTEGER
        CHECK (monthly_limit > 0 AND typeof(monthly_limit) IN ('integer', 'null')),
    spent_on        INTEGER CHECK (spent_on > 0),
    spent_day       INTEGER NOT NULL DEFAULT 0,
    spent_month     INTEGER NOT NULL DEFAULT 0,
    rate_limit_tpm  INTEGER
        CHECK (rate_limit_tpm > 0 AND typeof(rate_limit_tpm) IN ('integer', 'null')),
    rotated_at      INTEGER,
    old_key_hash    BLOB UNIQUE,
    old_key_hint    TEXT    NOT NULL DEFAULT '',
    old_key_ends_at INTEGER,
    old_key_used_at INTEGER,
    CHECK (old_key_hash <> key_hash),
    CHECK ((old_key_hash IS NULL) = (old_key_ends_at IS NULL))
);
CREATE INDEX tokens_user ON tokens (user_id);
-- A secret is one key's: none is what another had before.
CREATE TRIGGER tokens_one_key_a_secret AFTER INSERT ON tokens
WHEN EXISTS (SELECT 1 FROM tokens
             WHERE id <> NEW.id AND (key_hash = NEW.old_key_hash OR old_key_hash = NEW.key_hash))
BEGIN SELECT RAISE(ABORT, 'this secret is another key''s'); END;
CREATE TRIGGER tokens_one_key_a_secret_update AFTER UPDATE OF key_hash, old_key_hash ON tokens
WHEN EXISTS (SELECT 1 FROM tokens
             WHERE id <> NEW.id AND (key_hash = NEW.old_key_hash OR old_key_hash = NEW.key_hash))
BEGIN SELECT RAISE(ABORT, 'this secret is another key''s'); END;

CREATE TABLE channels (
    id                        INTEGER PRIMARY KEY AUTOINCREMENT,
    name                      TEXT    NOT NULL DEFAULT '',
    type                      INTEGER NOT NULL DEFAULT 52 CHECK (type = 52),
    base_url                  TEXT    NOT NULL,
    key                       TEXT    NOT NULL DEFAULT '',
    models                    TEXT    NOT NULL DEFAULT '',
    groups                    TEXT    NOT NULL DEFAULT 'default',
    priority                  INTEGER NOT NULL DEFAULT 0,
    weight                    INTEGER NOT NULL DEFAULT 1 CHECK (weight >= 0),
    auto_ban                  INTEGER NOT NULL DEFAULT 1,
    status                    INTEGER NOT NULL DEFAULT 1 CHECK (status IN (1, 2, 3)),
    other                     TEXT    NOT NULL DEFAULT '',
    model_mapping             TEXT    NOT NULL DEFAULT '{}',
    param_override            TEXT    NOT NULL DEFAULT '{}',
    status_code_mapping       TEXT    NOT NULL DEFAULT '{}',
    custompass_status_mapping TEXT    NOT NULL DEFAULT '{}',
    setting                   TEXT    NOT NULL DEFAULT '{}',
    protocol                  TEXT    NOT NULL DEFAULT 'custompass',
    tag                       TEXT    NOT NULL DEFAULT '',
    remark                    TEXT    NOT NULL DEFAULT '',
    used_quota                INTEGER NOT NULL DEFAULT 0,
    tested_at                 INTEGER,
    test_model                TEXT    NOT NULL DEFAULT '',
    test_ok                   INTEGER NOT NULL DEFAULT 0,
    test_ms                   INTEGER NOT NULL DEFAULT 0,
    test_error                TEXT    NOT NULL DEFAULT '',
    placed_by                 INTEGER,
    created_at                INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    updated_at                INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
);

CREATE TABLE abilities (
    model_name       TEXT    NOT NULL CHECK (model_name <> ''),
    channel_type     INTEGER NOT NULL DEFAULT 52 CHECK (channel_type = 52),
    ratio            TEXT CHECK (ratio GLOB '[0-9]*' AND ratio NOT GLOB '*[^0-9.]*'
                            AND ratio NOT GLOB '*.*.*' AND ratio NOT GLOB '*.???????*'
                            AND CAST(ratio AS REAL) <= 1000000),
    fixed_quota      INTEGER CHECK (fixed_quota IS NULL
                                    OR (typeof(fixed_quota) = 'integer' AND fixed_quota >= 0)),
    completion_ratio TEXT    NOT NULL DEFAULT '1'
                     CHECK (completion_ratio GLOB '[0-9]*' AND completion_ratio NOT GLOB '*[^0-9.]*'
                            AND completion_ratio NOT GLOB '*.*.*' AND completion_ratio NOT GLOB '*.???????*'
                            AND CAST(completion_ratio AS REAL) <= 1000000),
    cache_ratio      TEXT    NOT NULL DEFAULT '1'
                     CHECK (cache_ratio GLOB '[0-9]*' AND cache_ratio NOT GLOB '*[^0-9.]*'
                            AND cache_ratio NOT GLOB '*.*.*' AND cache_ratio NOT GLOB '*.???????*'
                            AND CAST(cache_ratio AS REAL) <= 1000000),
    image_ratio      TEXT    NOT NULL DEFAULT '1'
                     CHECK (image_ratio GLOB '[0-9]*' AND image_ratio NOT GLOB '*[^0-9.]*'
                            AND image_ratio NOT GLOB '*.*.*' AND image_ratio NOT GLOB '*.???????*'
                            AND CAST(image_ratio AS REAL) <= 1000000),
    audio_ratio      TEXT    NOT NULL DEFAULT '1'
                     CHECK (audio_ratio GLOB '[0-9]*' AND audio_ratio NOT GLOB '*[^0-9.]*'
                            AND audio_ratio NOT GLOB '*.*.*' AND audio_ratio NOT GLOB '*.???????*'
                            AND CAST(audio_ratio AS REAL) <= 1000000),
    min_hold         INTEGER NOT NULL DEFAULT 1
                     CHECK (typeof(min_hold) = 'integer' AND min_hold >= 0),
    max_charge       INTEGER CHECK (max_charge IS NULL
                                    OR (typeof(max_charge) = 'integer' AND max_charge > 0)),
    meters           TEXT    NOT NULL DEFAULT '{}',
    units            TEXT    NOT NULL DEFAULT '{}',
    tiers            TEXT    NOT NULL DEFAULT '[]',
    updated_at       INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    UNIQUE (model_name, channel_type)
);

-- Protocols of the operator's own, beside those that are built in.
CREATE TABLE protocols (
    name       TEXT    PRIMARY KEY CHECK (name <> ''),
    document   TEXT    NOT NULL,
    updated_at INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
) WITHOUT ROWID;

CREATE TABLE group_ratio (
    group_name TEXT    PRIMARY KEY CHECK (group_name <> ''),
    ratio      TEXT    NOT NULL DEFAULT '1'
               CHECK (ratio GLOB '[0-9]*' AND ratio NOT GLOB '*[^0-9.]*'
                      AND ratio NOT GLOB '*.*.*' AND ratio NOT GLOB '*.???????*'
                      AND CAST(ratio AS REAL) <= 1000000),
    updated_at INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
) WITHOUT ROWID;

-- Frozen prices.
CREATE TABLE price_snapshots (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    hash    BLOB    NOT NULL UNIQUE,
    price   TEXT    NOT NULL,
    used_at INTEGER NOT NULL
);

-- Open holds, and nothing else. Ids are UUIDv7, so the table is in order of time.
CREATE TABLE holds (
    id             BLOB    NOT NULL PRIMARY KEY,
    user_id        INTEGER NOT NULL,
    key_id         INTEGER NOT NULL,
    channel_id     INTEGER,
    model_name     TEXT    NOT NULL,
    request_id     TEXT    NOT NULL DEFAULT '',
    amount         INTEGER NOT NULL CHECK (amount >= 0),
    key_amount     INTEGER,
    price_id       INTEGER NOT NULL,
    for_task       INTEGER NOT NULL DEFAULT 0,
    counted_on     INTEGER,
    key_counted_on INTEGER,
    node_id        BLOB,
    deadline_at    INTEGER NOT NULL,
    created_at     INTEGER NOT NULL
) WITHOUT ROWID;
-- Holds without a node wait for their deadline.
CREATE INDEX holds_orphaned ON holds (deadline_at) WHERE node_id IS NULL;

-- The journal. Every movement of money is one line here, and the lines are what users see. A call
-- is one line, its settlement. Types are compared one by one: for an IN list SQLite creates and fills
-- a table at every statement.
CREATE TABLE logs (
    id                INTEGER PRIMARY KEY,
    user_id           INTEGER NOT NULL,
    username          TEXT    NOT NULL DEFAULT '',
    created_at        INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    type              TEXT    NOT NULL
                      CHECK (type = 'precharge' OR type = 'consume' OR type = 'refund'
                             OR type = 'topup' OR type = 'adjust' OR type = 'manage'
                             OR type = 'system' OR type = 'error'),
    model_name        TEXT    NOT NULL DEFAULT '',
    quota             INTEGER NOT NULL DEFAULT 0,
    prompt_tokens     INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    channel_id        INTEGER,
    token_id          INTEGER,
    request_id        TEXT    NOT NULL DEFAULT '',
    use_time_ms       INTEGER NOT NULL DEFAULT 0,
    content           TEXT    NOT NULL DEFAULT '',
    other             TEXT,
    delta             INTEGER NOT NULL DEFAULT 0,
    used_delta        INTEGER NOT NULL DEFAULT 0,
    hold_id           BLOB,
    held              INTEGER,
    price_id          INTEGER,
    counted_on        INTEGER,
    key_counted_on    INTEGER,
    reference         TEXT,
    CHECK (quota BETWEEN -1000000000000000 AND 1000000000000000),
    CHECK (delta BETWEEN -1000000000000000 AND 1000000000000000),
    CHECK (used_delta BETWEEN -1000000000000000 AND 1000000000000000)
);
-- Clients choose request ids, and may choose one for all their calls: a call is found by its hold.
CREATE INDEX logs_request ON logs (request_id, hold_id) WHERE request_id <> '';
CREATE INDEX logs_created ON logs (created_at);
-- Lines that calls don't write are few among millions, and are looked for by their type. Nothing
-- that a settled call writes enters this index.
CREATE INDEX logs_admin_types ON logs (type, id)
    WHERE type = 'topup' OR type = 'adjust' OR type = 'manage' OR type = 'system'
       OR type = 'error';
-- The admin journal by the kind of what was done, and by whom it was done to: lines of calls are in
-- neither. Both are the expressions of the query (admin, ops/log/actions.rs), word for word.
CREATE INDEX logs_action_kinds ON logs ((CASE other ->> 'action'
    WHEN 'user.login' THEN 'logins'
    WHEN 'user.login_failed' THEN 'refused'
    WHEN 'user.password_refused' THEN 'refused'
    WHEN 'user.token_refused' THEN 'refused'
    WHEN 'task.fail_and_refund' THEN 'money'
    WHEN 'task.settle_now' THEN 'money'
    ELSE CASE substr(other ->> 'action', 1, 4)
        WHEN 'abil' THEN 'prices' WHEN 'bala' THEN 'money' WHEN 'grou' THEN 'prices'
        WHEN 'chan' THEN 'channels' WHEN 'prot' THEN 'protocols'
        WHEN 'noti' THEN 'settings' WHEN 'opti' THEN 'settings'
        WHEN 'rede' THEN 'money' WHEN 'task' THEN 'tasks'
        WHEN 'toke' THEN 'keys' WHEN 'user' THEN 'users' WHEN 'webh' THEN 'webhooks'
    END
END), id)
    WHERE type = 'manage';
CREATE INDEX logs_action_targets ON logs ((CAST(other ->> 'target_user_id' AS text)), id)
    WHERE type = 'manage';

-- References of deposits, adjustments, refunds and codes: each moves a balance once.
CREATE TABLE movements (
    user_id    INTEGER NOT NULL,
    reference  TEXT    NOT NULL CHECK (reference <> ''),
    type       TEXT    NOT NULL,
    amount     INTEGER NOT NULL,
    refund_of  TEXT    NOT NULL DEFAULT '',
    entry_id   BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, reference)
) WITHOUT ROWID;

CREATE TABLE ledger_carry (
    user_id INTEGER PRIMARY KEY,
    delta   INTEGER NOT NULL DEFAULT 0,
    used    INTEGER NOT NULL DEFAULT 0
);

-- Rollups of the journal, so that sums, statements and pages need not read every line. These tables
-- contain the lines up to rollup_cursor, each once, in any order of time; readers add the newer lines.
CREATE TABLE logs_by_hour (
    channel_id        INTEGER NOT NULL,
    hour              INTEGER NOT NULL,
    model_name        TEXT    NOT NULL,
    type              TEXT    NOT NULL,
    lines             INTEGER NOT NULL,
    charging          INTEGER NOT NULL,
    quota             INTEGER NOT NULL,
    delta             INTEGER NOT NULL,
    used_delta        INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (channel_id, hour, model_name, type)
) WITHOUT ROWID;
CREATE TABLE logs_by_day (
    user_id           INTEGER NOT NULL,
    day               INTEGER NOT NULL,
    token_id          INTEGER NOT NULL,
    channel_id        INTEGER NOT NULL,
    model_name        TEXT    NOT NULL,
    type              TEXT    NOT NULL,
    first_line        INTEGER NOT NULL,
    last_line         INTEGER NOT NULL,
    lines             INTEGER NOT NULL,
    charging          INTEGER NOT NULL,
    quota             INTEGER NOT NULL,
    delta             INTEGER NOT NULL,
    used_delta        INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (user_id, day, token_id, model_name, type, channel_id)
) WITHOUT ROWID;
CREATE TABLE log_blocks (
    channel_id INTEGER NOT NULL,
    block      INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    model_name TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    lines      INTEGER NOT NULL,
    PRIMARY KEY (channel_id, block, day, model_name, type)
) WITHOUT ROWID;
-- Rows whose lines have all been deleted.
CREATE INDEX logs_by_hour_empty ON logs_by_hour (hour) WHERE lines = 0;
CREATE INDEX logs_by_day_empty ON logs_by_day (day) WHERE lines = 0;
CREATE INDEX log_blocks_empty ON log_blocks (day) WHERE lines = 0;

-- The lines of a user, without an index on the journal: each call would write to a leaf of its
-- user's own, a page to the disk for every line. The rollup copies what an index would hold, sorted,
-- some thousands of lines at a time; newer lines are read from the journal.
CREATE TABLE user_log_lines (
    user_id    INTEGER NOT NULL,
    log_id     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, log_id)
) WITHOUT ROWID;

-- The last line that was rolled up, and from when on the journal is complete: older lines may be
-- deleted once ledger_carry has their sum. One row.
CREATE TABLE rollup_cursor (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    through   INTEGER NOT NULL DEFAULT 0,
    kept_from INTEGER NOT NULL DEFAULT 0
);
INSERT INTO rollup_cursor (id) VALUES (1);

-- The journal, for readers of the lines of users. LEFT JOIN, so that counting them does not read
-- them.
CREATE VIEW user_logs AS
SELECT i.log_id AS id, i.user_id, l.username, i.created_at, l.type, l.model_name, l.quota,
       l.prompt_tokens, l.completion_tokens, l.channel_id, l.token_id, l.request_id,
       l.use_time_ms, l.content, l.other, l.delta, l.used_delta, l.hold_id, l.held, l.price_id,
       l.counted_on, l.key_counted_on, l.reference
FROM user_log_lines i LEFT JOIN logs l ON l.id = i.log_id
UNION ALL
SELECT id, user_id, username, created_at, type, model_name, quota,
       prompt_tokens, completion_tokens, channel_id, token_id, request_id,
       use_time_ms, content, other, delta, used_delta, hold_id, held, price_id,
       counted_on, key_counted_on, reference
FROM logs WHERE id > (SELECT through FROM rollup_cursor);

-- Owners of deleted keys, whose lines in the journal remain.
CREATE TABLE deleted_tokens (
    id      INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL
);
CREATE TRIGGER tokens_remember AFTER DELETE ON tokens
BEGIN
    INSERT INTO deleted_tokens (id, user_id) VALUES (OLD.id, OLD.user_id)
    ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id;
END;

CREATE TABLE nodes (
    id          BLOB    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL DEFAULT '',
    started_at  INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    version     TEXT    NOT NULL DEFAULT '',
    load        TEXT
) WITHOUT ROWID;

CREATE TABLE idempotency (
    user_id         INTEGER NOT NULL,
    idempotency_key TEXT    NOT NULL,
    fingerprint     BLOB    NOT NULL,
    node_id         BLOB    NOT NULL,
    done            INTEGER NOT NULL DEFAULT 0,
    reply_sealed    TEXT,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, idempotency_key)
) WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

-- What calls have made at an upstream and later calls name by its id: files, batches, stored
-- responses. Such a call goes to the channel that has it, for its owner alone.
CREATE TABLE resources (
    user_id      INTEGER NOT NULL,
    resource_id  TEXT    NOT NULL,
    collection   TEXT    NOT NULL,
    channel_id   INTEGER NOT NULL,
    model        TEXT    NOT NULL,
    reply_sealed TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    PRIMARY KEY (user_id, resource_id)
) WITHOUT ROWID;
CREATE INDEX resources_expiry ON resources (expires_at);
CREATE INDEX resources_listed ON resources (user_id, collection, created_at);
CREATE INDEX resources_named ON resources (resource_id, channel_id);

CREATE TABLE options (
    key        TEXT PRIMARY KEY,
    value      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
) WITHOUT ROWID;

-- The change feed of the one process that serves this file; rows are read and deleted.
CREATE TABLE config_changes (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    what TEXT NOT NULL
);

-- A balance edited with plain SQL is recorded in the journal. The ledger's own writes bump
-- revision, and insert their lines themselves. The limit leaves room for what is held and comes back.
CREATE TRIGGER users_adjust AFTER UPDATE OF quota, used_quota ON users
    WHEN NEW.revision = OLD.revision
         AND (NEW.quota <> OLD.quota OR NEW.used_quota <> OLD.used_quota)
BEGIN
    SELECT RAISE(ABORT, 'a balance is at most 1000000000000000')
    WHERE max(abs(NEW.quota), abs(NEW.used_quota)) > 1000000000000000
      AND (abs(NEW.quota) > abs(OLD.quota) OR abs(NEW.used_quota) > abs(OLD.used_quota));
    INSERT INTO logs (user_id, username, type, quota, delta, used_delta, content)
    VALUES (NEW.id, NEW.username, 'adjust', NEW.quota - OLD.quota,
            NEW.quota - OLD.quota, NEW.used_quota - OLD.used_quota, 'SQL');
END;
CREATE TRIGGER users_adjust_new AFTER INSERT ON users
    WHEN NEW.quota <> 0 OR NEW.used_quota <> 0
BEGIN
    INSERT INTO logs (user_id, username, type, quota, delta, used_delta, content)
    VALUES (NEW.id, NEW.username, 'adjust', NEW.quota, NEW.quota, NEW.used_quota, 'SQL');
END;

-- A key that was pinned to its owner's group leaves it with the owner: a cheaper group stays with
-- no key of a user who was moved, with SQL too.
CREATE TRIGGER users_leave_group AFTER UPDATE OF "group" ON users
    WHEN OLD."group" <> NEW."group"
BEGIN
    UPDATE tokens SET "group" = NULL WHERE user_id = NEW.id AND "group" = OLD."group";
END;

-- Append-only, enforced by triggers. Old lines may be deleted only once ledger_carry has their sum.
CREATE TRIGGER logs_no_update BEFORE UPDATE ON logs
    WHEN OLD.delta <> 0 OR OLD.used_delta <> 0 OR (OLD.hold_id IS NOT NULL AND OLD.type <> 'error')
         OR NEW.delta <> 0 OR NEW.used_delta <> 0 OR (NEW.hold_id IS NOT NULL AND NEW.type <> 'error')
BEGIN
    SELECT RAISE(ABORT, 'journal lines about money can only be added');
END;
CREATE TRIGGER logs_no_delete BEFORE DELETE ON logs
    WHEN (OLD.delta <> 0 OR OLD.used_delta <> 0 OR (OLD.hold_id IS NOT NULL AND OLD.type <> 'error'))
         AND OLD.created_at >= coalesce(
             (SELECT kept_from FROM rollup_cursor), 0)
BEGIN
    SELECT RAISE(ABORT, 'journal lines about money can only be added');
END;

-- Lines deleted from the journal are subtracted from the rollups. Then the cursor goes back with the
-- end of the journal: its numbers are assigned again.
CREATE TRIGGER logs_leave_rollups AFTER DELETE ON logs
BEGIN
    UPDATE logs_by_hour SET
        lines = lines - 1,
        charging = charging - CASE WHEN OLD.used_delta <> 0 THEN 1 ELSE 0 END,
        quota = quota - OLD.quota,
        delta = delta - OLD.delta,
        used_delta = used_delta - OLD.used_delta,
        prompt_tokens = prompt_tokens - OLD.prompt_tokens,
        completion_tokens = completion_tokens - OLD.completion_tokens
    WHERE channel_id IN (0, OLD.channel_id) AND hour = OLD.created_at - OLD.created_at % 3600000
      AND model_name = OLD.model_name AND type = OLD.type
      AND OLD.id <= (SELECT through FROM rollup_cursor);
    UPDATE logs_by_day SET
        lines = lines - 1,
        charging = charging - CASE WHEN OLD.used_delta <> 0 THEN 1 ELSE 0 END,
        quota = quota - OLD.quota,
        delta = delta - OLD.delta,
        used_delta = used_delta - OLD.used_delta,
        prompt_tokens = prompt_tokens - OLD.prompt_tokens,
        completion_tokens = completion_tokens - OLD.completion_tokens
    WHERE user_id = OLD.user_id AND token_id = coalesce(OLD.token_id, 0)
      AND channel_id = coalesce(OLD.channel_id, 0)
      AND day = OLD.created_at - OLD.created_at % 86400000
      AND model_name = OLD.model_name AND type = OLD.type
      AND OLD.id <= (SELECT through FROM rollup_cursor);
    UPDATE log_blocks SET lines = lines - 1
    WHERE channel_id IN (0, OLD.channel_id) AND block = OLD.id / 65536
      AND day = OLD.created_at - OLD.created_at % 86400000
      AND model_name = OLD.model_name AND type = OLD.type
      AND OLD.id <= (SELECT through FROM rollup_cursor);
    DELETE FROM user_log_lines WHERE user_id = OLD.user_id AND log_id = OLD.id;
    UPDATE rollup_cursor SET through = (SELECT coalesce(max(id), 0) FROM logs)
    WHERE through > (SELECT coalesce(max(id), 0) FROM logs);
END;

CREATE TRIGGER channels_announce_insert AFTER INSERT ON channels
BEGIN INSERT INTO config_changes (what) VALUES ('channels'); END;
CREATE TRIGGER channels_announce_delete AFTER DELETE ON channels
BEGIN INSERT INTO config_changes (what) VALUES ('channels'); END;
CREATE TRIGGER channels_announce_update
    AFTER UPDATE OF name, type, base_url, key, models, groups, priority, weight, auto_ban, status,
                    other, model_mapping, param_override, status_code_mapping,
                    custompass_status_mapping, setting, protocol, placed_by ON channels
BEGIN INSERT INTO config_changes (what) VALUES ('channels'); END;
CREATE TRIGGER abilities_announce_insert AFTER INSERT ON abilities
BEGIN INSERT INTO config_changes (what) VALUES ('abilities'); END;
CREATE TRIGGER abilities_announce_update AFTER UPDATE ON abilities
BEGIN INSERT INTO config_changes (what) VALUES ('abilities'); END;
CREATE TRIGGER abilities_announce_delete AFTER DELETE ON abilities
BEGIN INSERT INTO config_changes (what) VALUES ('abilities'); END;
CREATE TRIGGER protocols_announce_insert AFTER INSERT ON protocols
BEGIN INSERT INTO config_changes (what) VALUES ('protocols'); END;
CREATE TRIGGER protocols_announce_update AFTER UPDATE ON protocols
BEGIN INSERT INTO config_changes (what) VALUES ('protocols'); END;
CREATE TRIGGER protocols_announce_delete AFTER DELETE ON protocols
BEGIN INSERT INTO config_changes (what) VALUES ('protocols'); END;
CREATE TRIGGER group_ratio_announce_insert AFTER INSERT ON group_ratio
BEGIN INSERT INTO config_changes (what) VALUES ('group_ratio'); END;
CREATE TRIGGER group_ratio_announce_update AFTER UPDATE ON group_ratio
BEGIN INSERT INTO config_changes (what) VALUES ('group_ratio'); END;
CREATE TRIGGER group_ratio_announce_delete AFTER DELETE ON group_ratio
BEGIN INSERT INTO config_changes (what) VALUES ('group_ratio'); END;
CREATE TRIGGER options_announce_insert AFTER INSERT ON options
BEGIN INSERT INTO config_changes (what) VALUES ('options'); END;
CREATE TRIGGER options_announce_update AFTER UPDATE ON options
BEGIN INSERT INTO config_changes (what) VALUES ('options'); END;
CREATE TRIGGER users_announce
    AFTER UPDATE OF username, role, status, "group", ratio, access_token_hash, password_hash,
                    deleted_at ON users
BEGIN INSERT INTO config_changes (what) VALUES ('users:' || OLD.id); END;
CREATE TRIGGER users_announce_delete AFTER DELETE ON users
BEGIN INSERT INTO config_changes (what) VALUES ('users:' || OLD.id); END;
CREATE TRIGGER tokens_announce
    AFTER UPDATE OF user_id, name, key_hash, status, unlimited_quota, "group", models, allow_ips,
                    rate_limit_rpm, rate_limit_tpm, expired_at, daily_limit, monthly_limit,
                    old_key_hash, old_key_ends_at ON tokens
BEGIN INSERT INTO config_changes (what) VALUES ('tokens:' || OLD.id); END;
CREATE TRIGGER tokens_announce_delete AFTER DELETE ON tokens
BEGIN INSERT INTO config_changes (what) VALUES ('tokens:' || OLD.id); END;

-- Asynchronous work: submissions, their status, and who is notified of their end.
CREATE TABLE tasks (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    uid                BLOB    NOT NULL UNIQUE,
    task_id            TEXT    NOT NULL DEFAULT '',
    platform           TEXT    NOT NULL DEFAULT 'custompass',
    user_id            INTEGER NOT NULL,
    token_id           INTEGER NOT NULL DEFAULT 0,
    channel_id         INTEGER NOT NULL,
    action             TEXT    NOT NULL,
    path               TEXT    NOT NULL DEFAULT '',
    status             TEXT    NOT NULL DEFAULT 'submitted'
                       CHECK (status IN ('submitted', 'processing', 'completed', 'failed', 'unknown')),
    upstream_status    TEXT    NOT NULL DEFAULT '',
    progress           TEXT    NOT NULL DEFAULT '',
    fail_reason        TEXT    NOT NULL DEFAULT '',
    quota              INTEGER NOT NULL DEFAULT 0,
    precharge_quota    INTEGER NOT NULL DEFAULT 0,
    used_quota         INTEGER NOT NULL DEFAULT 0,
    data               TEXT    NOT NULL DEFAULT '',
    fingerprint        INTEGER NOT NULL DEFAULT 0,
    version            INTEGER NOT NULL DEFAULT 1,
    request_id         TEXT    NOT NULL DEFAULT '',
    node_id            BLOB,
    key_sealed         TEXT    NOT NULL DEFAULT '',
    request_sealed     TEXT,
    webhook_url_sealed TEXT,
    created_at         INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    updated_at         INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    submit_time        INTEGER,
    finish_time        INTEGER,
    lifetime_from      INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    cancelled_at       INTEGER
);
-- The order in which a channel is polled: requests are made of neighbouring rows.
CREATE INDEX tasks_unfinished ON tasks (channel_id, action, token_id, id)
    WHERE status IN ('submitted', 'processing', 'unknown');
-- Few, if any: those that wait for an administrator.
CREATE INDEX tasks_undecided ON tasks (id)
    WHERE status IN ('submitted', 'processing', 'unknown')
      AND task_id = '' AND submit_time IS NOT NULL;
CREATE INDEX tasks_of_user ON tasks (user_id, uid);
CREATE INDEX tasks_upstream ON tasks (task_id);
CREATE INDEX tasks_submitting ON tasks (node_id) WHERE node_id IS NOT NULL;
CREATE INDEX tasks_finished ON tasks (finish_time) WHERE finish_time IS NOT NULL;
CREATE INDEX idx_tasks_custompass_performance ON tasks (platform, status, updated_at)
    WHERE platform = 'custompass';

-- Which node polls which model of which channel.
CREATE TABLE task_lanes (
    channel_id  INTEGER NOT NULL,
    action      TEXT    NOT NULL,
    node_id     BLOB    NOT NULL,
    lease_until INTEGER NOT NULL,
    asked_at    INTEGER,
    next_at     INTEGER,
    last_error  TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (channel_id, action)
) WITHOUT ROWID;

CREATE TABLE webhook_endpoints (
    id                     INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id                INTEGER NOT NULL REFERENCES users (id),
    url                    TEXT    NOT NULL DEFAULT '',
    events                 TEXT    NOT NULL DEFAULT '',
    secret_sealed          TEXT    NOT NULL,
    previous_secret_sealed TEXT,
    previous_until         INTEGER,
    status                 INTEGER NOT NULL DEFAULT 1 CHECK (status IN (1, 2)),
    disabled_reason        TEXT    NOT NULL DEFAULT '',
    created_at             INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    updated_at             INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
);
CREATE INDEX webhook_endpoints_user ON webhook_endpoints (user_id);
-- At most one row without an address for each user: its secret signs what goes to X-Webhook-Url.
CREATE UNIQUE INDEX webhook_endpoints_own ON webhook_endpoints (user_id) WHERE url = '';

-- The outbox, and the history. A row is written in the transaction that ends the task.
CREATE TABLE webhook_deliveries (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint_id  INTEGER NOT NULL,
    user_id      INTEGER NOT NULL,
    task_uid     BLOB    NOT NULL,
    event        TEXT    NOT NULL,
    state        TEXT    NOT NULL DEFAULT 'pending'
                 CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       INTEGER NOT NULL,
    last_status  INTEGER,
    last_error   TEXT    NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    attempted_at INTEGER,
    balance      INTEGER,
    threshold    INTEGER,
    UNIQUE (task_uid, endpoint_id)
);
-- By endpoint first: however many rows wait for one endpoint, the others' are found beside them.
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at)
    WHERE state = 'pending';
CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (endpoint_id, id);
-- What failed: next to nothing where endpoints work.
CREATE INDEX webhook_deliveries_failing ON webhook_deliveries (endpoint_id)
    WHERE last_error <> '' AND state <> 'delivered';
CREATE INDEX webhook_deliveries_without_task ON webhook_deliveries (created_at)
    WHERE event IN ('balance.low', 'webhook.test');

-- Console sessions.
CREATE TABLE sessions (
    token_hash BLOB    PRIMARY KEY,
    user_id    INTEGER NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    used_at    INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    user_agent TEXT    NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions (user_id);

-- Redemption codes, each valid once.
CREATE TABLE redemptions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL DEFAULT '',
    code_hash   BLOB    NOT NULL UNIQUE,
    code_hint   TEXT    NOT NULL DEFAULT '',
    quota       INTEGER NOT NULL CHECK (quota > 0 AND typeof(quota) = 'integer'),
    status      INTEGER NOT NULL DEFAULT 1 CHECK (status IN (1, 2, 3)),
    created_by  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    expires_at  INTEGER,
    redeemed_by INTEGER,
    redeemed_at INTEGER,
    lot_reference TEXT,
    lot_number    INTEGER,
    UNIQUE (lot_reference, lot_number),
    CHECK ((status = 3) = (redeemed_by IS NOT NULL) AND (status = 3) = (redeemed_at IS NOT NULL))
);
