-- Limits on what is spent in a day and in a month (UTC), and on tokens a minute. What is spent is
-- counted where there is a limit, or was one, and nowhere else.
ALTER TABLE users ADD COLUMN daily_limit bigint CHECK (daily_limit > 0),
    ADD COLUMN monthly_limit bigint CHECK (monthly_limit > 0),
    ADD COLUMN spent_on integer,
    ADD COLUMN spent_day bigint NOT NULL DEFAULT 0,
    ADD COLUMN spent_month bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN users.daily_limit IS 'What may be spent in a day (UTC); null: no limit';
COMMENT ON COLUMN users.monthly_limit IS 'What may be spent in a calendar month (UTC); null: no limit';
COMMENT ON COLUMN users.spent_on IS 'Day (UTC) of the last count, as 20261125; null: nothing was ever counted. Leave it alone';
COMMENT ON COLUMN users.spent_day IS 'What was spent and is held on that day. Leave it alone';
COMMENT ON COLUMN users.spent_month IS 'What was spent and is held in the month of that day. Leave it alone';

ALTER TABLE tokens ADD COLUMN daily_limit bigint CHECK (daily_limit > 0),
    ADD COLUMN monthly_limit bigint CHECK (monthly_limit > 0),
    ADD COLUMN spent_on integer,
    ADD COLUMN spent_day bigint NOT NULL DEFAULT 0,
    ADD COLUMN spent_month bigint NOT NULL DEFAULT 0,
    ADD COLUMN rate_limit_tpm integer CHECK (rate_limit_tpm > 0);
COMMENT ON COLUMN tokens.daily_limit IS 'What this key may spend in a day (UTC); null: no limit';
COMMENT ON COLUMN tokens.monthly_limit IS 'What this key may spend in a calendar month (UTC); null: no limit';
COMMENT ON COLUMN tokens.spent_on IS 'Day (UTC) of the last count, as 20261125; null: nothing was ever counted. Leave it alone';
COMMENT ON COLUMN tokens.spent_day IS 'What was spent and is held on that day. Leave it alone';
COMMENT ON COLUMN tokens.spent_month IS 'What was spent and is held in the month of that day. Leave it alone';
COMMENT ON COLUMN tokens.rate_limit_tpm IS 'Tokens a minute; null: no limit';

ALTER TABLE holds ADD COLUMN counted_on integer, ADD COLUMN key_counted_on integer;
COMMENT ON COLUMN holds.counted_on IS 'Day (UTC) on which it counts as spent by the user, as 20261125; null: it is not counted';
COMMENT ON COLUMN holds.key_counted_on IS 'Day (UTC) on which it counts as spent by the key; null: it is not counted';

DROP TRIGGER tokens_announce ON tokens;
CREATE TRIGGER tokens_announce AFTER UPDATE ON tokens FOR EACH ROW
    WHEN ((OLD.user_id, OLD.name, OLD.key_hash, OLD.status, OLD.unlimited_quota, OLD."group",
           OLD.models, OLD.allow_ips, OLD.rate_limit_rpm, OLD.rate_limit_tpm, OLD.expired_at,
           OLD.daily_limit, OLD.monthly_limit)
          IS DISTINCT FROM
          (NEW.user_id, NEW.name, NEW.key_hash, NEW.status, NEW.unlimited_quota, NEW."group",
           NEW.models, NEW.allow_ips, NEW.rate_limit_rpm, NEW.rate_limit_tpm, NEW.expired_at,
           NEW.daily_limit, NEW.monthly_limit))
    EXECUTE FUNCTION newapi_announce_row();
