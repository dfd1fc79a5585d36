//! The site's tables.

/// The schema, version by version.
pub(super) const VERSIONS: [&str; 1] = ["
    -- The CA and the control unit. Keys are sealed.
    CREATE TABLE authority (
        part TEXT PRIMARY KEY,
        certificate BLOB NOT NULL,
        key BLOB NOT NULL
    ) WITHOUT ROWID;

    -- The access secrets. One that is derived for a device is not stored; the secret it is derived from has no id.
    CREATE TABLE access_secrets (
        id TEXT PRIMARY KEY,
        device TEXT UNIQUE,
        secret BLOB,
        made_at INTEGER NOT NULL,
        expires_at INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE secret_master (secret BLOB NOT NULL);

    -- The configured device classes.
    CREATE TABLE classes (name TEXT PRIMARY KEY) WITHOUT ROWID;
    INSERT INTO classes (name) VALUES ('infusion-pump');

    -- The network keys, sealed. A key of a class has no identifier.
    CREATE TABLE network_keys (
        kid BLOB PRIMARY KEY,
        channel TEXT NOT NULL,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL DEFAULT '',
        epoch INTEGER NOT NULL,
        made_at INTEGER NOT NULL,
        key BLOB NOT NULL,
        UNIQUE (channel, client, identifier, epoch)
    ) WITHOUT ROWID;

    -- One row for each pairing: the sealed state of its state machine, and what people see of it.
    CREATE TABLE pairings (
        session BLOB PRIMARY KEY,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        running INTEGER NOT NULL,
        dismissed INTEGER NOT NULL DEFAULT 0,
        changed_at INTEGER NOT NULL,
        state BLOB NOT NULL,
        record BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX pairings_of_device ON pairings (client, identifier, running);
    CREATE INDEX pairings_by_age ON pairings (running, changed_at);

    -- When sessions of an identifier failed, and whether it is locked.
    CREATE TABLE failures (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        failed_at BLOB NOT NULL,
        locked INTEGER NOT NULL,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID;

    CREATE TABLE devices (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        record BLOB NOT NULL,
        wrapping_key BLOB NOT NULL,
        last_seen INTEGER,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID;

    -- What each key may do. The versions rise over all of them.
    CREATE TABLE grants (
        key BLOB PRIMARY KEY,
        version INTEGER NOT NULL,
        record BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE versions (newest INTEGER NOT NULL);
    INSERT INTO versions (newest) VALUES (0);

    -- What the bridge has yet to carry out, in this order.
    CREATE TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, entry BLOB NOT NULL);
    -- Up to where the bridge's messages are dealt with.
    CREATE TABLE inbox (topic TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;

    CREATE TABLE timers (what BLOB PRIMARY KEY, due INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX timers_by_due ON timers (due);

    -- Which messages of the second channels have counted, and the newest report of each kind.
    CREATE TABLE receivers (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        channel TEXT NOT NULL,
        state BLOB NOT NULL,
        PRIMARY KEY (client, identifier, channel)
    ) WITHOUT ROWID;
    CREATE TABLE latest (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        kind BLOB NOT NULL,
        accepted_at INTEGER NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (client, identifier, kind)
    ) WITHOUT ROWID;
"];
