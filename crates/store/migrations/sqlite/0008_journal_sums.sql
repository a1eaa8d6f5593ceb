-- The journal added up, for sums and statements: by the hour for the house (user_id and channel_id
-- are 0) and for each channel (user_id is 0), by the day for the keys of each user (channel_id is 0).
-- Lines up to a mark are in it, each once, whatever their time; readers add the lines behind the mark.
-- Sums have two parts, above and below a thousand millions, so that none of them overflows.
CREATE TABLE journal_sums (
    user_id                INTEGER NOT NULL,
    channel_id             INTEGER NOT NULL,
    created_at             INTEGER NOT NULL,
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
    PRIMARY KEY (user_id, channel_id, created_at, token_id, model_name, type)
) WITHOUT ROWID;
-- Rows whose lines have all left.
CREATE INDEX journal_sums_empty ON journal_sums (created_at) WHERE lines = 0;

-- The last line that is in it. One row.
CREATE TABLE journal_sums_mark (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL
);
INSERT INTO journal_sums_mark (id, through) VALUES (1, 0);

-- Lines that leave the journal leave the sums. The mark goes back with the end of the journal: its
-- numbers are given again.
CREATE TRIGGER logs_leave_sums AFTER DELETE ON logs
    WHEN OLD.id <= (SELECT through FROM journal_sums_mark)
BEGIN
    UPDATE journal_sums SET
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
    WHERE (user_id, channel_id, created_at, token_id, model_name, type) IN (VALUES
        (0, 0, OLD.created_at - OLD.created_at % 3600000, 0, OLD.model_name, OLD.type),
        (0, nullif(OLD.channel_id, 0), OLD.created_at - OLD.created_at % 3600000, 0,
         OLD.model_name, OLD.type),
        (nullif(OLD.user_id, 0), 0, OLD.created_at - OLD.created_at % 86400000,
         coalesce(OLD.token_id, 0), OLD.model_name, OLD.type));
    UPDATE journal_sums_mark SET through = (SELECT coalesce(max(id), 0) FROM logs)
    WHERE through > (SELECT coalesce(max(id), 0) FROM logs);
END;
