//! Tokens for people and programs: an operator's lets its bearer change things through the API, a
//! publisher's lets him send one stream. They are no join tokens (`tokens`) and lie in another table:
//! neither kind opens what the other does. Secrets are kept as SHA-256 only.

use super::tokens::MAX_LABEL;
use super::{Store, StoreError};
use relay_node::identity::certificate::sha256;
use relay_node::identity::encoding::{base64url, hex, same_secret, unbase64url};
use relay_node::identity::random;
use rusqlite::{OptionalExtension, Row, params};
use soleil_protocol::{Millis, Wall};
use std::fmt;
use std::time::Duration;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Valid tokens of operators, and of publishers of one stream. Whoever needs more should revoke.
pub const MAX_VALID: u32 = 100;
/// Tokens that have expired or were revoked are listed until there are more than these, per stream.
pub const MAX_DEAD: u32 = 100;
/// Bytes of secret: 256 bits, so that a stored SHA-256 of it cannot be searched.
const SECRET_LEN: usize = 32;
/// Bytes of a token's number.
const ID_LEN: usize = 8;
/// Longest text that is looked at as a token, in bytes; ours have 76 at most.
const MAX_TOKEN: usize = 128;

/// What a token lets its bearer do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// Everything that the API offers.
    Operate,
    /// Send this stream.
    Publish(String),
}

impl Right {
    /// `operator` or `publisher`.
    pub fn role(&self) -> &'static str {
        match self {
            Right::Operate => "operator",
            Right::Publish(_) => "publisher",
        }
    }

    /// The stream that it is for.
    pub fn stream(&self) -> Option<&str> {
        match self {
            Right::Operate => None,
            Right::Publish(stream) => Some(stream),
        }
    }

    fn prefix(&self) -> &'static str {
        match self {
            Right::Operate => "soleil1-operator",
            Right::Publish(_) => "soleil1-publisher",
        }
    }
}

/// A token with its secret, as it is shown once: `soleil1-<role>.<id>.<secret>`. The role in it is
/// for people; what counts is what the store has under the id.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ApiToken {
    /// Its number in lists.
    #[zeroize(skip)]
    pub id: String,
    #[zeroize(skip)]
    prefix: &'static str,
    secret: String,
}

impl fmt::Display for ApiToken {
    /// The whole token, secret included: for who made it, never for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.prefix, self.id, self.secret)
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiToken({} {})", self.prefix, self.id)
    }
}

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenRow {
    /// Its number.
    pub id: String,
    /// What it grants.
    pub right: Right,
    /// The operator's words.
    pub label: String,
    /// When it was made.
    pub created: Millis,
    /// When it runs out; `None` means never.
    pub expires: Option<Millis>,
    /// When it was revoked.
    pub revoked: Option<Millis>,
}

impl ApiTokenRow {
    /// `valid`, `expired` or `revoked`.
    pub fn state(&self, now: Wall) -> &'static str {
        match self.check(now) {
            Ok(()) => "valid",
            Err(AccessRefusal::Revoked) => "revoked",
            Err(_) => "expired",
        }
    }

    fn check(&self, now: Wall) -> Result<(), AccessRefusal> {
        if self.revoked.is_some() {
            return Err(AccessRefusal::Revoked);
        }
        if self.expires.is_some_and(|e| now.millis() >= e) {
            return Err(AccessRefusal::Expired);
        }
        Ok(())
    }
}

/// Why a token does not open what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefusal {
    /// No such token, or another secret: which of the two is nobody's business.
    #[error("this token is not known here")]
    Unknown,
    /// A token that lets nodes join.
    #[error("a join token lets a node into the tree and opens nothing here")]
    Join,
    /// Its time has run out.
    #[error("this token has expired")]
    Expired,
    /// An operator took it back.
    #[error("this token has been revoked")]
    Revoked,
    /// It is good, but for something else.
    #[error("this token is good, but not for this")]
    Rights,
    /// The store can't be read.
    #[error("the root can't check tokens at the moment")]
    Unavailable,
}

const COLUMNS: &str = "id, role, stream, label, created, expires, revoked";

