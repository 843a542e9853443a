-- Tokens that are addresses: their lanes are told apart by origin, and what reaches one beside the token (a browser's
-- keys, the platform of a hub's handle, an audience of the provider's own) is in address, empty for all others.

CREATE TABLE lanes_2 (
    key INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    provider INTEGER NOT NULL,
    provider_app_id TEXT NOT NULL,
    environment INTEGER NOT NULL,
    origin TEXT NOT NULL,
    UNIQUE (app, provider, provider_app_id, environment, origin)
) STRICT;
INSERT INTO lanes_2 SELECT key, app, provider, provider_app_id, environment, '' FROM lanes;
DROP TABLE lanes;
ALTER TABLE lanes_2 RENAME TO lanes;

ALTER TABLE devices ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN token_expire_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN address TEXT NOT NULL DEFAULT '';

-- Events without a state, kinds 4 and up, are told of deliveries that are final; a repeat is found here.
CREATE INDEX events_annotation ON events (first_delivery, kind, reason) WHERE kind > 3;

-- Deliveries whose provider tells later what came of them, by the provider's id of the message.
CREATE TABLE unconfirmed (
    delivery INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    accepted_us INTEGER NOT NULL,
    due_us INTEGER NOT NULL
) STRICT;
CREATE INDEX unconfirmed_due ON unconfirmed (due_us);
CREATE INDEX unconfirmed_message ON unconfirmed (lane, message_id);

-- Devices that their provider keeps too (NOTIFICATION_HUBS), and does not know as they are now. One that has left for
-- another hub or provider is due at the one it left.
CREATE TABLE unsynced (
    device INTEGER NOT NULL,
    provider_app_id TEXT NOT NULL,
    due_us INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    PRIMARY KEY (device, provider_app_id)
) STRICT;
CREATE INDEX unsynced_due ON unsynced (due_us);
CREATE TRIGGER devices_made AFTER INSERT ON devices WHEN new.provider = 6
BEGIN
    INSERT OR REPLACE INTO unsynced VALUES (new.key, new.provider_app_id, 0, 0);
END;
CREATE TRIGGER devices_changed AFTER UPDATE ON devices WHEN new.provider = 6
BEGIN
    INSERT OR REPLACE INTO unsynced VALUES (new.key, new.provider_app_id, 0, 0);
END;
CREATE TRIGGER devices_left AFTER UPDATE ON devices
WHEN old.provider = 6 AND (new.provider <> 6 OR new.provider_app_id <> old.provider_app_id)
BEGIN
    INSERT OR REPLACE INTO unsynced VALUES (old.key, old.provider_app_id, 0, 0);
END;
