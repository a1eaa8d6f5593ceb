-- The paid pass-through: who may call, what it costs, what was paid. The same tables as on
-- PostgreSQL, where every column is explained. Instants are milliseconds since 1970, decimals are
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
    created_at        INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at        INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    deleted_at        INTEGER
);

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
    created_at      INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at      INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
CREATE INDEX tokens_user ON tokens (user_id);

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
    used_quota                INTEGER NOT NULL DEFAULT 0,
    created_at                INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at                INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
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
    updated_at       INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    UNIQUE (model_name, channel_type)
);

CREATE TABLE group_ratio (
    group_name TEXT    PRIMARY KEY CHECK (group_name <> ''),
    ratio      TEXT    NOT NULL DEFAULT '1'
               CHECK (ratio GLOB '[0-9]*' AND ratio NOT GLOB '*[^0-9.]*'
                      AND ratio NOT GLOB '*.*.*' AND ratio NOT GLOB '*.???????*'
                      AND CAST(ratio AS REAL) <= 1000000),
    updated_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) WITHOUT ROWID;

-- A hold is a row, never a counter. Its id is a UUIDv7, so the table is in order of time.
-- Words are compared one by one: for an IN list SQLite makes and fills a table at every statement.
CREATE TABLE holds (
    id          BLOB    NOT NULL PRIMARY KEY,
    user_id     INTEGER NOT NULL,
    key_id      INTEGER NOT NULL,
    channel_id  INTEGER,
    model_name  TEXT    NOT NULL,
    request_id  TEXT    NOT NULL DEFAULT '',
    amount      INTEGER NOT NULL CHECK (amount >= 0),
    key_amount  INTEGER,
    price       TEXT    NOT NULL,
    state       TEXT    NOT NULL DEFAULT 'held'
                CHECK (state = 'held' OR state = 'settled' OR state = 'released'
                       OR state = 'expired'),
    charged     INTEGER NOT NULL DEFAULT 0,
    node_id     BLOB,
    deadline_at INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    closed_at   INTEGER
) WITHOUT ROWID;
-- What nobody is at work on. The open holds of a node are found from nodes.oldest_hold on.
CREATE INDEX holds_orphaned ON holds (deadline_at) WHERE node_id IS NULL;

-- The journal. Every movement of money is one line here, and the lines are what users see.
CREATE TABLE logs (
    id                INTEGER PRIMARY KEY,
    user_id           INTEGER NOT NULL,
    username          TEXT    NOT NULL DEFAULT '',
    created_at        INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
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
    closes            INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX logs_user ON logs (user_id, created_at);
CREATE INDEX logs_request ON logs (request_id) WHERE request_id <> '';
CREATE INDEX logs_created ON logs (created_at);

CREATE TABLE ledger_carry (
    user_id INTEGER PRIMARY KEY,
    delta   INTEGER NOT NULL DEFAULT 0,
    used    INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE usage_hourly (
    hour              INTEGER NOT NULL,
    user_id           INTEGER NOT NULL,
    channel_id        INTEGER NOT NULL DEFAULT 0,
    token_id          INTEGER NOT NULL DEFAULT 0,
    model_name        TEXT    NOT NULL,
    calls             INTEGER NOT NULL DEFAULT 0,
    quota             INTEGER NOT NULL DEFAULT 0,
    prompt_tokens     INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, user_id, channel_id, token_id, model_name)
) WITHOUT ROWID;

CREATE TABLE rollup_progress (
    name    TEXT    PRIMARY KEY,
    through INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE nodes (
    id          BLOB    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL DEFAULT '',
    started_at  INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    oldest_hold BLOB    NOT NULL DEFAULT x'00000000000000000000000000000000',
    open_holds  INTEGER NOT NULL DEFAULT 0
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

CREATE TABLE options (
    key        TEXT PRIMARY KEY,
    value      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) WITHOUT ROWID;

-- What changed, for the one process that serves this file; it reads and forgets.
CREATE TABLE config_changes (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    what TEXT NOT NULL
);

-- A balance edited with plain SQL is entered in the journal. The ledger's own writes bump
-- revision, and enter their lines themselves.
CREATE TRIGGER users_adjust AFTER UPDATE OF quota, used_quota ON users
    WHEN NEW.revision = OLD.revision
         AND (NEW.quota <> OLD.quota OR NEW.used_quota <> OLD.used_quota)
BEGIN
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

-- Append-only, by construction. Old lines leave only once ledger_carry holds their sum, which
-- the row in options says.
CREATE TRIGGER logs_no_update BEFORE UPDATE ON logs
    WHEN OLD.delta <> 0 OR OLD.used_delta <> 0 OR OLD.hold_id IS NOT NULL
         OR NEW.delta <> 0 OR NEW.used_delta <> 0 OR NEW.hold_id IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'journal lines about money can only be added');
END;
CREATE TRIGGER logs_no_delete BEFORE DELETE ON logs
    WHEN (OLD.delta <> 0 OR OLD.used_delta <> 0 OR OLD.hold_id IS NOT NULL)
         AND OLD.created_at >= coalesce(
             (SELECT through FROM rollup_progress WHERE name = 'carried'), 0)
BEGIN
    SELECT RAISE(ABORT, 'journal lines about money can only be added');
END;

CREATE TRIGGER channels_announce_insert AFTER INSERT ON channels
BEGIN INSERT INTO config_changes (what) VALUES ('channels'); END;
CREATE TRIGGER channels_announce_delete AFTER DELETE ON channels
BEGIN INSERT INTO config_changes (what) VALUES ('channels'); END;
CREATE TRIGGER channels_announce_update
    AFTER UPDATE OF name, type, base_url, key, models, groups, priority, weight, auto_ban, status,
                    other, model_mapping, param_override, status_code_mapping,
                    custompass_status_mapping, setting ON channels
BEGIN INSERT INTO config_changes (what) VALUES ('channels'); END;
CREATE TRIGGER abilities_announce_insert AFTER INSERT ON abilities
BEGIN INSERT INTO config_changes (what) VALUES ('abilities'); END;
CREATE TRIGGER abilities_announce_update AFTER UPDATE ON abilities
BEGIN INSERT INTO config_changes (what) VALUES ('abilities'); END;
CREATE TRIGGER abilities_announce_delete AFTER DELETE ON abilities
BEGIN INSERT INTO config_changes (what) VALUES ('abilities'); END;
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
                    rate_limit_rpm, expired_at ON tokens
BEGIN INSERT INTO config_changes (what) VALUES ('tokens:' || OLD.id); END;
CREATE TRIGGER tokens_announce_delete AFTER DELETE ON tokens
BEGIN INSERT INTO config_changes (what) VALUES ('tokens:' || OLD.id); END;
