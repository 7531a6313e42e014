//! Streams in the store: their numbers, and those that were defined by the API. The number of a stream
//! that is removed is never given again, nor are the SSRCs of its layers by any rule but chance: nodes
//! and viewers who still have the old one must not take another stream for it.

use super::layers::UPSERT_MARK;
use super::{Store, StoreError};
use crate::streams::Definition;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use soleil_protocol::{Millis, PipelineId, Wall};

/// The mark of the highest number that was ever given to a stream.
const NUMBER: &str = "stream";

/// A stream that was defined by the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    /// Its name.
    pub name: String,
    /// What it is.
    pub definition: Definition,
    /// Whether it shall run.
    pub started: bool,
    /// When it was defined.
    pub created: Millis,
}

impl Store {
    /// The number of a stream; it is given at the first call and stays. `wanted` is the number
    /// that the configuration names.
    ///
    /// # Errors
    /// If the store can't be written, or the wanted number is another stream's.
    pub fn stream_id(&self, name: &str, wanted: Option<u32>) -> Result<PipelineId, StoreError> {
        let mut connection = self.lock();
        let transaction = self.begin(&mut connection)?;
        let known: Option<u32> = transaction
            .query_row("SELECT id FROM streams WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(|e| self.fail(e))?;
        let id = match (known, wanted) {
            (Some(known), None) => known,
            (Some(known), Some(wanted)) if known == wanted => known,
            (_, Some(wanted)) => {
                let other: Option<String> = transaction
                    .query_row("SELECT name FROM streams WHERE id = ?1", [wanted], |r| r.get(0))
                    .optional()
                    .map_err(|e| self.fail(e))?;
                if let Some(other) = other {
                    return Err(StoreError::Refused(format!(
                        "stream {name:?} can't have id {wanted}: it is that of stream {other:?}"
                    )));
                }
                set_number(&transaction, name, wanted).map_err(|e| self.fail(e))?;
                wanted
            }
            (None, None) => new_number(&transaction, name).map_err(|e| self.fail(e))?,
        };
        transaction.commit().map_err(|e| self.fail(e))?;
        Ok(PipelineId(id))
    }

    /// Every stream that was defined by the API, by name.
    ///
    /// # Errors
    /// If the store can't be read, or a row makes no sense.
    pub fn defined_streams(&self) -> Result<Vec<Defined>, StoreError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("SELECT name, definition, started, created FROM defined_streams ORDER BY name")
            .map_err(|e| self.fail(e))?;
        let rows = statement
            .query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
            })
            .map_err(|e| self.fail(e))?;
        rows.map(|row| {
            let (name, text, started, created): (String, String, bool, i64) =
                row.map_err(|e| self.fail(e))?;
            let definition = serde_json::from_str(&text).map_err(|error| {
                self.damaged(format!(
                    "table defined_streams, row {name:?}: {error}; without the row the stream can be \
                     defined anew"
                ))
            })?;
            let created = Millis(created.max(0) as u64);
            Ok(Defined { name, definition, started, created })
        })
        .collect()
    }

    /// Keeps a new stream and gives it a number that no stream ever had.
    ///
    /// # Errors
    /// If the store can't be written, or has a stream of this name.
    pub fn define_stream(
        &self,
        now: Wall,
        name: &str,
        definition: &Definition,
        started: bool,
    ) -> Result<PipelineId, StoreError> {
        let mut connection = self.lock();
        let transaction = self.begin(&mut connection)?;
        transaction
            .execute(
                "INSERT INTO defined_streams (name, definition, started, created)
                 VALUES (?1, ?2, ?3, ?4)",
                params![name, json(definition), started, now.millis().0 as i64],
            )
            .map_err(|e| self.fail(e))?;
        // The name may have been that of another stream, of the configuration for example.
        let fresh = || -> rusqlite::Result<u32> {
            transaction.execute("DELETE FROM api_tokens WHERE stream = ?1", [name])?;
            forget(&transaction, name)?;
            new_number(&transaction, name)
        };
        let id = fresh().map_err(|e| self.fail(e))?;
        transaction.commit().map_err(|e| self.fail(e))?;
        Ok(PipelineId(id))
    }

    /// Keeps another definition of a stream. `renumber`: it gets another number, for what viewers and
    /// nodes know of it is true no longer. Gives the number.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn change_stream(
        &self,
        name: &str,
        definition: &Definition,
        renumber: bool,
    ) -> Result<PipelineId, StoreError> {
        let mut connection = self.lock();
        let transaction = self.begin(&mut connection)?;
        transaction
            .execute(
                "UPDATE defined_streams SET definition = ?2 WHERE name = ?1",
                params![name, json(definition)],
            )
            .map_err(|e| self.fail(e))?;
        let id = if renumber {
            forget(&transaction, name).and_then(|()| new_number(&transaction, name))
        } else {
            transaction.query_row("SELECT id FROM streams WHERE name = ?1", [name], |r| r.get(0))
        };
        let id = id.map_err(|e| self.fail(e))?;
        transaction.commit().map_err(|e| self.fail(e))?;
        Ok(PipelineId(id))
    }

    /// Keeps whether a stream shall run; gives what was kept before.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn set_started(&self, name: &str, started: bool) -> Result<bool, StoreError> {
        let mut connection = self.lock();
        let transaction = self.begin(&mut connection)?;
        let set = || -> rusqlite::Result<bool> {
            let before = transaction
                .query_row("SELECT started FROM defined_streams WHERE name = ?1", [name], |r| {
                    r.get(0)
                })
                .optional()?;
            transaction.execute(
                "UPDATE defined_streams SET started = ?2 WHERE name = ?1",
                params![name, started],
            )?;
            Ok(before.unwrap_or(false))
        };
        let before = set().map_err(|e| self.fail(e))?;
        transaction.commit().map_err(|e| self.fail(e))?;
        Ok(before)
    }

    /// Forgets a stream with its number, its layers and its publish tokens.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn remove_stream(&self, name: &str) -> Result<(), StoreError> {
        let mut connection = self.lock();
        let transaction = self.begin(&mut connection)?;
        let gone = || -> rusqlite::Result<()> {
            transaction.execute("DELETE FROM defined_streams WHERE name = ?1", [name])?;
            transaction.execute("DELETE FROM api_tokens WHERE stream = ?1", [name])?;
            forget(&transaction, name)
        };
        gone().map_err(|e| self.fail(e))?;
        transaction.commit().map_err(|e| self.fail(e))
    }

    pub(super) fn begin<'a>(
        &self,
        connection: &'a mut Connection,
    ) -> Result<Transaction<'a>, StoreError> {
        connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| self.fail(e))
    }
}

