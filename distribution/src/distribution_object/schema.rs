//! The tables of the distribution server.

/// The statements that lead from each version to the next.
pub(super) const VERSIONS: [&str; 10] = [FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH, OFFERED, RUNS, SHOWN, LOST];

/// Manufacturers, their tokens, what they upload, and what is public of them.
const FIRST: &str = "
    CREATE TABLE manufacturers (
        manufacturer TEXT PRIMARY KEY,
        first_root BLOB NOT NULL,
        root_version INTEGER NOT NULL,
        added_at INTEGER NOT NULL,
        added_by TEXT NOT NULL,
        ended_at INTEGER,
        -- Counts what was published; what is public belongs to it, or to the publication before.
        generation INTEGER NOT NULL DEFAULT 0,
        published BLOB,
        inventory INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;

    CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        manufacturer TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        made_at INTEGER NOT NULL,
        made_by TEXT NOT NULL,
        used_at INTEGER,
        revoked_at INTEGER
    );
    CREATE INDEX tokens_of_manufacturer ON tokens (manufacturer);

    -- What is trusted of a repository, as a TUF client stores it: root, timestamp, snapshot, and each targets role.
    CREATE TABLE trusted (
        manufacturer TEXT NOT NULL,
        file TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        PRIMARY KEY (manufacturer, file)
    ) WITHOUT ROWID;

    -- Which file lies under which name. A root stays for good.
    CREATE TABLE public_files (
        manufacturer TEXT NOT NULL,
        is_metadata INTEGER NOT NULL,
        name TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        length INTEGER NOT NULL,
        generation INTEGER,
        PRIMARY KEY (manufacturer, is_metadata, name)
    ) WITHOUT ROWID;
    CREATE INDEX public_files_by_hash ON public_files (manufacturer, sha256);

    -- Files in R2 whose hash was checked. One that is going is neither used nor sent again until it is gone.
    CREATE TABLE files (
        manufacturer TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        length INTEGER NOT NULL,
        stored_at INTEGER NOT NULL,
        is_going INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (manufacturer, sha256)
    ) WITHOUT ROWID;

    CREATE TABLE publications (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        manufacturer TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        record BLOB NOT NULL,
        touched_at INTEGER NOT NULL,
        done BLOB
    );
    CREATE INDEX publications_of_manufacturer ON publications (manufacturer);
    -- Which files open publications name.
    CREATE TABLE publication_files (
        publication INTEGER NOT NULL,
        manufacturer TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        length INTEGER NOT NULL,
        PRIMARY KEY (publication, sha256)
    ) WITHOUT ROWID;
    CREATE INDEX publication_files_by_hash ON publication_files (manufacturer, sha256);

    -- Files that come in parts.
    CREATE TABLE uploads (
        manufacturer TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        upload TEXT NOT NULL,
        touched_at INTEGER NOT NULL,
        PRIMARY KEY (manufacturer, sha256)
    ) WITHOUT ROWID;
    CREATE TABLE parts (
        manufacturer TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        part INTEGER NOT NULL,
        etag TEXT NOT NULL,
        PRIMARY KEY (manufacturer, sha256, part)
    ) WITHOUT ROWID;

    -- Acts that the site has not written into its audit log.
    CREATE TABLE notes (number INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
";

/// The director, the catalog, gateways, offers and outcomes. A device stands as `<client>/<identifier>` where it is not the row's own.
const SECOND: &str = "
    -- The director's keys, sealed, its root, and the newest version of all directives.
    CREATE TABLE director (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        root BLOB NOT NULL,
        root_key BLOB NOT NULL,
        key BLOB NOT NULL,
        version INTEGER NOT NULL DEFAULT 0
    );

    -- The configuration catalog. state: what was reported, JSON; none where an inventory alone names the device.
    CREATE TABLE devices (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        characteristics BLOB NOT NULL,
        words TEXT NOT NULL,
        manufacturer TEXT NOT NULL,
        model TEXT NOT NULL,
        state BLOB,
        counter INTEGER NOT NULL DEFAULT 0,
        reported_at INTEGER,
        gateway TEXT,
        conflict TEXT,
        factory_key BLOB,
        standing TEXT NOT NULL DEFAULT 'current',
        detail TEXT,
        path TEXT,
        failures INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID;
    CREATE INDEX devices_of_gateway ON devices (gateway);
    CREATE INDEX devices_of_model ON devices (manufacturer, model);
    CREATE TABLE uploads_allowed (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        gateway TEXT NOT NULL,
        PRIMARY KEY (client, identifier, gateway)
    ) WITHOUT ROWID;
    CREATE TABLE history (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        at INTEGER NOT NULL,
        what TEXT NOT NULL,
        before TEXT,
        after TEXT
    );
    CREATE INDEX history_of_device ON history (client, identifier, number);

    -- digest: what the newest directive says, without version and end. is_due: how often it has become due to be matched anew.
    CREATE TABLE gateways (
        gateway TEXT PRIMARY KEY,
        online INTEGER NOT NULL DEFAULT 0,
        last_contact INTEGER,
        counter INTEGER NOT NULL DEFAULT 0,
        reported_at INTEGER,
        refused TEXT,
        directive INTEGER NOT NULL DEFAULT 0,
        digest BLOB,
        directed INTEGER NOT NULL DEFAULT 0,
        directed_at INTEGER,
        renew_at INTEGER NOT NULL DEFAULT 0,
        is_due INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE INDEX gateways_due ON gateways (is_due, renew_at);
    -- The devices of each gateway's newest report.
    CREATE TABLE reported (
        gateway TEXT NOT NULL,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        PRIMARY KEY (gateway, client, identifier)
    ) WITHOUT ROWID;
    CREATE INDEX reported_device ON reported (client, identifier);

    CREATE TABLE offers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        record BLOB NOT NULL,
        withdrawn_at INTEGER
    );
    CREATE TABLE outcomes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        gateway TEXT NOT NULL,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        directive INTEGER NOT NULL,
        path TEXT,
        outcome TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE INDEX outcomes_of_device ON outcomes (client, identifier, id);
    CREATE INDEX outcomes_of_path ON outcomes (path, outcome);
";

/// How long devices that have failed are left alone, which directives have yet to arrive, and what is known of files.
const THIRD: &str = "
    -- A device that has failed is directed anew at retry_at; rests: it is given nothing until then.
    ALTER TABLE devices ADD COLUMN retry_at INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE devices ADD COLUMN rests INTEGER NOT NULL DEFAULT 0;
    -- When the gateway's object is asked whether it has the newest directive; none once it has.
    ALTER TABLE gateways ADD COLUMN check_at INTEGER;
    -- Once it was asked for.
    ALTER TABLE files ADD COLUMN sha512 BLOB;
    ALTER TABLE uploads DROP COLUMN touched_at;
    -- Which files offers that count add.
    CREATE TABLE added (
        offer INTEGER NOT NULL,
        sha256 BLOB NOT NULL,
        PRIMARY KEY (offer, sha256)
    ) WITHOUT ROWID;
    CREATE INDEX added_by_hash ON added (sha256);
    -- Whose data may come through a gateway is asked with each batch of it.
    CREATE INDEX uploads_of_gateway ON uploads_allowed (gateway);
";

/// Whose packages are confidential, and what is made of them for each gateway; for whom devices are there.
const FOURTH: &str = "
    ALTER TABLE manufacturers ADD COLUMN confidential INTEGER NOT NULL DEFAULT 0;
    -- A package or a delta. What was published before counts as one.
    ALTER TABLE public_files ADD COLUMN is_program INTEGER NOT NULL DEFAULT 1;
    -- path, sha256, length: of the package. content: its content key and salt, sealed. Once it is made: what the director says of it, JSON,
    -- and the SHA-256 of the encrypted file. due_at: when it is to be made; none once it is.
    CREATE TABLE variants (
        gateway TEXT NOT NULL,
        path TEXT NOT NULL,
        sha256 BLOB NOT NULL,
        manufacturer TEXT NOT NULL,
        length INTEGER NOT NULL,
        spki BLOB NOT NULL,
        content BLOB NOT NULL,
        encrypted BLOB,
        file BLOB,
        due_at INTEGER,
        PRIMARY KEY (gateway, path, sha256)
    ) WITHOUT ROWID;
    CREATE INDEX variants_by_file ON variants (gateway, file);
    -- For whom a device is there now, and was there before: each row counts until the next.
    ALTER TABLE devices ADD COLUMN patient BLOB;
    CREATE TABLE assignments (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        since INTEGER NOT NULL,
        patient BLOB,
        PRIMARY KEY (client, identifier, since)
    ) WITHOUT ROWID;
    CREATE INDEX variants_due ON variants (due_at) WHERE due_at IS NOT NULL;
";

/// Packages that could not be encrypted.
const FIFTH: &str = "
    -- Whether it could not be made when it was tried last.
    ALTER TABLE variants ADD COLUMN has_failed INTEGER NOT NULL DEFAULT 0;
";

/// What people have decided, and what gateways hold.
const SIXTH: &str = "
    -- A person has said that a device is another gateway's, while this one reports it still.
    CREATE TABLE decided_against (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        gateway TEXT NOT NULL,
        PRIMARY KEY (client, identifier, gateway)
    ) WITHOUT ROWID;
    -- When a gateway was asked what it runs; what it holds of stored data, JSON.
    ALTER TABLE gateways ADD COLUMN inquired_at INTEGER;
    ALTER TABLE gateways ADD COLUMN held BLOB;
";

/// How far each device is with what it is offered.
const OFFERED: &str = "
    -- A device that an offer concerns or concerned. standing: directed, installing, waiting, retrying, installed, failed; ended, where it is given it no
    -- more and has said nothing of it.
    CREATE TABLE offered (
        offer INTEGER NOT NULL,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        path TEXT NOT NULL,
        standing TEXT NOT NULL,
        detail TEXT,
        since INTEGER NOT NULL,
        PRIMARY KEY (offer, client, identifier)
    ) WITHOUT ROWID;
    CREATE INDEX offered_standing ON offered (offer, standing);
    CREATE INDEX offered_device ON offered (client, identifier, path);
    -- What is directed already is written down with the next match.
    UPDATE gateways SET is_due = 1 WHERE reported_at IS NOT NULL;
";

/// How many devices run what.
const RUNS: &str = "
    -- As far as it matters for packages. counter: of the release; 0 where there is none. state: of one of the devices, JSON.
    CREATE TABLE runs (
        manufacturer TEXT NOT NULL,
        client TEXT NOT NULL,
        model TEXT NOT NULL,
        hardware TEXT NOT NULL,
        revision TEXT NOT NULL,
        counter INTEGER NOT NULL,
        state BLOB NOT NULL,
        devices INTEGER NOT NULL,
        PRIMARY KEY (manufacturer, client, model, hardware, revision, counter)
    ) WITHOUT ROWID;
    INSERT INTO runs
        SELECT manufacturer, client, model,
            json_extract(CAST(state AS TEXT), '$.characteristics.hardware') AS hardware,
            json_extract(CAST(state AS TEXT), '$.characteristics.revision') AS revision,
            coalesce(json_extract(CAST(state AS TEXT), '$.release_counter'), 0) AS counter,
            min(state), count(*)
        FROM devices WHERE state IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6;
";

/// What D1 has yet to be told; see `shown`. A row is replaced with each change, so that a number belongs to one change. (An `OR REPLACE` would
/// not do: in a trigger the conflict clause of the statement that fires it counts.)
const SHOWN: &str = "
    CREATE TABLE changed_devices (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        UNIQUE (client, identifier)
    );
    CREATE TRIGGER device_added AFTER INSERT ON devices BEGIN
        DELETE FROM changed_devices WHERE client = new.client AND identifier = new.identifier;
        INSERT INTO changed_devices (client, identifier) VALUES (new.client, new.identifier);
    END;
    CREATE TRIGGER device_changed AFTER UPDATE ON devices BEGIN
        DELETE FROM changed_devices WHERE client = new.client AND identifier = new.identifier;
        INSERT INTO changed_devices (client, identifier) VALUES (new.client, new.identifier);
    END;
    CREATE TRIGGER upload_allowed AFTER INSERT ON uploads_allowed BEGIN
        DELETE FROM changed_devices WHERE client = new.client AND identifier = new.identifier;
        INSERT INTO changed_devices (client, identifier) VALUES (new.client, new.identifier);
    END;
    CREATE TRIGGER upload_forbidden AFTER DELETE ON uploads_allowed BEGIN
        DELETE FROM changed_devices WHERE client = old.client AND identifier = old.identifier;
        INSERT INTO changed_devices (client, identifier) VALUES (old.client, old.identifier);
    END;

    CREATE TABLE changed_manufacturers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        manufacturer TEXT NOT NULL UNIQUE
    );
    CREATE TRIGGER release_published AFTER INSERT ON trusted BEGIN
        DELETE FROM changed_manufacturers WHERE manufacturer = new.manufacturer;
        INSERT INTO changed_manufacturers (manufacturer) VALUES (new.manufacturer);
    END;
    CREATE TRIGGER release_changed AFTER UPDATE ON trusted BEGIN
        DELETE FROM changed_manufacturers WHERE manufacturer = new.manufacturer;
        INSERT INTO changed_manufacturers (manufacturer) VALUES (new.manufacturer);
    END;
    CREATE TRIGGER release_gone AFTER DELETE ON trusted BEGIN
        DELETE FROM changed_manufacturers WHERE manufacturer = old.manufacturer;
        INSERT INTO changed_manufacturers (manufacturer) VALUES (old.manufacturer);
    END;
    CREATE TRIGGER manufacturer_ended AFTER UPDATE OF ended_at ON manufacturers BEGIN
        DELETE FROM changed_manufacturers WHERE manufacturer = new.manufacturer;
        INSERT INTO changed_manufacturers (manufacturer) VALUES (new.manufacturer);
    END;

    -- The mark that D1 carries: as it is known to be, and as the batch under way leaves it. device, manufacturer: the last changes of that batch.
    CREATE TABLE shown (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        confirmed TEXT NOT NULL,
        pending TEXT NOT NULL,
        device INTEGER NOT NULL,
        manufacturer INTEGER NOT NULL
    );
";

/// Which gateways have no rights any more.
const LOST: &str = "
    -- Since when; none as long as it has, or has again.
    ALTER TABLE gateways ADD COLUMN lost_at INTEGER;
";
