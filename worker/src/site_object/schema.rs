//! The site's tables.

/// The schema, version by version.
pub(super) const VERSIONS: [&str; 11] =
    [FIRST, SECOND, THIRD, FOURTH, FIFTH, OUTSIDE_CA, GATEWAYS, ORDERS, GATEWAY_SESSIONS, PRESENCE, ASSOCIATIONS];

const FIRST: &str = "
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
";

/// Policy, device classes with their names, access secrets that people make and end, locks with their time.
const SECOND: &str = "
    -- The pairing policy, once somebody has changed it; origin is where that person reached the control unit.
    CREATE TABLE policy (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        record BLOB NOT NULL,
        changed_at INTEGER NOT NULL,
        changed_by TEXT NOT NULL,
        origin TEXT NOT NULL
    );

    -- The device classes. Distribution, paragraph 25 and figure 1, names them; the infusion pump is ours.
    CREATE TABLE device_classes (
        client TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        name_de TEXT NOT NULL,
        active INTEGER NOT NULL,
        implanted INTEGER NOT NULL,
        enabled INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    INSERT INTO device_classes (client, name, name_de, active, implanted) VALUES
        ('pacemaker', 'Pacemaker', 'Herzschrittmacher', 1, 1),
        ('defibrillator', 'Implantable cardioverter-defibrillator', 'Implantierbarer Kardioverter-Defibrillator', 1, 1),
        ('cardiac-resynchronization-device', 'Cardiac resynchronization device', 'Kardiales Resynchronisationsgerät', 1, 1),
        ('neurological-implant', 'Neurological implant', 'Neurologisches Implantat', 1, 1),
        ('drug-delivery', 'Implantable drug delivery device', 'Implantierbare Medikamentenpumpe', 1, 1),
        ('heart-monitor', 'Heart monitor', 'Herzmonitor', 1, 1),
        ('respiratory-monitor', 'Respiratory monitor', 'Atemmonitor', 1, 1),
        ('posture-sensor', 'Posture sensor', 'Lagesensor', 1, 1),
        ('activity-sensor', 'Activity sensor', 'Aktivitätssensor', 1, 1),
        ('blood-chemistry-sensor', 'Blood chemistry sensor', 'Blutwertsensor', 1, 1),
        ('automated-external-defibrillator', 'Automated external defibrillator', 'Automatisierter externer Defibrillator', 1, 0),
        ('holter-monitor', 'Holter monitor', 'Langzeit-EKG', 1, 0),
        ('pill-dispenser', 'Pill dispenser', 'Tablettenspender', 0, 0),
        ('scale', 'Weight scale', 'Waage', 0, 0),
        ('blood-pressure-monitor', 'Blood pressure monitor', 'Blutdruckmessgerät', 0, 0),
        ('repeater', 'Repeater', 'Repeater', 1, 0),
        ('programmer', 'Programmer', 'Programmiergerät', 1, 0),
        ('recorder', 'Recorder', 'Rekorder', 1, 0),
        ('infusion-pump', 'Infusion pump', 'Infusionspumpe', 1, 0);
    UPDATE device_classes SET enabled = 1 WHERE client IN (SELECT name FROM classes);
    DROP TABLE classes;
    ALTER TABLE versions ADD COLUMN classes INTEGER NOT NULL DEFAULT 0;

    -- The access secrets. One that is derived for a device is not stored. Those that the first version derived are not
    -- derived any more.
    CREATE TABLE secrets (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL DEFAULT '',
        device TEXT,
        secret BLOB,
        made_at INTEGER NOT NULL,
        made_by TEXT,
        expires_at INTEGER,
        ended_at INTEGER,
        used_at INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX secrets_by_device ON secrets (device);
    INSERT INTO secrets (id, device, secret, made_at, expires_at, ended_at)
        SELECT id, device, secret, made_at, expires_at, CASE WHEN secret IS NULL THEN made_at END FROM access_secrets;
    DROP TABLE access_secrets;

    ALTER TABLE failures ADD COLUMN locked_at INTEGER;

    -- What people see of a pairing says more now: an empty record is written anew from the state.
    UPDATE pairings SET record = x'';
";

/// Revocation.
const THIRD: &str = "
    -- The devices that are revoked. step: the entry of the outbox that cuts them off; cut_at: when the bridge had done so.
    CREATE TABLE revocations (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        record BLOB NOT NULL,
        step INTEGER,
        cut_at INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        last_attempt INTEGER,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID;

    -- The certificates that are revoked, for the list, until they end by themselves.
    CREATE TABLE revoked_certificates (
        serial BLOB PRIMARY KEY,
        reason BLOB NOT NULL,
        revoked_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL
    ) WITHOUT ROWID;

    -- The channel policy, once somebody has changed it.
    CREATE TABLE channels (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        record BLOB NOT NULL,
        version INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        changed_by TEXT NOT NULL
    );

    -- The network keys, epoch after epoch, sealed. A line of a class has no identifier.
    CREATE TABLE key_lines (
        channel TEXT NOT NULL,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL DEFAULT '',
        highest INTEGER NOT NULL,
        erases_at INTEGER,
        state BLOB NOT NULL,
        PRIMARY KEY (channel, client, identifier)
    ) WITHOUT ROWID;
    CREATE INDEX key_lines_to_erase ON key_lines (erases_at);

    -- Which keys each device was given.
    CREATE TABLE knowledge (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID;

    -- When each channel's keys were made anew by schedule or by hand, and jobs that bring new ones to many devices.
    CREATE TABLE rotations (channel TEXT PRIMARY KEY, rotated_at INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE rekeyings (number INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);

    -- The audit log. words: what a search looks at, in small letters.
    CREATE TABLE audit (sequence INTEGER PRIMARY KEY, act TEXT NOT NULL, words TEXT NOT NULL, record BLOB NOT NULL);
    CREATE INDEX audit_by_act ON audit (act, sequence);

    -- The number of the last certificate revocation list, and when it was issued.
    CREATE TABLE revocation_list (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        number INTEGER NOT NULL,
        renew_at INTEGER NOT NULL,
        der BLOB NOT NULL
    );

    -- The renewal of a device's certificate that is under way, sealed, and orders to devices to erase themselves.
    CREATE TABLE renewals (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        state BLOB NOT NULL,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID;
    CREATE TABLE decommissions (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID;
";

const FOURTH: &str = "
    -- The notes that the accounts told last.
    CREATE TABLE notes_taken (one INTEGER PRIMARY KEY CHECK (one = 1), ids BLOB NOT NULL);
";

/// Services.
const FIFTH: &str = "
    -- enrolment: the id of the enrolment; its key, sealed, until it is used; how many messages were under another key; the request
    -- that used it, and the answer, to be given again. wrap_id names the wrapping key, which is sealed.
    CREATE TABLE services (
        name TEXT PRIMARY KEY,
        record BLOB NOT NULL,
        enrolment BLOB NOT NULL UNIQUE,
        enrolment_key BLOB,
        wrong INTEGER NOT NULL DEFAULT 0,
        request_hash BLOB,
        answer BLOB,
        wrap_id BLOB UNIQUE,
        wrapping_key BLOB,
        last_seen INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        last_attempt INTEGER
    ) WITHOUT ROWID;
";

/// A CA outside.
const OUTSIDE_CA: &str = "
    -- Channels keep their keys in key_lines; nothing was ever released that kept them here.
    DROP TABLE network_keys;

    -- How far the CA outside has been asked. request and key: of the issuing CA that is to be certified next; the key is sealed.
    CREATE TABLE enrolment (one INTEGER PRIMARY KEY CHECK (one = 1), record BLOB NOT NULL, key BLOB);
    -- The issuing CAs that the CA outside has certified, until they end. chain: from the CA's own certificate up to and including the
    -- root. known: whether the bridge takes certificates from it, so that it may issue; since: from when on it has.
    CREATE TABLE issuing_cas (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        chain BLOB NOT NULL,
        key BLOB NOT NULL,
        ends_at INTEGER NOT NULL,
        known INTEGER NOT NULL DEFAULT 0,
        since INTEGER
    );
    -- Under which name the audit log began, where the CA was chosen later.
    CREATE TABLE log_name (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL);

    -- The newest list of revoked certificates of each issuing CA, by its key identifier, which is empty where only the number counts.
    CREATE TABLE revocation_lists (
        issuer BLOB PRIMARY KEY,
        number INTEGER NOT NULL,
        renew_at INTEGER NOT NULL,
        der BLOB NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO revocation_lists (issuer, number, renew_at, der) SELECT x'', number, 0, x'' FROM revocation_list;
    DROP TABLE revocation_list;
";

/// Gateways pair like devices (Distribution, figure 1, 13).
const GATEWAYS: &str = "
    INSERT INTO device_classes (client, name, name_de, active, implanted, enabled) VALUES
        ('gateway', 'Gateway', 'Gateway', 1, 0, 1)
        ON CONFLICT (client) DO UPDATE SET enabled = 1;
    UPDATE versions SET classes = classes + 1;
";

/// Orders to devices, and renewal of services' certificates.
const ORDERS: &str = "
    -- giver: the control unit, or a service's key. ends_at: until when it waits for the device; none once it does not.
    CREATE TABLE orders (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        giver BLOB NOT NULL,
        id BLOB NOT NULL,
        ends_at INTEGER,
        record BLOB NOT NULL,
        UNIQUE (client, identifier, giver, id)
    );
    CREATE INDEX orders_by_end ON orders (ends_at);

    -- The number of the newest run in which the control unit has sent orders.
    ALTER TABLE versions ADD COLUMN boot INTEGER NOT NULL DEFAULT 0;

    -- The certificate and the wrapping key, sealed, that a service was given last and has yet to use; the question, and the answer, to be
    -- given again.
    ALTER TABLE services ADD COLUMN next BLOB;
    ALTER TABLE services ADD COLUMN next_wrap_id BLOB;
    ALTER TABLE services ADD COLUMN next_wrapping_key BLOB;
    ALTER TABLE services ADD COLUMN renewal_hash BLOB;
    ALTER TABLE services ADD COLUMN renewal_answer BLOB;
";

/// Sessions with the distribution server.
const GATEWAY_SESSIONS: &str = "
    -- Who may have one open, and whose is to be closed.
    CREATE TABLE gateway_sessions (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        closing INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID;
    CREATE INDEX gateway_sessions_closing ON gateway_sessions (closing);

    -- Devices that have lost their rights, of whom gateways have yet to be told.
    CREATE TABLE lost_devices (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL
    );
";

/// Whether a device is connected.
const PRESENCE: &str = "
    -- As the bridge told last.
    ALTER TABLE devices ADD COLUMN is_away INTEGER NOT NULL DEFAULT 0;
";

/// What gateways know with their devices.
const ASSOCIATIONS: &str = "
    -- A gateway was given the keys of this device's channel for updates.
    CREATE TABLE given_keys (
        gateway_client TEXT NOT NULL,
        gateway_identifier TEXT NOT NULL,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        PRIMARY KEY (gateway_client, gateway_identifier, client, identifier)
    ) WITHOUT ROWID;
";
