//! The tables of the distribution server.

/// The statements that lead from each version to the next.
pub(super) const VERSIONS: [&str; 1] = [FIRST];

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
