-- How an upstream is spoken to: the name of a protocol.

ALTER TABLE channels ADD COLUMN protocol TEXT NOT NULL DEFAULT 'custompass';

DROP TRIGGER channels_announce_update;
CREATE TRIGGER channels_announce_update
    AFTER UPDATE OF name, type, base_url, key, models, groups, priority, weight, auto_ban, status,
                    other, model_mapping, param_override, status_code_mapping,
                    custompass_status_mapping, setting, protocol ON channels
BEGIN INSERT INTO config_changes (what) VALUES ('channels'); END;
