-- The journal added up, so that sums and statements need not read every line: by the hour for each
-- channel and for all together, by the day for each key of a user. Lines up to a mark are in it, each
-- once, whatever their time; readers add the lines behind the mark. Sums have two parts, above and
-- below a thousand millions, so that none of them overflows.
CREATE TABLE logs_by_hour (
    channel_id             INTEGER NOT NULL,
    hour                   INTEGER NOT NULL,
    model_name             TEXT    NOT NULL,
    type                   TEXT    NOT NULL,
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
    PRIMARY KEY (channel_id, hour, model_name, type)
) WITHOUT ROWID;
CREATE TABLE logs_by_day (
    user_id                INTEGER NOT NULL,
    day                    INTEGER NOT NULL,
    token_id               INTEGER NOT NULL,
    model_name             TEXT    NOT NULL,
    type                   TEXT    NOT NULL,
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
    PRIMARY KEY (user_id, day, token_id, model_name, type)
) WITHOUT ROWID;
-- Rows whose lines have all left.
CREATE INDEX logs_by_hour_empty ON logs_by_hour (hour) WHERE lines = 0;
CREATE INDEX logs_by_day_empty ON logs_by_day (day) WHERE lines = 0;

-- The last line that is in them. One row.
CREATE TABLE logs_added_up (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL
);
INSERT INTO logs_added_up (id, through) VALUES (1, 0);

-- Lines that leave the journal leave the sums. The mark goes back with the end of the journal: its
-- numbers are given again.
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
      AND day = OLD.created_at - OLD.created_at % 86400000
      AND model_name = OLD.model_name AND type = OLD.type;
    UPDATE logs_added_up SET through = (SELECT coalesce(max(id), 0) FROM logs)
    WHERE through > (SELECT coalesce(max(id), 0) FROM logs);
END;
