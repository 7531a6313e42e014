//! What the root remembers: an SQLite database in its data directory. It holds the CA's and the
//! ticket key, tokens (their secrets as SHA-256 only), the streams that were defined by the API (with
//! the secrets of their sources sealed), the
//! numbers of streams and of their layers, and the nodes that have joined, so that a root that starts again finds its tree. The CLI
//! opens it while the server runs (WAL), so tokens can be made and revoked at any time. Pipeline
//! keys are never stored (DESIGN 3).

pub mod access;
pub mod layers;
mod migrations;
mod nodes;
mod sealed;
mod streams;
#[cfg(test)]
mod tests;
mod tokens;
pub mod writer;

pub use streams::Defined;
pub use tokens::{MAX_LABEL, MAX_TOKENS, TokenRefusal, TokenRow};

use relay_node::identity::{self, SigningKey};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use soleil_protocol::Wall;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The database's name in the data directory.
pub const FILE: &str = "root.db";
/// How long one process waits for another's write. Writes take milliseconds; a backup tool that
/// holds the lock takes longer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("the database {path}: {source}")]
    Database {
        /// Its path.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The data directory or a file in it.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It was written by a later version.
    #[error("the database {0} was written by a later version of root-node")]
    TooNew(PathBuf),
    /// Something in it makes no sense.
    #[error("the database {path} is damaged: {what}")]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// Which row of which table, and what is wrong with it.
        what: String,
    },
    /// Keys and certificates.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// A request that can't be met.
    #[error("{0}")]
    Refused(String),
}

/// The keys that make this root what it is.
pub struct Keys {
    /// The CA.
    pub authority: identity::Authority,
    /// Signs link tickets and play tickets.
    pub tickets: SigningKey,
}

/// The open store.
pub struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

impl Store {
    /// Opens the database in a directory; makes both, readable by their owner only.
    ///
    /// # Errors
    /// If directory or database can't be used, or the database is of a later version.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        make_private_dir(dir)?;
        let path = dir.join(FILE);
        make_private_file(&path)?;
        let fail = |source| StoreError::Database { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(fail)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
        // WAL: the CLI writes while the server reads. FULL: a revoked token stays revoked even
        // if the machine loses power in the next second.
        connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(fail)?;
        if !migrations::run(&mut connection).map_err(fail)? {
            return Err(StoreError::TooNew(path));
        }
        Ok(Store { path, connection: Mutex::new(connection) })
    }

    /// The CA and the ticket key; made at the first call ever.
    ///
    /// # Errors
    /// If the store can't be used, or what is in it is damaged.
    pub fn keys(&self, now: Wall) -> Result<Keys, StoreError> {
        let mut connection = self.lock();
        // Immediate: two processes that start at the same time must not make two CAs.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| self.fail(e))?;
        let read = |name: &str| -> Result<Option<Vec<u8>>, StoreError> {
            transaction
                .query_row("SELECT value FROM secrets WHERE name = ?1", [name], |row| row.get(0))
                .optional()
                .map_err(|e| self.fail(e))
        };
        let write = |name: &str, value: &[u8]| -> Result<(), StoreError> {
            transaction
                .execute("INSERT INTO secrets (name, value) VALUES (?1, ?2)", params![name, value])
                .map(|_| ())
                .map_err(|e| self.fail(e))
        };
        let authority = match (read("ca_certificate")?, read("ca_key")?) {
            (Some(certificate), Some(key)) => identity::Authority::load(&certificate, &key)?,
            _ => {
                let authority = identity::Authority::create(now)?;
                write("ca_certificate", authority.certificate())?;
                write("ca_key", &authority.key_pkcs8())?;
                authority
            }
        };
        let tickets = match read("ticket_key")? {
            Some(key) => SigningKey::from_pkcs8(&key)?,
            None => {
                let key = SigningKey::generate()?;
                write("ticket_key", key.pkcs8())?;
                key
            }
        };
        transaction.commit().map_err(|e| self.fail(e))?;
        Ok(Keys { authority, tickets })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held rolled its transaction back: the connection is good.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: what.into() }
    }

    fn fail(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Database { path: self.path.clone(), source }
    }
}

/// SQLite's integers have a sign; numbers as large as that are nobody's real ones.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column that is never negative.
fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn make_private_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|source| StoreError::File { path: dir.into(), source })
}

/// SQLite gives its journal files the mode of the database.
fn make_private_file(path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::File { path: path.into(), source };
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(fail)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = file.metadata().map_err(fail)?.permissions();
        if permissions.mode() & 0o077 != 0 {
            permissions.set_mode(0o600);
            file.set_permissions(permissions).map_err(fail)?;
        }
    }
    Ok(())
}
