-- The journal added up, for sums and statements: by the hour for the house (user_id and channel_id
-- are 0) and for each channel (user_id is 0), by the day for the keys of each user (channel_id is 0).
-- Lines up to a mark are in it, each once, whatever their time; readers add the lines behind the mark.
-- Sums have two parts, above and below a thousand millions, so that none of them overflows.
CREATE TABLE journal_sums (
    user_id                bigint      NOT NULL,
    channel_id             bigint      NOT NULL,
    created_at             timestamptz NOT NULL,
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
    PRIMARY KEY (user_id, channel_id, created_at, token_id, model_name, type)
);
CREATE INDEX journal_sums_created ON journal_sums USING brin (created_at);
COMMENT ON TABLE  journal_sums IS 'The journal added up: by the hour for the house and each channel, by the day for users';
COMMENT ON COLUMN journal_sums.user_id IS 'Whose lines; 0: those of all users';
COMMENT ON COLUMN journal_sums.channel_id IS 'Of which channel; 0: of all channels, and of none';
COMMENT ON COLUMN journal_sums.created_at IS 'Start of the hour; of a user: of the day, in UTC';
COMMENT ON COLUMN journal_sums.token_id IS 'Of a user: with which key; 0: with none';
COMMENT ON COLUMN journal_sums.model_name IS 'Model asked for';
COMMENT ON COLUMN journal_sums.type IS 'Type of the lines, as in logs';
COMMENT ON COLUMN journal_sums.lines IS 'How many lines';
COMMENT ON COLUMN journal_sums.charging IS 'How many of them changed what was spent';
COMMENT ON COLUMN journal_sums.quota_high IS 'Sum of their amounts, of each the thousands of millions';
COMMENT ON COLUMN journal_sums.quota_low IS 'Sum of their amounts, of each the rest';
COMMENT ON COLUMN journal_sums.delta_high IS 'Sum of their effects on balances, of each the thousands of millions';
COMMENT ON COLUMN journal_sums.delta_low IS 'Sum of their effects on balances, of each the rest';
COMMENT ON COLUMN journal_sums.used_delta_high IS 'Sum of their effects on what was spent, of each the thousands of millions';
COMMENT ON COLUMN journal_sums.used_delta_low IS 'Sum of their effects on what was spent, of each the rest';
COMMENT ON COLUMN journal_sums.prompt_tokens_high IS 'Sum of their prompt tokens, of each the thousands of millions';
COMMENT ON COLUMN journal_sums.prompt_tokens_low IS 'Sum of their prompt tokens, of each the rest';
COMMENT ON COLUMN journal_sums.completion_tokens_high IS 'Sum of their completion tokens, of each the thousands of millions';
COMMENT ON COLUMN journal_sums.completion_tokens_low IS 'Sum of their completion tokens, of each the rest';

-- How far journal_sums has come. `newest` is the newest line that was seen at `seen_at`; earlier
-- ones may still be hidden in transactions, and all of these have ended once the oldest that runs
-- is `horizon` or later. One row.
CREATE TABLE journal_sums_mark (
    id      smallint    PRIMARY KEY CHECK (id = 1),
    through bigint      NOT NULL DEFAULT 0,
    newest  bigint      NOT NULL DEFAULT 0,
    horizon bigint      NOT NULL DEFAULT 0,
    seen_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO journal_sums_mark (id) VALUES (1);
COMMENT ON TABLE  journal_sums_mark IS 'How far journal_sums has come';
COMMENT ON COLUMN journal_sums_mark.id IS 'Always 1';
COMMENT ON COLUMN journal_sums_mark.through IS 'The last line (logs.id) that is in it';
COMMENT ON COLUMN journal_sums_mark.newest IS 'The newest line when it was last looked for';
COMMENT ON COLUMN journal_sums_mark.horizon IS 'The first transaction that had not begun then';
COMMENT ON COLUMN journal_sums_mark.seen_at IS 'When that was';

-- Lines that moved no money may be deleted by hand. They leave the sums as well; the lock keeps
-- them from being added up meanwhile.
CREATE FUNCTION newapi_leave_sums() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM journal_sums_mark WHERE through >= OLD.id FOR SHARE;
    IF FOUND THEN
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
        WHERE model_name = OLD.model_name AND type = OLD.type
          AND ((user_id = 0 AND channel_id IN (0, coalesce(OLD.channel_id, 0)) AND token_id = 0
                AND created_at = date_trunc('hour', OLD.created_at, 'UTC'))
            OR (user_id = OLD.user_id AND user_id <> 0 AND channel_id = 0
                AND token_id = coalesce(OLD.token_id, 0)
                AND created_at = date_trunc('day', OLD.created_at, 'UTC')));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER logs_leave_sums AFTER DELETE ON logs FOR EACH ROW
    EXECUTE FUNCTION newapi_leave_sums();
