-- The lines of a user, without an index on the journal: each call would write to a leaf of its
-- user's own, a page to the disk for every line. A background job copies what an index would hold,
-- sorted, some thousands of lines at a time; what it has not reached yet is read from the journal.
DROP INDEX logs_user;

CREATE TABLE user_log_lines (
    user_id    INTEGER NOT NULL,
    log_id     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, log_id)
) WITHOUT ROWID;

-- The newest line that was copied. One row.
CREATE TABLE user_log_mark (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL
);
INSERT INTO user_log_mark (id, through) VALUES (1, 0);

-- The mark goes back with the end of the journal: its numbers are given again.
CREATE TRIGGER logs_leave_user AFTER DELETE ON logs
BEGIN
    DELETE FROM user_log_lines WHERE user_id = OLD.user_id AND log_id = OLD.id;
    UPDATE user_log_mark SET through = (SELECT coalesce(max(id), 0) FROM logs)
    WHERE through >= OLD.id AND through > (SELECT coalesce(max(id), 0) FROM logs);
END;

-- The journal, for whoever asks for the lines of users. LEFT JOIN, so that counting them does not
-- look at them.
CREATE VIEW user_logs AS
SELECT i.log_id AS id, i.user_id, l.username, i.created_at, l.type, l.model_name, l.quota,
       l.prompt_tokens, l.completion_tokens, l.channel_id, l.token_id, l.request_id,
       l.use_time_ms, l.content, l.other, l.delta, l.used_delta, l.hold_id, l.closes
FROM user_log_lines i LEFT JOIN logs l ON l.id = i.log_id
UNION ALL
SELECT id, user_id, username, created_at, type, model_name, quota,
       prompt_tokens, completion_tokens, channel_id, token_id, request_id,
       use_time_ms, content, other, delta, used_delta, hold_id, closes
FROM logs WHERE id > (SELECT through FROM user_log_mark);
