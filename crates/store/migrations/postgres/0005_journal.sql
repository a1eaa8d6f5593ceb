-- Lines that calls don't write are few among millions, and are looked for by their type. Nothing
-- that a call writes enters this index.
CREATE INDEX logs_seldom ON logs (type, id)
    WHERE type IN ('topup', 'adjust', 'manage', 'system', 'error');
-- Models and channels that are rare in the journal: which few pages speak of them. A thousandth of
-- the size of a btree, and a call writes nothing to it: pages are summed up once they are full.
-- Older servers than 14 look at the lines themselves.
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 140000 THEN
        CREATE INDEX logs_rare ON logs USING brin
            (model_name text_bloom_ops(n_distinct_per_range = 64),
             channel_id int8_bloom_ops(n_distinct_per_range = 64))
            WITH (pages_per_range = 16, autosummarize = on);
    END IF;
END $$;
