-- Whose a key was that is gone: its lines are found among those of its owner. Keys that went before
-- this table was there are known from the summaries.
CREATE TABLE deleted_tokens (
    id      bigint PRIMARY KEY,
    user_id bigint NOT NULL
);
COMMENT ON TABLE  deleted_tokens IS 'Keys that are gone, whose lines in the journal remain';
COMMENT ON COLUMN deleted_tokens.id IS 'Number the key had';
COMMENT ON COLUMN deleted_tokens.user_id IS 'Owner';
INSERT INTO deleted_tokens (id, user_id)
SELECT token_id, min(user_id)
FROM (SELECT token_id, user_id FROM usage_hourly UNION ALL
      SELECT token_id, user_id FROM logs_by_day) AS used
WHERE token_id <> 0 AND NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.id = used.token_id)
GROUP BY token_id;
CREATE FUNCTION newapi_remember_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_tokens (id, user_id) VALUES (OLD.id, OLD.user_id)
    ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id;
    RETURN NULL;
END $$;
CREATE TRIGGER tokens_remember AFTER DELETE ON tokens FOR EACH ROW
    EXECUTE FUNCTION newapi_remember_token();

-- What is in each block of 65 536 numbers of the journal, by the day, for each channel and for all
-- together: a page goes to its lines without looking at all that are newer. Up to the same mark as
-- the sums.
CREATE TABLE log_blocks (
    channel_id bigint      NOT NULL,
    block      bigint      NOT NULL,
    day        timestamptz NOT NULL,
    model_name text        NOT NULL,
    type       text        NOT NULL,
    lines      bigint      NOT NULL,
    PRIMARY KEY (channel_id, block, day, model_name, type)
);
CREATE INDEX log_blocks_day ON log_blocks USING brin (day);
COMMENT ON TABLE  log_blocks IS 'What is in each block of 65536 numbers of the journal';
COMMENT ON COLUMN log_blocks.channel_id IS 'Of which channel; 0: all lines';
COMMENT ON COLUMN log_blocks.block IS 'Which block: logs.id / 65536';
COMMENT ON COLUMN log_blocks.day IS 'Start of the day, in UTC';
COMMENT ON COLUMN log_blocks.model_name IS 'Model asked for';
COMMENT ON COLUMN log_blocks.type IS 'Type of the lines, as in logs';
COMMENT ON COLUMN log_blocks.lines IS 'How many lines';

-- The days of users know the channel, too, and where their lines are. The sums are made again, from
-- the whole journal.
DROP TABLE logs_by_day;
CREATE TABLE logs_by_day (
    user_id                bigint      NOT NULL,
    day                    timestamptz NOT NULL,
    token_id               bigint      NOT NULL,
    channel_id             bigint      NOT NULL,
    model_name             text        NOT NULL,
    type                   text        NOT NULL,
    first_line             bigint      NOT NULL,
    last_line              bigint      NOT NULL,
    lines                  bigint      NOT NULL,
    charging               bigint      NOT NULL,
    quota_high             bigint      NOT NULL,
    quota_low              bigint      NOT NULL,
    delta_high             bigint      NOT NULL,
    delta_low              bigint      NOT NULL,
    used_delta_high        bigint      NOT NULL,
    used_delta_low         bigint      NOT NULL,
    prompt_tokens_high     bigint      NOT NULL,
    prompt_tokens_low      bigint      NOT NULL,
    completion_tokens_high bigint      NOT NULL,
    completion_tokens_low  bigint      NOT NULL,
    PRIMARY KEY (user_id, day, token_id, model_name, type, channel_id)
);
CREATE INDEX logs_by_day_day ON logs_by_day USING brin (day);
COMMENT ON TABLE  logs_by_day IS 'The journal added up by the day, for each key of a user and each channel';
COMMENT ON COLUMN logs_by_day.user_id IS 'Whose lines';
COMMENT ON COLUMN logs_by_day.day IS 'Start of the day, in UTC';
COMMENT ON COLUMN logs_by_day.token_id IS 'With which key; 0: none';
COMMENT ON COLUMN logs_by_day.channel_id IS 'Through which channel; 0: none';
COMMENT ON COLUMN logs_by_day.model_name IS 'Model asked for';
COMMENT ON COLUMN logs_by_day.type IS 'Type of the lines, as in logs';
COMMENT ON COLUMN logs_by_day.first_line IS 'No line has a number (logs.id) before this';
COMMENT ON COLUMN logs_by_day.last_line IS 'No line has a number (logs.id) behind this';
COMMENT ON COLUMN logs_by_day.lines IS 'How many lines';
COMMENT ON COLUMN logs_by_day.charging IS 'How many of them changed what was spent';
COMMENT ON COLUMN logs_by_day.quota_high IS 'Their amounts: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_day.quota_low IS 'Their amounts: the sum of their rests';
COMMENT ON COLUMN logs_by_day.delta_high IS 'Their effects on balances: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_day.delta_low IS 'Their effects on balances: the sum of their rests';
COMMENT ON COLUMN logs_by_day.used_delta_high IS 'Their effects on what was spent: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_day.used_delta_low IS 'Their effects on what was spent: the sum of their rests';
COMMENT ON COLUMN logs_by_day.prompt_tokens_high IS 'Their prompt tokens: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_day.prompt_tokens_low IS 'Their prompt tokens: the sum of their rests';
COMMENT ON COLUMN logs_by_day.completion_tokens_high IS 'Their completion tokens: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_day.completion_tokens_low IS 'Their completion tokens: the sum of their rests';
COMMENT ON TABLE  logs_added_up IS 'How far logs_by_hour and logs_by_day have come';
COMMENT ON TABLE  logs_added_up IS 'How far logs_by_hour, logs_by_day and log_blocks have come';
TRUNCATE logs_by_hour;
UPDATE logs_added_up SET through = 0, newest = 0, horizon = 0;

-- As it was, for these tables.
CREATE OR REPLACE FUNCTION newapi_leave_sums() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    mark bigint;
BEGIN
    SELECT through INTO mark FROM logs_added_up FOR SHARE;
    IF mark < OLD.id THEN
        RETURN NULL;
    END IF;
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
    WHERE channel_id IN (0, OLD.channel_id)
      AND hour = date_trunc('hour', OLD.created_at, 'UTC')
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
      AND day = date_trunc('day', OLD.created_at, 'UTC')
      AND model_name = OLD.model_name AND type = OLD.type;
    UPDATE log_blocks SET lines = lines - 1
    WHERE channel_id IN (0, OLD.channel_id) AND block = OLD.id / 65536
      AND day = date_trunc('day', OLD.created_at, 'UTC')
      AND model_name = OLD.model_name AND type = OLD.type;
    RETURN NULL;
END $$;

-- Finer: of the pages that a seldom model is found on, a quarter is read.
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 140000 THEN
        DROP INDEX logs_rare;
        CREATE INDEX logs_rare ON logs USING brin
            (model_name text_bloom_ops(n_distinct_per_range = 64),
             channel_id int8_bloom_ops(n_distinct_per_range = 64))
            WITH (pages_per_range = 4, autosummarize = on);
    END IF;
END $$;
