-- Integer keys are counted by the one writer, never reused while a ledger is open; instants are microseconds in UTC.
-- Enumerated values are the numbers of the contract. Everything here runs in one transaction.

PRAGMA application_id = 1886745200;

-- One row. The counters let a start skip every scan; pruned_seq is the newest event that has been pruned.
-- No notification before oldest_open is open: a mark that follows a little behind is cheaper than an index.
CREATE TABLE ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    ledger_id TEXT NOT NULL,
    secret BLOB NOT NULL,
    last_notification INTEGER NOT NULL DEFAULT 0,
    last_delivery INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    open_count INTEGER NOT NULL DEFAULT 0,
    pruned_seq INTEGER NOT NULL DEFAULT 0,
    oldest_open INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE apps (
    key INTEGER PRIMARY KEY,
    app_id TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE lanes (
    key INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    provider INTEGER NOT NULL,
    provider_app_id TEXT NOT NULL,
    environment INTEGER NOT NULL,
    UNIQUE (app, provider, provider_app_id, environment)
) STRICT;

-- tags, topics and metadata are JSON. A device that lost its token to another keeps none.
CREATE TABLE devices (
    key INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    provider INTEGER NOT NULL,
    provider_app_id TEXT NOT NULL,
    environment INTEGER NOT NULL,
    token TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tags TEXT NOT NULL,
    topics TEXT NOT NULL,
    locale TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    latitude REAL,
    longitude REAL,
    accuracy_m REAL,
    location_us INTEGER,
    permission INTEGER NOT NULL,
    token_kind INTEGER NOT NULL,
    installation_id TEXT NOT NULL,
    registered_us INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    state INTEGER NOT NULL,
    dead_reason TEXT NOT NULL,
    dead_us INTEGER NOT NULL,
    token_replaced_by TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    seen_us INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX devices_device_id ON devices (app, device_id);
CREATE UNIQUE INDEX devices_token ON devices (app, provider, environment, token) WHERE token <> '';
CREATE INDEX devices_active ON devices (seen_us) WHERE state = 1;
CREATE INDEX devices_user ON devices (app, user_id) WHERE user_id <> '';
CREATE INDEX devices_installation ON devices (app, installation_id) WHERE installation_id <> '';

-- A notification's deliveries have the keys first_delivery … first_delivery + total - 1, in target order.
-- What a send with a request_id was answered is in fingerprint, duplicate_count, rejected (JSON) and first_seq.
-- app is 0 while its rows are being pruned, so that nobody reads half of one.
CREATE TABLE notifications (
    key INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    notification_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    priority INTEGER NOT NULL,
    collapse_key TEXT NOT NULL,
    at_most_once INTEGER NOT NULL,
    one_try INTEGER NOT NULL,
    labels TEXT NOT NULL,
    duplicate_count INTEGER NOT NULL,
    rejected TEXT NOT NULL,
    first_delivery INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    queued_us INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    expire_us INTEGER NOT NULL,
    completed_us INTEGER NOT NULL,
    cancelled_us INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL,
    open INTEGER NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,
    rejected_count INTEGER NOT NULL DEFAULT 0,
    unregistered INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    suppressed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX notifications_id ON notifications (notification_id);
CREATE INDEX notifications_request ON notifications (app, request_id) WHERE request_id <> '';
CREATE INDEX notifications_app ON notifications (app);
CREATE INDEX notifications_open ON notifications (expire_us) WHERE completed_us = 0;
CREATE INDEX notifications_cancelled ON notifications (key) WHERE completed_us = 0 AND cancelled_us > 0;
CREATE INDEX notifications_complete ON notifications (completed_us) WHERE completed_us > 0;

-- What the last attempt came to is told by the run of events with this last_seq; 0 is none yet.
-- State IN_FLIGHT is written only for at_most_once, and when the device of a claimed delivery is removed: a start ends
-- those. All other claims live in memory. due_us is 0 once a delivery is final: what its end adds to the row then fits in
-- what that frees, so that settling never splits a page (measured: a fifth of the cost of the update).
CREATE TABLE deliveries (
    key INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    notification INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due_us INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 1,
    tries INTEGER NOT NULL DEFAULT 0,
    spent INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    token TEXT NOT NULL,
    device_id TEXT NOT NULL,
    user_id TEXT NOT NULL
) STRICT;

CREATE INDEX deliveries_claim ON deliveries (lane, priority, due_us) WHERE state < 3;
CREATE INDEX deliveries_in_flight ON deliveries (key) WHERE state = 2;
-- Led by a bucket of 4,096 keys, so that inserts of random values touch one small part of the index and not all of it:
-- measured, a row of 1,000 then costs 2.1 µs, with 16,384 keys 2.7. Readers go bucket by bucket.
CREATE INDEX deliveries_token ON deliveries (key >> 12, substr(token, -12));
CREATE INDEX deliveries_device ON deliveries (key >> 12, device_id) WHERE device_id <> '';
CREATE INDEX deliveries_user ON deliveries (key >> 12, user_id) WHERE user_id <> '';

-- A row is a run: events in a row that say the same of several deliveries of one notification. They have the seqs
-- last_seq - count + 1 … last_seq, in the order of the deliveries' keys: first_delivery … first_delivery + count - 1, or
-- those in the JSON array `deliveries` where these have gaps. message_ids is a JSON array as long, or '' when there are
-- none; with own_id the provider knows each push by the id that we made for it, which nobody needs to store.
-- previous is a JSON array of the last_seq of each delivery's run before this one, 0 when there is none, or '' when no
-- delivery has one. duration_us is NULL where no attempt was made. device_id is set where the event is about a device
-- (kind DEVICE); everywhere else it is the delivery's.
CREATE TABLE events (
    last_seq INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    app INTEGER NOT NULL,
    notification INTEGER NOT NULL,
    provider INTEGER NOT NULL,
    first_delivery INTEGER NOT NULL,
    deliveries TEXT NOT NULL,
    previous TEXT NOT NULL,
    kind INTEGER NOT NULL,
    state INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    cause INTEGER NOT NULL,
    reason TEXT NOT NULL,
    own_id INTEGER NOT NULL,
    message_ids TEXT NOT NULL,
    provider_status INTEGER NOT NULL,
    provider_detail TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    retry_us INTEGER NOT NULL,
    duration_us INTEGER,
    token_replaced_by TEXT NOT NULL,
    device_state INTEGER NOT NULL DEFAULT 0,
    device_id TEXT
) STRICT;

CREATE INDEX events_notification ON events (notification);
