-- Codes that are worth quota, once; and balances that are told of when they are low.

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

-- Telling users that their balance is low: once when it falls below what they named, and again
-- only after it rose above that.
ALTER TABLE users ADD COLUMN low_balance_threshold INTEGER
    CHECK (low_balance_threshold > 0 AND typeof(low_balance_threshold) IN ('integer', 'null'));
ALTER TABLE users ADD COLUMN low_balance_event BLOB;
ALTER TABLE users ADD COLUMN low_balance_told_at INTEGER;
CREATE INDEX users_low_balance ON users (id) WHERE low_balance_threshold IS NOT NULL;

ALTER TABLE webhook_deliveries ADD COLUMN balance INTEGER;
ALTER TABLE webhook_deliveries ADD COLUMN threshold INTEGER;
CREATE INDEX webhook_deliveries_balance ON webhook_deliveries (created_at)
    WHERE event = 'balance.low';
