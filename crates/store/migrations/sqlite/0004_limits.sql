-- Codes that are worth quota, once.

CREATE TABLE redemptions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL DEFAULT '',
    code_hash   BLOB    NOT NULL UNIQUE,
    code_hint   TEXT    NOT NULL DEFAULT '',
    quota       INTEGER NOT NULL CHECK (quota > 0 AND typeof(quota) = 'integer'),
    status      INTEGER NOT NULL DEFAULT 1 CHECK (status IN (1, 2, 3)),
    created_by  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    expires_at  INTEGER,
    redeemed_by INTEGER,
    redeemed_at INTEGER,
    CHECK ((status = 3) = (redeemed_by IS NOT NULL) AND (status = 3) = (redeemed_at IS NOT NULL))
);