fn set_number(transaction: &Transaction<'_>, name: &str, id: u32) -> rusqlite::Result<()> {
    transaction
        .execute(
            "INSERT INTO streams (name, id) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET id = excluded.id",
            params![name, id],
        )
        .map(|_| ())
}

/// A number above all that were ever given.
fn new_number(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<u32> {
    let id: u32 = transaction.query_row(
        "SELECT 1 + max((SELECT coalesce(max(id), 0) FROM streams),
                        coalesce((SELECT value FROM marks WHERE name = ?1), 0))",
        [NUMBER],
        |row| row.get(0),
    )?;
    transaction.execute(UPSERT_MARK, params![NUMBER, id])?;
    set_number(transaction, name, id)?;
    Ok(id)
}

/// Nothing has this number or these SSRCs any more.
fn forget(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    let id: Option<u32> = transaction
        .query_row("SELECT id FROM streams WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(()) };
    transaction.execute(UPSERT_MARK, params![NUMBER, id])?;
    transaction.execute("DELETE FROM layers WHERE stream = ?1", [id])?;
    transaction.execute("DELETE FROM streams WHERE id = ?1", [id]).map(|_| ())
}

/// A definition is text and numbers and can't fail to be written as JSON.
fn json(definition: &Definition) -> String {
    serde_json::to_string(definition).unwrap_or_default()
}
