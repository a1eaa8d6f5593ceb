-- Limits on what is spent in a day and in a month (UTC), and on tokens a minute. What is spent is
-- counted where there is a limit, or was one, and nowhere else. The same columns as on PostgreSQL,
-- where every one is explained.
ALTER TABLE users ADD COLUMN daily_limit INTEGER
    CHECK (daily_limit > 0 AND typeof(daily_limit) IN ('integer', 'null'));
ALTER TABLE users ADD COLUMN monthly_limit INTEGER
    CHECK (monthly_limit > 0 AND typeof(monthly_limit) IN ('integer', 'null'));
ALTER TABLE users ADD COLUMN spent_on INTEGER;
ALTER TABLE users ADD COLUMN spent_day INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN spent_month INTEGER NOT NULL DEFAULT 0;

ALTER TABLE tokens ADD COLUMN daily_limit INTEGER
    CHECK (daily_limit > 0 AND typeof(daily_limit) IN ('integer', 'null'));
ALTER TABLE tokens ADD COLUMN monthly_limit INTEGER
    CHECK (monthly_limit > 0 AND typeof(monthly_limit) IN ('integer', 'null'));
ALTER TABLE tokens ADD COLUMN spent_on INTEGER;
ALTER TABLE tokens ADD COLUMN spent_day INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN spent_month INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN rate_limit_tpm INTEGER
    CHECK (rate_limit_tpm > 0 AND typeof(rate_limit_tpm) IN ('integer', 'null'));

ALTER TABLE holds ADD COLUMN counted_on INTEGER;
ALTER TABLE holds ADD COLUMN key_counted_on INTEGER;

DROP TRIGGER tokens_announce;
CREATE TRIGGER tokens_announce
    AFTER UPDATE OF user_id, name, key_hash, status, unlimited_quota, "group", models, allow_ips,
                    rate_limit_rpm, rate_limit_tpm, expired_at, daily_limit, monthly_limit ON tokens
BEGIN INSERT INTO config_changes (what) VALUES ('tokens:' || OLD.id); END;
