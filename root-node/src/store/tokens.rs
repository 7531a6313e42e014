//! Join tokens in the store: made and revoked by the CLI, checked while the server runs.

use super::{Store, StoreError};
use relay_node::identity::{self, JoinToken};
use rusqlite::{OptionalExtension, params};
use soleil_protocol::{Millis, Role, Wall};
use std::time::Duration;

/// Longest label of a token, in characters.
pub const MAX_LABEL: usize = 100;
/// How many tokens may be kept. Whoever needs more should revoke: each one is a way in.
pub const MAX_TOKENS: u32 = 10_000;

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number.
    pub id: String,
    /// What it grants.
    pub role: Role,
    /// The operator's words.
    pub label: String,
    /// When it was made.
    pub created: Millis,
    /// When it runs out; `None` means never.
    pub expires: Option<Millis>,
    /// When it was revoked.
    pub revoked: Option<Millis>,
}

impl TokenRow {
    /// `valid`, `expired` or `revoked`.
    pub fn state(&self, now: Wall) -> &'static str {
        if self.revoked.is_some() {
            "revoked"
        } else if self.expires.is_some_and(|e| now.millis() >= e) {
            "expired"
        } else {
            "valid"
        }
    }
}

/// Why a token does not let a node in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No such token, or another secret: which of the two is nobody's business.
    #[error("this join token is not known here")]
    Unknown,
    /// Its time has run out.
    #[error("this join token has expired: make a new one with `root-node token create`")]
    Expired,
    /// An operator took it back.
    #[error("this join token has been revoked")]
    Revoked,
    /// The store can't be read.
    #[error("the root can't check join tokens at the moment")]
    Unavailable,
}

impl Store {
    /// Makes a join token. Its secret is shown once, in the value returned: only its hash is kept.
    ///
    /// # Errors
    /// If the label is too long, there are too many tokens, or the store can't be written.
    pub fn create_token(
        &self,
        now: Wall,
        role: Role,
        lifetime: Option<Duration>,
        label: &str,
    ) -> Result<JoinToken, StoreError> {
        if label.chars().count() > MAX_LABEL || label.chars().any(char::is_control) {
            return Err(StoreError::Refused(format!(
                "a label has at most {MAX_LABEL} printable characters"
            )));
        }
        let authority = self.keys(now)?.authority.fingerprint();
        let token = JoinToken::generate(role, authority)?;
        let created = now.millis().0 as i64;
        let expires = lifetime.map(|l| {
            let millis = i64::try_from(l.as_millis()).unwrap_or(i64::MAX);
            created.saturating_add(millis)
        });
        let connection = self.lock();
        let count: u32 = connection
            .query_row("SELECT count(*) FROM tokens", [], |row| row.get(0))
            .map_err(|e| self.fail(e))?;
        if count >= MAX_TOKENS {
            return Err(StoreError::Refused(format!(
                "there are {MAX_TOKENS} tokens already: revoke some that are not needed"
            )));
        }
        connection
            .execute(
                "INSERT INTO tokens (id, role, secret_sha256, label, created, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    token.id,
                    role.as_str(),
                    hash(token.secret()).as_slice(),
                    label,
                    created,
                    expires
                ],
            )
            .map_err(|e| self.fail(e))?;
        Ok(token)
    }

    /// Every token, the newest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare(
                "SELECT id, role, label, created, expires, revoked FROM tokens
                 ORDER BY created DESC, id",
            )
            .map_err(|e| self.fail(e))?;
        let millis = |v: i64| Millis(v.max(0) as u64);
        let rows = statement
            .query_map([], |row| {
                Ok(TokenRow {
                    id: row.get(0)?,
                    // The table's CHECK lets no other role in.
                    role: row.get::<_, String>(1)?.parse().unwrap_or(Role::Leaf),
                    label: row.get(2)?,
                    created: millis(row.get(3)?),
                    expires: row.get::<_, Option<i64>>(4)?.map(millis),
                    revoked: row.get::<_, Option<i64>>(5)?.map(millis),
                })
            })
            .map_err(|e| self.fail(e))?;
        rows.collect::<Result<_, _>>().map_err(|e| self.fail(e))
    }

    /// Takes a token back. Says whether there was one that was not revoked yet.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn revoke_token(&self, now: Wall, id: &str) -> Result<bool, StoreError> {
        let changed = self
            .lock()
            .execute(
                "UPDATE tokens SET revoked = ?1 WHERE id = ?2 AND revoked IS NULL",
                params![now.millis().0 as i64, id],
            )
            .map_err(|e| self.fail(e))?;
        Ok(changed > 0)
    }

    /// Whether a token is there and was not revoked. One that has expired stands: who came by it
    /// stays. A store that can't be read revokes nothing.
    pub fn token_stands(&self, id: &str) -> bool {
        let query = "SELECT revoked IS NULL FROM tokens WHERE id = ?1";
        match self.lock().query_row(query, [id], |row| row.get(0)).optional() {
            Ok(stands) => stands.unwrap_or(false),
            Err(error) => {
                tracing::error!(%error, "cannot look up a join token");
                true
            }
        }
    }

    /// Whether a token lets a node in, and as what.
    ///
    /// # Errors
    /// Why not.
    pub fn check_token(&self, now: Wall, id: &str, secret: &str) -> Result<Role, TokenRefusal> {
        let found = self
            .lock()
            .query_row(
                "SELECT role, secret_sha256, expires, revoked FROM tokens WHERE id = ?1",
                [id],
                |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, Vec<u8>>(1)?,
                        row.get::<_, Option<i64>>(2)?,
                        row.get::<_, Option<i64>>(3)?,
                    ))
                },
            )
            .optional()
            .map_err(|error| {
                tracing::error!(%error, "cannot check a join token");
                TokenRefusal::Unavailable
            })?;
        let (role, stored, expires, revoked) = found.ok_or(TokenRefusal::Unknown)?;
        if !identity::encoding::same_secret(&stored, &hash(secret)) {
            return Err(TokenRefusal::Unknown);
        }
        if revoked.is_some() {
            return Err(TokenRefusal::Revoked);
        }
        if expires.is_some_and(|e| now.millis().0 as i64 >= e) {
            return Err(TokenRefusal::Expired);
        }
        role.parse().map_err(|_| TokenRefusal::Unknown)
    }
}

fn hash(secret: &str) -> [u8; 32] {
    identity::certificate::sha256(secret.as_bytes())
}
