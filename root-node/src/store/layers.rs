//! What a stream's layers are known by across starts: their SSRCs, the indexes that may have been
//! used, and the number of the last key epoch. Nodes keep rings and replay windows while the root is
//! away, so a layer goes on above everything that it may have sent.

use super::{Store, StoreError, stored, unsigned};
use crate::ingest::LayerStart;
use relay_node::media::sizes::INDEX_LEAP;
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use soleil_protocol::pipeline::Codec;
use soleil_protocol::{Epoch, PacketIndex, PipelineId, Ssrc, Wall};

/// Indexes that a second of wall-clock time stands for: more packets than a layer has in one (150
/// Mbit/s). So the clock alone keeps the indexes of two starts apart, and what is stored does too:
/// one of the two is enough, be it a clock that was set back or a database out of a backup.
const INDEXES_PER_SECOND: u64 = 1 << 14;
/// No layer gets as far within centuries; behind it there is still half of all indexes.
const MAX_RESERVED: u64 = 1 << 47;
/// The mark of the last key epoch.
pub(super) const EPOCH: &str = "epoch";

/// One layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerName<'a> {
    /// Its stream.
    pub stream: PipelineId,
    /// The track's name.
    pub track: &'a str,
    /// Its number within the track.
    pub layer: usize,
    /// The codec: with another one it is another source, with an SSRC of its own.
    pub codec: Codec,
}

impl Store {
    /// What a layer begins with at this start: the SSRC that it always has, and an index above all
    /// that it may have used, by at least [`INDEX_LEAP`]. `random` gives new SSRCs.
    ///
    /// # Errors
    /// If the store can't be read or written, or what it has makes no sense.
    pub fn layer(
        &self,
        now: Wall,
        name: LayerName<'_>,
        random: &mut dyn FnMut() -> u32,
    ) -> Result<LayerStart, StoreError> {
        let LayerName { stream, track, layer, codec } = name;
        let place = params![stream.0, track, layer as i64];
        let mut connection = self.lock();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| self.fail(e))?;
        let known: Option<(u32, String, u64)> = transaction
            .query_row(
                "SELECT ssrc, codec, reserved FROM layers
                 WHERE stream = ?1 AND track = ?2 AND layer = ?3",
                place,
                |row| Ok((row.get(0)?, row.get(1)?, unsigned(row, 2)?)),
            )
            .optional()
            .map_err(|e| self.fail(e))?;
        let (ssrc, reserved) = match known {
            Some((_, _, reserved)) if reserved > MAX_RESERVED => {
                return Err(self.damaged(format!(
                    "table layers: layer {layer} of track {track:?} has used {reserved} indexes, \
                     which can't be; without the row it begins anew"
                )));
            }
            Some((ssrc, was, reserved)) if was == codec.name() => (ssrc, Some(reserved)),
            _ => loop {
                let ssrc = random();
                let taken: bool = transaction
                    .query_row(
                        "SELECT EXISTS (SELECT 1 FROM layers WHERE ssrc = ?1)",
                        [ssrc],
                        |r| r.get(0),
                    )
                    .map_err(|e| self.fail(e))?;
                if ssrc != 0 && !taken {
                    break (ssrc, None);
                }
            },
        };
        let by_clock = (now.0 / 1_000_000).saturating_mul(INDEXES_PER_SECOND).min(MAX_RESERVED / 2);
        let index = by_clock.max(reserved.map_or(0, |reserved| reserved + INDEX_LEAP));
        let reserved = index + INDEX_LEAP;
        transaction
            .execute(
                "INSERT INTO layers (stream, track, layer, codec, ssrc, reserved)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (stream, track, layer) DO UPDATE SET
                    codec = excluded.codec, ssrc = excluded.ssrc, reserved = excluded.reserved",
                params![stream.0, track, layer as i64, codec.name(), ssrc, stored(reserved)],
            )
            .map_err(|e| self.fail(e))?;
        transaction.commit().map_err(|e| self.fail(e))?;
        Ok(LayerStart {
            ssrc: Ssrc(ssrc),
            index: PacketIndex(index),
            reserved: PacketIndex(reserved),
        })
    }

    /// The first key epoch of this start: none before had its number, wherever the clock stands,
    /// so that no node takes a new key for one that it has.
    ///
    /// # Errors
    /// If the store can't be read or written, or epochs are used up.
    pub fn first_epoch(&self, now: Wall) -> Result<Epoch, StoreError> {
        let mut connection = self.lock();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| self.fail(e))?;
        let last: Option<u64> = transaction
            .query_row("SELECT value FROM marks WHERE name = ?1", [EPOCH], |row| unsigned(row, 0))
            .optional()
            .map_err(|e| self.fail(e))?;
        let seconds = now.0 / 1_000_000;
        let epoch = u32::try_from(seconds.max(last.map_or(0, |last| last.saturating_add(1))));
        let Ok(epoch) = epoch else {
            return Err(self.damaged(format!("table marks: epoch {last:?} is beyond all epochs")));
        };
        transaction.execute(UPSERT_MARK, params![EPOCH, epoch]).map_err(|e| self.fail(e))?;
        transaction.commit().map_err(|e| self.fail(e))?;
        Ok(Epoch(epoch))
    }
}

/// Writes a mark, which only rises.
pub(super) const UPSERT_MARK: &str = "INSERT INTO marks (name, value) VALUES (?1, ?2)
     ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)";
