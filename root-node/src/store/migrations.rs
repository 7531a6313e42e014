//! The schema, step by step. A step that has been released is never changed: add another one.

use rusqlite::{Connection, TransactionBehavior};

/// Each step and what it is for.
pub(super) const STEPS: &[(&str, &str)] = &[
    (
        "tokens, keys and streams",
        "CREATE TABLE tokens (
        id TEXT PRIMARY KEY NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('relay', 'leaf')),
        secret_sha256 BLOB NOT NULL CHECK (length(secret_sha256) = 32),
        label TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER,
        revoked INTEGER
    ) STRICT;
    CREATE TABLE secrets (
        name TEXT PRIMARY KEY NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE streams (
        name TEXT PRIMARY KEY NOT NULL,
        id INTEGER NOT NULL UNIQUE CHECK (id BETWEEN 1 AND 4294967295)
    ) STRICT;",
    ),
    (
        "nodes, layers and epochs, so that a root that starts again finds its tree",
        "CREATE TABLE nodes (
            id TEXT PRIMARY KEY NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('relay', 'leaf')),
            key_sha256 BLOB NOT NULL CHECK (length(key_sha256) = 32),
            wrap_key BLOB NOT NULL CHECK (length(wrap_key) = 32),
            issued INTEGER NOT NULL CHECK (issued >= 0),
            server_host TEXT,
            server_port INTEGER CHECK (server_port BETWEEN 0 AND 65535),
            media TEXT NOT NULL,
            http TEXT,
            region TEXT NOT NULL,
            labels TEXT NOT NULL,
            children INTEGER NOT NULL CHECK (children BETWEEN 0 AND 4294967295),
            viewers INTEGER NOT NULL CHECK (viewers BETWEEN 0 AND 4294967295),
            egress INTEGER NOT NULL CHECK (egress >= 0),
            token TEXT NOT NULL,
            killed INTEGER NOT NULL CHECK (killed IN (0, 1))
        ) STRICT;
        CREATE TABLE layers (
            stream INTEGER NOT NULL,
            track TEXT NOT NULL,
            layer INTEGER NOT NULL,
            codec TEXT NOT NULL,
            ssrc INTEGER NOT NULL UNIQUE CHECK (ssrc BETWEEN 1 AND 4294967295),
            reserved INTEGER NOT NULL CHECK (reserved >= 0),
            PRIMARY KEY (stream, track, layer)
        ) STRICT;
        CREATE TABLE marks (
            name TEXT PRIMARY KEY NOT NULL,
            value INTEGER NOT NULL CHECK (value >= 0)
        ) STRICT;",
    ),
    (
        "numbers of nodes in ranks, so that tickets of backups outlive the root; 0: none yet",
        "ALTER TABLE nodes ADD COLUMN serial INTEGER NOT NULL DEFAULT 0
            CHECK (serial BETWEEN 0 AND 4294967295);",
    ),
    (
        "the version of the protocol that a node speaks; those of before it was asked for: the first",
        "ALTER TABLE nodes ADD COLUMN version INTEGER NOT NULL DEFAULT 1
            CHECK (version BETWEEN 0 AND 4294967295);",
    ),
    (
        "streams that are defined at run time, and tokens of operators and publishers",
        "CREATE TABLE defined_streams (
            name TEXT PRIMARY KEY NOT NULL,
            definition TEXT NOT NULL,
            started INTEGER NOT NULL CHECK (started IN (0, 1)),
            created INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE api_tokens (
            id TEXT PRIMARY KEY NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('operator', 'publisher')),
            stream TEXT,
            secret_sha256 BLOB NOT NULL CHECK (length(secret_sha256) = 32),
            label TEXT NOT NULL,
            created INTEGER NOT NULL,
            expires INTEGER,
            revoked INTEGER,
            CHECK ((role = 'publisher') = (stream IS NOT NULL))
        ) STRICT;
        CREATE INDEX api_tokens_of_a_stream ON api_tokens (stream);",
    ),
];

/// Brings the schema up to date. `false`: it is of a later version than this program.
pub fn run(connection: &mut Connection) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
            version INTEGER PRIMARY KEY NOT NULL,
            name TEXT NOT NULL
        ) STRICT;",
    )?;
    let done: u32 =
        transaction
            .query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))?;
    if done > STEPS.len() as u32 {
        return Ok(false);
    }
    for (version, (name, sql)) in (1u32..).zip(STEPS).skip(done as usize) {
        transaction.execute_batch(sql)?;
        transaction.execute(
            "INSERT INTO migrations (version, name) VALUES (?1, ?2)",
            rusqlite::params![version, name],
        )?;
    }
    transaction.commit()?;
    Ok(true)
}
