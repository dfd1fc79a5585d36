//! The tables of one gateway.

/// The statements that lead from each version to the next.
pub(super) const VERSIONS: [&str; 1] = ["
    CREATE TABLE gateway (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        device TEXT NOT NULL,
        directive INTEGER NOT NULL DEFAULT 0,
        -- The SHA-256 of the ticket that its polls show.
        ticket BLOB,
        ticket_ends INTEGER NOT NULL DEFAULT 0
    );
    -- The director's repository: root, and the newest version of the other files with the one before.
    CREATE TABLE files (name TEXT PRIMARY KEY, version INTEGER, bytes BLOB NOT NULL) WITHOUT ROWID;
"];
