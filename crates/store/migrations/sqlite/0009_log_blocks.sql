-- Whose a key was that is gone: its lines are found among those of its owner. Keys that went before
-- this table was there are known from the summaries.
CREATE TABLE deleted_tokens (
    id      INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL
);
INSERT INTO deleted_tokens (id, user_id)
SELECT token_id, min(user_id)
FROM (SELECT token_id, user_id FROM usage_hourly UNION ALL
      SELECT token_id, user_id FROM logs_by_day) AS used
WHERE token_id <> 0 AND NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.id = used.token_id)
GROUP BY token_id;
CREATE TRIGGER tokens_remember AFTER DELETE ON tokens
BEGIN
    INSERT INTO deleted_tokens (id, user_id) VALUES (OLD.id, OLD.user_id)
    ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id;
END;

-- What is in each block of 65 536 numbers of the journal, by the day, for each channel and for all
-- together (0): a page goes to its lines without looking at all that are newer. Up to the same mark
-- as the sums.
CREATE TABLE log_blocks (
    channel_id INTEGER NOT NULL,
    block      INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    model_name TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    lines      INTEGER NOT NULL,
    PRIMARY KEY (channel_id, block, day, model_name, type)
) WITHOUT ROWID;
-- Rows whose lines have all left.
CREATE INDEX log_blocks_empty ON log_blocks (day) WHERE lines = 0;

-- The days of users know the channel, too (0: none), and where their lines are: none has a number
-- before `first_line` or behind `last_line`. The sums are made again, from the whole journal.
DROP TRIGGER logs_leave_sums;
DROP TABLE logs_by_day;
CREATE TABLE logs_by_day (
    user_id                INTEGER NOT NULL,
    day                    INTEGER NOT NULL,
    token_id               INTEGER NOT NULL,
    channel_id             INTEGER NOT NULL,
    model_name             TEXT    NOT NULL,
    type                   TEXT    NOT NULL,
    first_line             INTEGER NOT NULL,
    last_line              INTEGER NOT NULL,
    lines                  INTEGER NOT NULL,
    charging               INTEGER NOT NULL,
    quota_high             INTEGER NOT NULL,
    quota_low              INTEGER NOT NULL,
    delta_high             INTEGER NOT NULL,
    delta_low              INTEGER NOT NULL,
    used_delta_high        INTEGER NOT NULL,
    used_delta_low         INTEGER NOT NULL,
    prompt_tokens_high     INTEGER NOT NULL,
    prompt_tokens_low      INTEGER NOT NULL,
    completion_tokens_high INTEGER NOT NULL,
    completion_tokens_low  INTEGER NOT NULL,
    PRIMARY KEY (user_id, day, token_id, model_name, type, channel_id)
) WITHOUT ROWID;
CREATE INDEX logs_by_day_empty ON logs_by_day (day) WHERE lines = 0;
DELETE FROM logs_by_hour;
UPDATE logs_added_up SET through = 0;

-- As it was, for these tables.
CREATE TRIGGER logs_leave_sums AFTER DELETE ON logs
    WHEN OLD.id <= (SELECT through FROM logs_added_up)
BEGIN
    UPDATE logs_by_hour SET
        lines = lines - 1,
        charging = charging - CASE WHEN OLD.used_delta <> 0 THEN 1 ELSE 0 END,
        quota_high = quota_high - OLD.quota / 1000000000,
        quota_low = quota_low - OLD.quota % 1000000000,
        delta_high = delta_high - OLD.delta / 1000000000,
        delta_low = delta_low - OLD.delta % 1000000000,
        used_delta_high = used_delta_high - OLD.used_delta / 1000000000,
        used_delta_low = used_delta_low - OLD.used_delta % 1000000000,
        prompt_tokens_high = prompt_tokens_high - OLD.prompt_tokens / 1000000000,
        prompt_tokens_low = prompt_tokens_low - OLD.prompt_tokens % 1000000000,
        completion_tokens_high = completion_tokens_high - OLD.completion_tokens / 1000000000,
        completion_tokens_low = completion_tokens_low - OLD.completion_tokens % 1000000000
    WHERE channel_id IN (0, OLD.channel_id) AND hour = OLD.created_at - OLD.created_at % 3600000
      AND model_name = OLD.model_name AND type = OLD.type;
    UPDATE logs_by_day SET
        lines = lines - 1,
        charging = charging - CASE WHEN OLD.used_delta <> 0 THEN 1 ELSE 0 END,
        quota_high = quota_high - OLD.quota / 1000000000,
        quota_low = quota_low - OLD.quota % 1000000000,
        delta_high = delta_high - OLD.delta / 1000000000,
        delta_low = delta_low - OLD.delta % 1000000000,
        used_delta_high = used_delta_high - OLD.used_delta / 1000000000,
        used_delta_low = used_delta_low - OLD.used_delta % 1000000000,
        prompt_tokens_high = prompt_tokens_high - OLD.prompt_tokens / 1000000000,
        prompt_tokens_low = prompt_tokens_low - OLD.prompt_tokens % 1000000000,
        completion_tokens_high = completion_tokens_high - OLD.completion_tokens / 1000000000,
        completion_tokens_low = completion_tokens_low - OLD.completion_tokens % 1000000000
    WHERE user_id = OLD.user_id AND token_id = coalesce(OLD.token_id, 0)
      AND channel_id = coalesce(OLD.channel_id, 0)
      AND day = OLD.created_at - OLD.created_at % 86400000
      AND model_name = OLD.model_name AND type = OLD.type;
    UPDATE log_blocks SET lines = lines - 1
    WHERE channel_id IN (0, OLD.channel_id) AND block = OLD.id / 65536
      AND day = OLD.created_at - OLD.created_at % 86400000
      AND model_name = OLD.model_name AND type = OLD.type;
    UPDATE logs_added_up SET through = (SELECT coalesce(max(id), 0) FROM logs)
    WHERE through > (SELECT coalesce(max(id), 0) FROM logs);
END;
