-- The journal added up, so that sums and statements need not read every line: by the hour for each
-- channel and for all together, by the day for each key of a user. Lines up to a mark are in it, each
-- once, whatever their time; readers add the lines behind the mark. Sums have two parts, above and
-- below a thousand millions, so that none of them overflows.
CREATE TABLE logs_by_hour (
    channel_id             bigint      NOT NULL,
    hour                   timestamptz NOT NULL,
    model_name             text        NOT NULL,
    type                   text        NOT NULL,
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
    PRIMARY KEY (channel_id, hour, model_name, type)
);
CREATE TABLE logs_by_day (
    user_id                bigint      NOT NULL,
    day                    timestamptz NOT NULL,
    token_id               bigint      NOT NULL,
    model_name             text        NOT NULL,
    type                   text        NOT NULL,
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
    PRIMARY KEY (user_id, day, token_id, model_name, type)
);
CREATE INDEX logs_by_hour_hour ON logs_by_hour USING brin (hour);
CREATE INDEX logs_by_day_day ON logs_by_day USING brin (day);
COMMENT ON TABLE  logs_by_hour IS 'The journal added up by the hour, for each channel and for all together';
COMMENT ON COLUMN logs_by_hour.channel_id IS 'Of which channel; 0: all lines';
COMMENT ON COLUMN logs_by_hour.hour IS 'Start of the hour';
COMMENT ON COLUMN logs_by_hour.model_name IS 'Model asked for';
COMMENT ON COLUMN logs_by_hour.type IS 'Type of the lines, as in logs';
COMMENT ON COLUMN logs_by_hour.lines IS 'How many lines';
COMMENT ON COLUMN logs_by_hour.charging IS 'How many of them changed what was spent';
COMMENT ON COLUMN logs_by_hour.quota_high IS 'Their amounts: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_hour.quota_low IS 'Their amounts: the sum of their rests';
COMMENT ON COLUMN logs_by_hour.delta_high IS 'Their effects on balances: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_hour.delta_low IS 'Their effects on balances: the sum of their rests';
COMMENT ON COLUMN logs_by_hour.used_delta_high IS 'Their effects on what was spent: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_hour.used_delta_low IS 'Their effects on what was spent: the sum of their rests';
COMMENT ON COLUMN logs_by_hour.prompt_tokens_high IS 'Their prompt tokens: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_hour.prompt_tokens_low IS 'Their prompt tokens: the sum of their rests';
COMMENT ON COLUMN logs_by_hour.completion_tokens_high IS 'Their completion tokens: the sum of their thousands of millions';
COMMENT ON COLUMN logs_by_hour.completion_tokens_low IS 'Their completion tokens: the sum of their rests';
COMMENT ON TABLE  logs_by_day IS 'The journal added up by the day, for each key of a user';
COMMENT ON COLUMN logs_by_day.user_id IS 'Whose lines';
COMMENT ON COLUMN logs_by_day.day IS 'Start of the day, in UTC';
COMMENT ON COLUMN logs_by_day.token_id IS 'With which key; 0: none';
COMMENT ON COLUMN logs_by_day.model_name IS 'Model asked for';
COMMENT ON COLUMN logs_by_day.type IS 'Type of the lines, as in logs';
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

-- How far they have come. `newest` is the newest line that was seen at `seen_at`; earlier ones may
-- still be hidden in transactions, and all of these have ended once the oldest that runs is
-- `horizon` or later. One row.
CREATE TABLE logs_added_up (
    id      smallint    PRIMARY KEY CHECK (id = 1),
    through bigint      NOT NULL DEFAULT 0,
    newest  bigint      NOT NULL DEFAULT 0,
    horizon bigint      NOT NULL DEFAULT 0,
    seen_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO logs_added_up (id) VALUES (1);
COMMENT ON TABLE  logs_added_up IS 'How far logs_by_hour and logs_by_day have come';
COMMENT ON COLUMN logs_added_up.id IS 'Always 1';
COMMENT ON COLUMN logs_added_up.through IS 'The last line (logs.id) that is in them';
COMMENT ON COLUMN logs_added_up.newest IS 'The newest line when it was last looked for';
COMMENT ON COLUMN logs_added_up.horizon IS 'The first transaction that had not begun then';
COMMENT ON COLUMN logs_added_up.seen_at IS 'When that was';

-- Lines that moved no money may be deleted by hand. They leave the sums as well; the lock keeps
-- them from being added up meanwhile.
CREATE FUNCTION newapi_leave_sums() RETURNS trigger LANGUAGE plpgsql AS $$
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
      AND day = date_trunc('day', OLD.created_at, 'UTC')
      AND model_name = OLD.model_name AND type = OLD.type;
    RETURN NULL;
END $$;
CREATE TRIGGER logs_leave_sums AFTER DELETE ON logs FOR EACH ROW
    EXECUTE FUNCTION newapi_leave_sums();
