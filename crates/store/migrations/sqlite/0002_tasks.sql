-- Asynchronous work: what was submitted, where it stands, and who wants to hear of its end. The
-- same tables as on PostgreSQL, where every column is explained.

-- Money that a task holds is nobody's to expire: the task itself ends it.
ALTER TABLE holds ADD COLUMN for_task INTEGER NOT NULL DEFAULT 0;

CREATE TABLE tasks (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    uid                BLOB    NOT NULL UNIQUE,
    task_id            TEXT    NOT NULL DEFAULT '',
    platform           TEXT    NOT NULL DEFAULT 'custompass',
    user_id            INTEGER NOT NULL,
    token_id           INTEGER NOT NULL DEFAULT 0,
    channel_id         INTEGER NOT NULL,
    action             TEXT    NOT NULL,
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
    created_at         INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at         INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    submit_time        INTEGER,
    finish_time        INTEGER,
    lifetime_from      INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);
-- The order in which a channel is asked: questions are made of neighbours.
CREATE INDEX tasks_unfinished ON tasks (channel_id, action, token_id, id)
    WHERE status IN ('submitted', 'processing', 'unknown');
CREATE INDEX tasks_of_user ON tasks (user_id, uid);
CREATE INDEX tasks_upstream ON tasks (task_id);
CREATE INDEX tasks_submitting ON tasks (node_id) WHERE node_id IS NOT NULL;
CREATE INDEX tasks_finished ON tasks (finish_time) WHERE finish_time IS NOT NULL;
CREATE INDEX idx_tasks_custompass_performance ON tasks (platform, status, updated_at)
    WHERE platform = 'custompass';

-- Which node asks about which model of which channel.
CREATE TABLE task_lanes (
    channel_id  INTEGER NOT NULL,
    action      TEXT    NOT NULL,
    node_id     BLOB    NOT NULL,
    lease_until INTEGER NOT NULL,
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
    created_at             INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at             INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
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
    created_at   INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    attempted_at INTEGER,
    UNIQUE (task_uid, endpoint_id)
);
-- By endpoint first: however many rows wait for one endpoint, the others' are found beside them.
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at)
    WHERE state = 'pending';
CREATE INDEX webhook_deliveries_user ON webhook_deliveries (user_id, id);
