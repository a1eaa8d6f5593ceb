-- A long journal: `lines` lines over three months, newest a few minutes ago, of `users` users.
-- Users, models and channels are used unevenly; some are rare, one model was given up, and one channel
-- serves a model of its own. Half of the keys share a name, and one key was deleted. Balances are what the lines add up
-- to less what is on hold, so the audit is clean. Calls are lines of type consume, each with the hold that it ended; the open ones,
-- `holds` of them, are of calls whose outcome is unknown, and wait for a deadline that does not come here.
SET synchronous_commit = off;
SELECT newapi_make_month((now() AT TIME ZONE 'UTC' - months * interval '1 month')::date)
FROM generate_series(0, 3) months;

INSERT INTO users (username) SELECT 'bench-user-' || n FROM generate_series(1, :users) n;
INSERT INTO tokens (user_id, name, key_hash, unlimited_quota)
SELECT id, CASE WHEN id % 2 = 0 THEN 'default' ELSE 'bench-key-' || id END, sha256(username::bytea), true
FROM users WHERE username LIKE 'bench-user-%';

CREATE TEMP TABLE payers AS
SELECT row_number() OVER (ORDER BY u.id) - 1 AS n, u.id, u.username, t.id AS token_id
FROM users u JOIN tokens t ON t.user_id = u.id WHERE u.username LIKE 'bench-user-%';
CREATE UNIQUE INDEX ON payers (n);
ANALYZE payers;

INSERT INTO price_snapshots (hash, price)
VALUES (sha256('bench'), '{"rule": "by_use", "ratio": "1", "completion_ratio": "1", "cache_ratio": "1",
 "image_ratio": "1", "audio_ratio": "1", "min_hold": 1, "group": "1", "user": "1", "rule_version": 1}');
CREATE FUNCTION pg_temp.hold_id(at timestamptz) RETURNS uuid LANGUAGE sql AS $$
  SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
          || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;

INSERT INTO logs (user_id, username, created_at, type, model_name, quota, prompt_tokens,
                  completion_tokens, channel_id, token_id, request_id, use_time_ms, content, delta,
                  used_delta, hold_id, held, price_id)
SELECT p.id, p.username, made.at, made.type,
       CASE WHEN moves THEN made.model ELSE '' END, 50, 20, 30,
       CASE WHEN moves THEN made.channel END, p.token_id, to_char(made.n, 'FM00000000') || '-bench',
       100, CASE made.type WHEN 'topup' THEN 'paid by transfer' ELSE '' END,
       CASE made.type WHEN 'consume' THEN -50 WHEN 'refund' THEN 50 WHEN 'topup' THEN 10000000
                      ELSE 0 END,
       CASE made.type WHEN 'consume' THEN 50 WHEN 'refund' THEN -50 ELSE 0 END,
       CASE made.type WHEN 'consume' THEN pg_temp.hold_id(made.at) END,
       CASE made.type WHEN 'consume' THEN 50 END,
       CASE made.type WHEN 'consume' THEN (SELECT id FROM price_snapshots) END
FROM (SELECT n, now() - interval '3 min' - (:lines - n) * (interval '90 days' / :lines) AS at,
             CASE WHEN n <= :users THEN 'topup' WHEN n % 50000 = 0 THEN 'topup'
                  WHEN n % 100000 = 7 THEN 'manage' WHEN n % 20 = 3 THEN 'refund'
                  WHEN n % 100 = 1 THEN 'error' ELSE 'consume' END AS type,
             CASE WHEN n % 1000000 = 11 THEN 'rare' WHEN n % 20000 = 12 THEN 'seldom'
                  WHEN n % 2000 = 15 THEN 'thin' WHEN n % 1000 = 14 THEN 'apart'
                  WHEN n % 100 = 9 AND n < 0.8 * :lines THEN 'retired'
                  ELSE 'model-' || floor(40 * random() ^ 2) END AS model,
             CASE WHEN n % 500000 = 13 THEN 999 WHEN n % 1000 = 14 THEN 21
                  ELSE 1 + floor(20 * random() ^ 2) END AS channel,
             CASE WHEN n <= :users THEN n - 1 ELSE floor(:users * random() ^ 2) END::bigint AS payer
      FROM generate_series(1, :lines) n OFFSET 0) AS made
JOIN payers p ON p.n = made.payer,
     LATERAL (SELECT made.type IN ('consume', 'refund') AS moves) AS about
ORDER BY made.n;

INSERT INTO holds (id, user_id, key_id, channel_id, model_name, request_id, amount, price_id, deadline_at)
SELECT pg_temp.hold_id(now()), p.id, p.token_id, 1 + k % 20, 'model-' || k % 40, to_char(k, 'FM00000000') || '-held', 50,
       (SELECT id FROM price_snapshots), now() + interval '1 year'
FROM generate_series(1, :holds) k JOIN payers p ON p.n = k % :users;

-- As the ledger writes: with its revision, so that nothing is entered twice.
UPDATE users SET quota = quota + s.delta - coalesce(h.held, 0), used_quota = used_quota + s.used,
                 revision = revision + 1
FROM (SELECT user_id, sum(delta) AS delta, sum(used_delta) AS used FROM logs
      WHERE user_id IN (SELECT id FROM payers) GROUP BY user_id) AS s
LEFT JOIN (SELECT user_id, sum(amount) AS held FROM holds GROUP BY user_id) AS h USING (user_id)
WHERE users.id = s.user_id;
DELETE FROM tokens WHERE id = (SELECT token_id FROM payers WHERE n = 2);
-- As autovacuum leaves it.
VACUUM ANALYZE logs;
VACUUM ANALYZE users;
VACUUM ANALYZE holds;
