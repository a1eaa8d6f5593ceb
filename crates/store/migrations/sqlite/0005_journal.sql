-- Lines that calls don't write are few among millions, and are looked for by their type. Nothing
-- that a call writes enters this index.
CREATE INDEX logs_seldom ON logs (type, id)
    WHERE type IN ('topup', 'adjust', 'manage', 'system', 'error');
