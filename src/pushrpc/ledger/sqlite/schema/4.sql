-- What a provider is to be asked or told is found by its account, so that a long list at one is in nobody else's way.
DROP INDEX unconfirmed_due;
CREATE INDEX unconfirmed_due ON unconfirmed (lane, due_us);

ALTER TABLE unsynced ADD COLUMN app INTEGER NOT NULL DEFAULT 0;
UPDATE unsynced SET app = coalesce((SELECT app FROM devices WHERE key = device), 0);
DROP INDEX unsynced_due;
CREATE INDEX unsynced_due ON unsynced (app, provider_app_id, due_us);
DROP TRIGGER devices_made;
CREATE TRIGGER devices_made AFTER INSERT ON devices WHEN new.provider = 6
BEGIN
    INSERT OR REPLACE INTO unsynced VALUES (new.key, new.provider_app_id, 0, 0, new.app);
END;
DROP TRIGGER devices_changed;
CREATE TRIGGER devices_changed AFTER UPDATE ON devices WHEN new.provider = 6
BEGIN
    INSERT OR REPLACE INTO unsynced VALUES (new.key, new.provider_app_id, 0, 0, new.app);
END;
DROP TRIGGER devices_left;
CREATE TRIGGER devices_left AFTER UPDATE ON devices
WHEN old.provider = 6 AND (new.provider <> 6 OR new.provider_app_id <> old.provider_app_id)
BEGIN
    INSERT OR REPLACE INTO unsynced VALUES (old.key, old.provider_app_id, 0, 0, old.app);
END;

-- Devices whose token ends at an instant that the app told.
CREATE INDEX devices_ending ON devices (token_expire_us) WHERE token_expire_us > 0 AND state < 3;
