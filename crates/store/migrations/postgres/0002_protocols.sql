-- How an upstream is spoken to: the name of a protocol.

ALTER TABLE channels ADD COLUMN protocol text NOT NULL DEFAULT 'custompass';
COMMENT ON COLUMN channels.protocol IS 'Name of the protocol that the upstream speaks: newapi protocol list';

DROP TRIGGER channels_announce_update ON channels;
CREATE TRIGGER channels_announce_update
    AFTER UPDATE OF name, type, base_url, key, models, groups, priority, weight, auto_ban, status,
                    other, model_mapping, param_override, status_code_mapping,
                    custompass_status_mapping, setting, protocol
    ON channels FOR EACH STATEMENT EXECUTE FUNCTION newapi_announce_table();
