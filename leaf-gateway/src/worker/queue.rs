//! Opened packets on their way from the media thread to the workers: whole batches through bounded
//! queues, one wake-up a batch and worker, buffers that come back. A packet is opened and copied once,
//! however many workers there are: they read the same batch, and each copies it into its own rings. A
//! worker that falls behind loses batches (counted), never holds the media thread up.

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

/// The way to one worker.
struct Outlet {
    full: SyncSender<Arc<Batch>>,
    waker: Waker,
}

/// The media thread's end, with an outlet for each worker.
pub struct LeafSink {
    current: Batch,
    outlets: Vec<Outlet>,
    spare: Receiver<Batch>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for LeafSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeafSink({} outlets)", self.outlets.len())
    }
}

/// A worker's end.
#[derive(Debug)]
pub(super) struct Inlet {
    full: Receiver<Arc<Batch>>,
    spare: Sender<Batch>,
}

/// The media thread's end, and one for each worker, which its waker wakes. Packets that find a
/// queue full are counted, for each worker that does not get them.
pub(super) fn queue(wakers: &[Waker], metrics: Arc<Metrics>) -> (LeafSink, Vec<Inlet>) {
    let (spare_tx, spare) = channel();
    let (outlets, inlets) = wakers
        .iter()
        .map(|waker| {
            let (tx, rx) = sync_channel(MAX_BATCHES);
            let outlet = Outlet { full: tx, waker: waker.clone() };
            (outlet, Inlet { full: rx, spare: spare_tx.clone() })
        })
        .unzip();
    (LeafSink { current: Batch::default(), outlets, spare, metrics }, inlets)
}

impl Inlet {
    /// The next batch, if there is one.
    pub(super) fn next(&self) -> Option<Arc<Batch>> {
        self.full.try_recv().ok()
    }

    /// A batch is done with; the last worker that says so gives its buffers back.
    pub(super) fn recycle(&self, batch: Arc<Batch>) {
        if let Some(mut batch) = Arc::into_inner(batch) {
            batch.clear();
            // A media thread that is gone needs none.
            let _ = self.spare.send(batch);
        }
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
        let batch = Arc::new(std::mem::replace(&mut self.current, next));
        for outlet in &self.outlets {
            match outlet.full.try_send(batch.clone()) {
                Ok(()) => outlet.waker.wake(),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    self.metrics.overruns.add(batch.entries.len() as u64);
                }
            }
        }
        // Nobody has taken it, or all are done already.
        if let Some(mut batch) = Arc::into_inner(batch) {
            batch.clear();
            self.current = batch;
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
        let (mut sink, mut inlets) = queue(&[Waker::new().unwrap()], Arc::default());
        let inlet = inlets.remove(0);
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
        let (mut sink, mut inlets) = queue(&[Waker::new().unwrap()], metrics.clone());
        let inlet = inlets.remove(0);
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

    #[test]
    fn every_worker_gets_every_packet_and_one_that_is_slow_only_loses_its_own() {
        let metrics = Arc::<Metrics>::default();
        let wakers = [Waker::new().unwrap(), Waker::new().unwrap(), Waker::new().unwrap()];
        let (mut sink, mut inlets) = queue(&wakers, metrics.clone());
        let slow = inlets.pop().unwrap();
        let mut seen = [0, 0];
        let mut places = std::collections::BTreeSet::new();
        for i in 0..2 * MAX_BATCHES as u64 {
            sink.deliver(packet(i));
            sink.flush();
            for (inlet, seen) in inlets.iter().zip(&mut seen) {
                let batch = inlet.next().unwrap();
                assert!(batch.packets().all(|p| p.index.0 == i));
                *seen += batch.packets().count();
                places.insert(batch.bytes.as_ptr());
                inlet.recycle(batch);
            }
        }
        assert_eq!(seen, [2 * MAX_BATCHES, 2 * MAX_BATCHES]);
        assert_eq!(metrics.overruns.get(), MAX_BATCHES as u64);
        assert!(places.len() <= MAX_BATCHES + 2, "buffers come back: {}", places.len());
        drop((slow, inlets));
        sink.deliver(packet(0));
        sink.flush();
        assert_eq!(metrics.overruns.get(), MAX_BATCHES as u64 + 3, "nobody is there any more");
    }
}