impl Store {
    /// Makes a token. Its secret is shown once, in the value returned: only its hash is kept.
    ///
    /// # Errors
    /// If the label is too long, there are too many valid tokens, or the store can't be written.
    pub fn create_api_token(
        &self,
        now: Wall,
        right: &Right,
        lifetime: Option<Duration>,
        label: &str,
    ) -> Result<(ApiToken, ApiTokenRow), StoreError> {
        check_label(label)?;
        let mut secret = random::<SECRET_LEN>()?;
        let id = hex(&random::<ID_LEN>()?);
        let token = ApiToken { id, prefix: right.prefix(), secret: base64url(&secret) };
        secret.zeroize();
        let created = now.millis().0 as i64;
        let expires = lifetime.map(|l| {
            let millis = i64::try_from(l.as_millis()).unwrap_or(i64::MAX);
            created.saturating_add(millis)
        });
        let row = ApiTokenRow {
            id: token.id.clone(),
            right: right.clone(),
            label: label.to_owned(),
            created: millis(created),
            expires: expires.map(millis),
            revoked: None,
        };
        let mut connection = self.lock();
        let transaction = self.begin(&mut connection)?;
        let fail = |e| self.fail(e);
        let valid: u32 = transaction
            .query_row(
                "SELECT count(*) FROM api_tokens WHERE stream IS ?1 AND revoked IS NULL
                 AND (expires IS NULL OR expires > ?2)",
                params![right.stream(), created],
                |row| row.get(0),
            )
            .map_err(fail)?;
        if valid >= MAX_VALID {
            let whose = match right {
                Right::Operate => "operators have".to_owned(),
                Right::Publish(stream) => format!("publishers of stream {stream} have"),
            };
            return Err(StoreError::Refused(format!(
                "{whose} {MAX_VALID} valid tokens already: revoke some that are not needed"
            )));
        }
        transaction
            .execute(
                "INSERT INTO api_tokens (id, role, stream, secret_sha256, label, created, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    token.id,
                    right.role(),
                    right.stream(),
                    sha256(token.secret.as_bytes()).as_slice(),
                    label,
                    created,
                    expires
                ],
            )
            .map_err(fail)?;
        transaction
            .execute(
                "DELETE FROM api_tokens WHERE id IN (
                    SELECT id FROM api_tokens WHERE stream IS ?1
                        AND (revoked IS NOT NULL OR expires <= ?2)
                    ORDER BY created DESC, id LIMIT -1 OFFSET ?3)",
                params![right.stream(), created, MAX_DEAD],
            )
            .map_err(fail)?;
        transaction.commit().map_err(fail)?;
        drop(connection);
        Ok((token, row))
    }

    /// Every token of operators and publishers, the newest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn api_tokens(&self) -> Result<Vec<ApiTokenRow>, StoreError> {
        self.list_api_tokens("TRUE OR ?1", "")
    }

    /// The publish tokens of one stream, the newest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn publish_tokens(&self, stream: &str) -> Result<Vec<ApiTokenRow>, StoreError> {
        self.list_api_tokens("stream = ?1", stream)
    }

    fn list_api_tokens(&self, which: &str, value: &str) -> Result<Vec<ApiTokenRow>, StoreError> {
        let connection = self.lock();
        let query =
            format!("SELECT {COLUMNS} FROM api_tokens WHERE {which} ORDER BY created DESC, id");
        let mut statement = connection.prepare(&query).map_err(|e| self.fail(e))?;
        let rows = statement.query_map([value], read_row).map_err(|e| self.fail(e))?;
        rows.collect::<Result<_, _>>().map_err(|e| self.fail(e))
    }

    /// Takes a token back: of any kind, or of publishers of one stream. Says whether there was one
    /// that was not revoked yet.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn revoke_api_token(
        &self,
        now: Wall,
        id: &str,
        stream: Option<&str>,
    ) -> Result<bool, StoreError> {
        let changed = self
            .lock()
            .execute(
                "UPDATE api_tokens SET revoked = ?1
                 WHERE id = ?2 AND revoked IS NULL AND (?3 IS NULL OR stream = ?3)",
                params![now.millis().0 as i64, id, stream],
            )
            .map_err(|e| self.fail(e))?;
        Ok(changed > 0)
    }

    /// What a token opens.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub fn check_access(&self, now: Wall, token: &str) -> Result<Right, AccessRefusal> {
        let (id, secret) = parse(token)?;
        let query =
            format!("SELECT {COLUMNS}, secret_sha256 FROM api_tokens WHERE id = ?1 LIMIT 1");
        let found = self
            .lock()
            .query_row(&query, [id], |row| Ok((read_row(row)?, row.get::<_, Vec<u8>>(7)?)))
            .optional()
            .map_err(|error| {
                tracing::error!(%error, "cannot check a token");
                AccessRefusal::Unavailable
            })?;
        let (row, stored) = found.ok_or(AccessRefusal::Unknown)?;
        if !same_secret(&stored, &sha256(secret.as_bytes())) {
            return Err(AccessRefusal::Unknown);
        }
        row.check(now)?;
        Ok(row.right)
    }

    /// Whether a token lets its bearer send a stream.
    ///
    /// # Errors
    /// Why not.
    pub fn check_publish(&self, now: Wall, stream: &str, token: &str) -> Result<(), AccessRefusal> {
        match self.check_access(now, token)? {
            Right::Publish(own) if own == stream => Ok(()),
            _ => Err(AccessRefusal::Rights),
        }
    }
}

/// Splits a token; whatever has not the form of one costs no look into the database.
fn parse(token: &str) -> Result<(&str, &str), AccessRefusal> {
    if token.starts_with("soleil1.") {
        return Err(AccessRefusal::Join);
    }
    let parts = || {
        let (kind, rest) = token.split_once('.').filter(|_| token.len() <= MAX_TOKEN)?;
        let (id, secret) = rest.split_once('.')?;
        let known =
            kind == Right::Operate.prefix() || kind == Right::Publish(String::new()).prefix();
        let legal = id.len() == 2 * ID_LEN && id.bytes().all(|b| b.is_ascii_hexdigit());
        let fits = unbase64url(secret).is_some_and(|bytes| bytes.len() == SECRET_LEN);
        (known && legal && fits).then_some((id, secret))
    };
    parts().ok_or(AccessRefusal::Unknown)
}

/// What an operator may write about something.
pub(crate) fn check_label(label: &str) -> Result<(), StoreError> {
    if label.chars().count() > MAX_LABEL || label.chars().any(char::is_control) {
        return Err(StoreError::Refused(format!(
            "a label has at most {MAX_LABEL} printable characters"
        )));
    }
    Ok(())
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<ApiTokenRow> {
    let stream: Option<String> = row.get(2)?;
    Ok(ApiTokenRow {
        id: row.get(0)?,
        // The table's CHECK ties the two together.
        right: stream.map_or(Right::Operate, Right::Publish),
        label: row.get(3)?,
        created: millis(row.get(4)?),
        expires: row.get::<_, Option<i64>>(5)?.map(millis),
        revoked: row.get::<_, Option<i64>>(6)?.map(millis),
    })
}

fn millis(value: i64) -> Millis {
    Millis(value.max(0) as u64)
}
