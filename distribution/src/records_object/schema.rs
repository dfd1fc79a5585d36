//! The tables of stored data. A device stands as `<client>/<identifier>`, a chain in hexadecimal.

/// The statements that lead from each version to the next.
pub(super) const VERSIONS: [&str; 1] = ["
    -- chains: what is known of the device's chains; records and set_aside are counted from it. late: records that came too late for some rules.
    CREATE TABLE devices (
        device TEXT PRIMARY KEY,
        chains BLOB NOT NULL,
        records INTEGER NOT NULL,
        set_aside INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        gateway TEXT NOT NULL,
        late INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX devices_by_gateway ON devices (gateway, received_at);

    -- Batches as they were signed. standing, reason: what could be said of what came before; none where it followed.
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        device TEXT NOT NULL,
        chain TEXT NOT NULL,
        first INTEGER NOT NULL,
        stored BLOB NOT NULL,
        bytes BLOB NOT NULL,
        gateway TEXT NOT NULL,
        received_at INTEGER NOT NULL,
        standing TEXT,
        reason TEXT,
        UNIQUE (device, chain, first)
    );
    CREATE INDEX batches_told ON batches (device, id) WHERE standing IS NOT NULL;

    -- What counts. The positions have no gaps. amount: billionths in the unit of the series; none where it is no number.
    CREATE TABLE records (
        position INTEGER PRIMARY KEY,
        device TEXT NOT NULL,
        chain TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        at INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        series TEXT NOT NULL,
        amount TEXT,
        record BLOB NOT NULL
    );
    CREATE INDEX records_of_device ON records (device, position);
    CREATE INDEX records_in_series ON records (device, series, position);
    CREATE INDEX records_of_series ON records (device, series, at, position) WHERE amount IS NOT NULL;
    CREATE INDEX records_of_answers ON records (device, series, at, position) WHERE amount IS NULL;
    -- What a device has measured and asked.
    CREATE TABLE series (
        device TEXT NOT NULL,
        series TEXT NOT NULL,
        count INTEGER NOT NULL,
        numbers INTEGER NOT NULL,
        first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        PRIMARY KEY (device, series)
    ) WITHOUT ROWID;

    CREATE TABLE set_aside (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        device TEXT NOT NULL,
        chain TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        step TEXT NOT NULL,
        record BLOB NOT NULL
    );
    CREATE INDEX set_aside_of_device ON set_aside (device, id);

    CREATE TABLE refused (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        gateway TEXT NOT NULL,
        device TEXT,
        step TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    -- What waits for records before it. conceded: a person has said that those before this number do not come.
    CREATE TABLE gaps (
        device TEXT NOT NULL,
        chain TEXT NOT NULL,
        expected INTEGER NOT NULL,
        found INTEGER NOT NULL,
        gateway TEXT NOT NULL,
        at INTEGER NOT NULL,
        conceded_by TEXT,
        conceded INTEGER,
        PRIMARY KEY (device, chain)
    ) WITHOUT ROWID;

    -- What each rule remembers of a patient (hexadecimal; an empty text: nobody knows which). used: rises with each use.
    CREATE TABLE evaluations (
        device TEXT NOT NULL,
        rule TEXT NOT NULL,
        patient TEXT NOT NULL,
        used INTEGER NOT NULL,
        state BLOB NOT NULL,
        PRIMARY KEY (device, rule, patient)
    ) WITHOUT ROWID;
    CREATE INDEX evaluations_used ON evaluations (device, used);
    CREATE TABLE rules (
        version INTEGER PRIMARY KEY,
        text TEXT NOT NULL,
        changed_at INTEGER NOT NULL,
        changed_by TEXT NOT NULL
    );
    -- What the newest version of each rule means that ever was in force: SHA-256.
    CREATE TABLE rule_versions (
        rule TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        meaning BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE flags (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        device TEXT NOT NULL,
        flag TEXT NOT NULL,
        series TEXT NOT NULL,
        english TEXT NOT NULL,
        german TEXT NOT NULL,
        record BLOB NOT NULL,
        raised_at INTEGER NOT NULL,
        acknowledged_at INTEGER,
        acknowledged_by TEXT,
        withdrawn_at INTEGER,
        UNIQUE (device, flag)
    );
    CREATE INDEX flags_of_device ON flags (device, id);
    CREATE INDEX flags_open ON flags (id) WHERE acknowledged_at IS NULL AND withdrawn_at IS NULL;
    CREATE INDEX flags_open_of_device ON flags (device, id) WHERE acknowledged_at IS NULL AND withdrawn_at IS NULL;

    -- When the server asks by itself, and when it did last.
    CREATE TABLE asking (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        every_minutes INTEGER,
        asked_at INTEGER NOT NULL
    );
    -- Whom it has yet to ask: for a device, or for everything (an empty text). What is asked for again has a new number.
    -- is_due: nobody knows yet whether the gateway is connected; the others are asked when they connect.
    CREATE TABLE asks (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        gateway TEXT NOT NULL,
        device TEXT NOT NULL,
        since INTEGER NOT NULL,
        is_due INTEGER NOT NULL,
        UNIQUE (gateway, device)
    );
    CREATE INDEX asks_due ON asks (number) WHERE is_due = 1;

    -- Services that send stored data on, and the position that each has said that it has come to.
    CREATE TABLE outlets (service TEXT PRIMARY KEY, confirmed INTEGER NOT NULL, asked_at INTEGER NOT NULL) WITHOUT ROWID;

    -- Acts that the site has not written into its audit log.
    CREATE TABLE notes (number INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
"];
