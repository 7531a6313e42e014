//! Opened packets on their way from the media thread to a worker: whole batches through a bounded
//! queue, one wake-up a batch, buffers that come back. A worker that falls behind loses batches
//! (counted), never holds the media thread up.

use crate::metrics::Metrics;
use relay_node::io::udp::Waker;
use relay_node::media::api::{FrameMarks, LocalPacket, LocalSink};
use soleil_protocol::{PacketIndex, PipelineId, Ssrc};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

/// Batches under way: at 30 frames a second and some batches a frame over a second of video; a
/// worker that is later than that serves nobody.
pub const MAX_BATCHES: usize = 256;

/// A packet's numbers; its payload lies in the batch.
#[derive(Debug, Clone, Copy)]
struct Entry {
    pipeline: PipelineId,
    ssrc: Ssrc,
    index: PacketIndex,
    timestamp: u32,
    marker: bool,
    payload_type: u8,
    capture: u64,
    marks: FrameMarks,
    start: usize,
    end: usize,
}

/// Packets of one receive.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Batch {
    fn push(&mut self, p: LocalPacket<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(p.payload);
        self.entries.push(Entry {
            pipeline: p.pipeline,
            ssrc: p.ssrc,
            index: p.index,
            timestamp: p.timestamp,
            marker: p.marker,
            payload_type: p.payload_type,
            capture: p.capture,
            marks: p.marks,
            start,
            end: self.bytes.len(),
        });
    }

    /// The packets, in order of arrival.
    pub(super) fn packets(&self) -> impl Iterator<Item = LocalPacket<'_>> {
        self.entries.iter().map(|e| LocalPacket {
            pipeline: e.pipeline,
            ssrc: e.ssrc,
            index: e.index,
            timestamp: e.timestamp,
            marker: e.marker,
            payload_type: e.payload_type,
            capture: e.capture,
            marks: e.marks,
            payload: self.bytes.get(e.start..e.end).unwrap_or_default(),
        })
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }
}

/// The media thread's end. Later, with several workers, it has one outlet for each.
pub struct LeafSink {
    current: Batch,
    full: SyncSender<Batch>,
    spare: Receiver<Batch>,
    waker: Waker,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for LeafSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeafSink(..)")
    }
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Inlet {
    full: Receiver<Batch>,
    spare: Sender<Batch>,
}

/// Both ends of a queue; `waker` wakes the worker; packets that find it full are counted.
pub(super) fn queue(waker: Waker, metrics: Arc<Metrics>) -> (LeafSink, Inlet) {
    let (full_tx, full_rx) = sync_channel(MAX_BATCHES);
    let (spare_tx, spare_rx) = channel();
    let sink =
        LeafSink { current: Batch::default(), full: full_tx, spare: spare_rx, waker, metrics };
    (sink, Inlet { full: full_rx, spare: spare_tx })
}

impl Inlet {
    /// The next batch, if there is one.
    pub(super) fn next(&self) -> Option<Batch> {
        self.full.try_recv().ok()
    }

    /// Gives a batch's buffers back.
    pub(super) fn recycle(&self, mut batch: Batch) {
        batch.clear();
        // A media thread that is gone needs none.
        let _ = self.spare.send(batch);
    }
}

impl LocalSink for LeafSink {
    fn deliver(&mut self, packet: LocalPacket<'_>) {
        self.current.push(packet);
    }

    fn flush(&mut self) {
        if self.current.entries.is_empty() {
            return;
        }
        let next = self.spare.try_recv().unwrap_or_default();
        let batch = std::mem::replace(&mut self.current, next);
        match self.full.try_send(batch) {
            Ok(()) => self.waker.wake(),
            Err(TrySendError::Full(mut batch) | TrySendError::Disconnected(mut batch)) => {
                self.metrics.overruns.add(batch.entries.len() as u64);
                batch.clear();
                self.current = batch;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(index: u64) -> LocalPacket<'static> {
        LocalPacket {
            pipeline: PipelineId(1),
            ssrc: Ssrc(2),
            index: PacketIndex(index),
            timestamp: 3,
            marker: true,
            payload_type: 96,
            capture: 4,
            marks: FrameMarks(FrameMarks::KEY_START),
            payload: b"payload",
        }
    }

    #[test]
    fn batches_arrive_whole_and_in_order() {
        let (mut sink, inlet) = queue(Waker::new().unwrap(), Arc::default());
        sink.flush();
        assert!(inlet.next().is_none(), "nothing, no batch");
        sink.deliver(packet(1));
        sink.deliver(packet(2));
        sink.flush();
        sink.deliver(packet(3));
        sink.flush();
        let batch = inlet.next().unwrap();
        let seen: Vec<_> = batch.packets().map(|p| (p.index.0, p.payload.to_vec())).collect();
        assert_eq!(seen, vec![(1, b"payload".to_vec()), (2, b"payload".to_vec())]);
        inlet.recycle(batch);
        let third = inlet.next().unwrap();
        assert!(third.packets().all(|p| p.marks.key_start() && p.index.0 == 3));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let metrics = Arc::<Metrics>::default();
        let (mut sink, inlet) = queue(Waker::new().unwrap(), metrics.clone());
        for i in 0..MAX_BATCHES as u64 + 3 {
            sink.deliver(packet(i));
            sink.flush();
        }
        assert_eq!(metrics.overruns.get(), 3);
        let mut n = 0;
        while inlet.next().is_some() {
            n += 1;
        }
        assert_eq!(n, MAX_BATCHES);
    }
}
