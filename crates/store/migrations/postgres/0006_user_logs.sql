-- The journal, for whoever asks for the lines of users. The index `logs_user` leads to them here;
-- SQLite keeps them in another way, behind the same name.
CREATE VIEW user_logs AS
SELECT id, user_id, username, created_at, type, model_name, quota,
       prompt_tokens, completion_tokens, channel_id, token_id, request_id,
       use_time_ms, content, other, delta, used_delta, hold_id, closes
FROM logs;
COMMENT ON VIEW user_logs IS 'The journal, for whoever asks for the lines of users';
