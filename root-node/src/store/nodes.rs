//! The nodes that have joined, as far as they outlive the process, and how changes of many things
//! at once are written.

use super::layers::{EPOCH, UPSERT_MARK};
use super::writer::Batch;
use super::{Store, StoreError, stored, unsigned};
use crate::core::adopt::Remembered;
use crate::core::tree::MAX_NODES;
use rusqlite::{Row, TransactionBehavior, params};
use soleil_protocol::message::{Capacity, HostPort};
use soleil_protocol::{Incarnation, NodeId, Role};

/// A row as it lies in the table; what it says is checked behind.
struct Raw {
    id: String,
    role: String,
    key: Vec<u8>,
    wrap_key: Vec<u8>,
    issued: u64,
    server: (Option<String>, Option<u16>),
    media: String,
    http: Option<String>,
    region: String,
    labels: String,
    capacity: Capacity,
    token: String,
    killed: bool,
    serial: u32,
    version: u32,
}

impl Raw {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            role: row.get(1)?,
            key: row.get(2)?,
            wrap_key: row.get(3)?,
            issued: unsigned(row, 4)?,
            server: (row.get(5)?, row.get(6)?),
            media: row.get(7)?,
            http: row.get(8)?,
            region: row.get(9)?,
            labels: row.get(10)?,
            capacity: Capacity {
                children: row.get(11)?,
                viewers: row.get(12)?,
                egress: unsigned(row, 13)?,
            },
            token: row.get(14)?,
            killed: row.get(15)?,
            serial: row.get(16)?,
            version: row.get(17)?,
        })
    }

    fn check(self) -> Result<Remembered, String> {
        let server = match self.server {
            (Some(host), Some(port)) => Some(HostPort { host, port }),
            (None, None) => None,
            _ => return Err("a host without a port, or a port without a host".into()),
        };
        Ok(Remembered {
            id: NodeId::new(&self.id).map_err(|e| e.to_string())?,
            role: match self.role.as_str() {
                "relay" => Role::Relay,
                "leaf" => Role::Leaf,
                other => return Err(format!("there is no role {other:?}")),
            },
            key: self.key.try_into().map_err(|_| "a key's hash has 32 bytes")?,
            wrap_key: self.wrap_key,
            issued: Incarnation(self.issued),
            server,
            media: serde_json::from_str(&self.media).map_err(|e| format!("media: {e}"))?,
            http: self.http,
            region: self.region,
            labels: serde_json::from_str(&self.labels).map_err(|e| format!("labels: {e}"))?,
            capacity: self.capacity,
            token: self.token,
            killed: self.killed,
            serial: self.serial,
            version: self.version,
        })
    }
}

impl Store {
    /// Every node that is remembered.
    ///
    /// # Errors
    /// If the store can't be read, or a row makes no sense: the error names it, and what to do.
    pub fn nodes(&self) -> Result<Vec<Remembered>, StoreError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare(
                "SELECT id, role, key_sha256, wrap_key, issued, server_host, server_port, media,
                    http, region, labels, children, viewers, egress, token, killed,
                    serial, version
                 FROM nodes ORDER BY id LIMIT ?1",
            )
            .map_err(|e| self.fail(e))?;
        let rows = statement
            .query_map([MAX_NODES as i64], |row| Ok((row.get::<_, String>(0), Raw::of(row))))
            .map_err(|e| self.fail(e))?;
        rows.map(|row| {
            let (id, raw) = row.map_err(|e| self.fail(e))?;
            let id = id.map_err(|e| self.fail(e))?;
            raw.map_err(|e| e.to_string()).and_then(Raw::check).map_err(|what| {
                self.damaged(format!(
                    "table nodes, row {id:?}: {what}; without the row the node joins again"
                ))
            })
        })
        .collect()
    }

    /// Writes what has changed, all of it or nothing.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut connection = self.lock();
        let fail = |e| self.fail(e);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        for (id, node) in &batch.nodes {
            match node {
                None => transaction.execute("DELETE FROM nodes WHERE id = ?1", [id.as_str()]),
                Some(node) => transaction.execute(
                    "INSERT OR REPLACE INTO nodes (id, role, key_sha256, wrap_key, issued,
                        server_host, server_port, media, http, region, labels, children, viewers,
                        egress, token, killed, serial, version)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                        ?17, ?18)",
                    params![
                        id.as_str(),
                        node.role.as_str(),
                        node.key.as_slice(),
                        node.wrap_key,
                        stored(node.issued.0),
                        node.server.as_ref().map(|s| &s.host),
                        node.server.as_ref().map(|s| s.port),
                        json(&node.media),
                        node.http,
                        node.region,
                        json(&node.labels),
                        node.capacity.children,
                        node.capacity.viewers,
                        stored(node.capacity.egress),
                        node.token,
                        node.killed,
                        node.serial,
                        node.version,
                    ],
                ),
            }
            .map_err(fail)?;
        }
        for (ssrc, reserved) in &batch.indexes {
            transaction
                .execute(
                    "UPDATE layers SET reserved = max(reserved, ?2) WHERE ssrc = ?1",
                    params![ssrc.0, stored(reserved.0)],
                )
                .map_err(fail)?;
        }
        if let Some(epoch) = batch.epoch {
            transaction.execute(UPSERT_MARK, params![EPOCH, epoch.0]).map_err(fail)?;
        }
        transaction.commit().map_err(fail)
    }
}

/// Addresses and labels are text and can't fail to be written as JSON.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
