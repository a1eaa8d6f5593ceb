-- People at a console.

CREATE TABLE sessions (
    token_hash bytea PRIMARY KEY,
    user_id    bigint      NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sessions_user ON sessions (user_id);
COMMENT ON TABLE  sessions IS 'Who is logged in at a console';
COMMENT ON COLUMN sessions.token_hash IS 'SHA-256 of the cookie; the cookie itself is not kept';
COMMENT ON COLUMN sessions.user_id IS 'Who logged in';
COMMENT ON COLUMN sessions.created_at IS 'When; a session ends 7 days later at the latest';
COMMENT ON COLUMN sessions.used_at IS 'When it was last used, to the minute; it ends after 12 idle hours';
