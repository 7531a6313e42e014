//! The schema, step by step. A step that has been released is never changed: add another one.

use rusqlite::{Connection, TransactionBehavior};

/// Each step and what it is for.
const STEPS: &[(&str, &str)] = &[(
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
)];

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
