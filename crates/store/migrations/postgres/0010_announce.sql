-- The ledger moves balances in every batch, and the server read the conditions of these two
-- triggers, which compare whole rows, anew for each. Now it need not: they are asked only when a
-- statement sets one of the columns that are announced. (On SQLite they always were like this.)
DROP TRIGGER users_announce ON users;
CREATE TRIGGER users_announce
    AFTER UPDATE OF username, role, status, "group", ratio, access_token_hash, password_hash,
                    deleted_at
    ON users FOR EACH ROW
    WHEN ((OLD.username, OLD.role, OLD.status, OLD."group", OLD.ratio, OLD.access_token_hash,
           OLD.password_hash, OLD.deleted_at)
          IS DISTINCT FROM
          (NEW.username, NEW.role, NEW.status, NEW."group", NEW.ratio, NEW.access_token_hash,
           NEW.password_hash, NEW.deleted_at))
    EXECUTE FUNCTION newapi_announce_row();

DROP TRIGGER tokens_announce ON tokens;
CREATE TRIGGER tokens_announce
    AFTER UPDATE OF user_id, name, key_hash, status, unlimited_quota, "group", models, allow_ips,
                    rate_limit_rpm, rate_limit_tpm, expired_at, daily_limit, monthly_limit
    ON tokens FOR EACH ROW
    WHEN ((OLD.user_id, OLD.name, OLD.key_hash, OLD.status, OLD.unlimited_quota, OLD."group",
           OLD.models, OLD.allow_ips, OLD.rate_limit_rpm, OLD.rate_limit_tpm, OLD.expired_at,
           OLD.daily_limit, OLD.monthly_limit)
          IS DISTINCT FROM
          (NEW.user_id, NEW.name, NEW.key_hash, NEW.status, NEW.unlimited_quota, NEW."group",
           NEW.models, NEW.allow_ips, NEW.rate_limit_rpm, NEW.rate_limit_tpm, NEW.expired_at,
           NEW.daily_limit, NEW.monthly_limit))
    EXECUTE FUNCTION newapi_announce_row();
