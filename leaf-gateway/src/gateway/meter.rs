//! How much each layer brings, measured where the node hands its packets over.

use relay_node::media::api::{LocalPacket, LocalSink};
use soleil_protocol::{Mono, Ssrc};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of each layer since they were last asked for. Bounded by what the node plays: nothing
/// else reaches the sink.
#[derive(Debug, Clone, Default)]
pub(super) struct Bytes(Arc<Mutex<HashMap<Ssrc, u64>>>);

/// Counts what goes to a sink.
pub(super) struct Meter {
    sink: Box<dyn LocalSink>,
    bytes: Bytes,
}

impl Meter {
    /// Before a sink.
    pub(super) fn new(sink: Box<dyn LocalSink>) -> (Self, Bytes) {
        let bytes = Bytes::default();
        (Self { sink, bytes: bytes.clone() }, bytes)
    }
}

impl LocalSink for Meter {
    fn deliver(&mut self, packet: LocalPacket<'_>) {
        let mut bytes = self.bytes.0.lock().unwrap_or_else(PoisonError::into_inner);
        *bytes.entry(packet.ssrc).or_default() += packet.payload.len() as u64;
        drop(bytes);
        self.sink.deliver(packet);
    }

    fn flush(&mut self) {
        self.sink.flush();
    }
}

/// Rates, smoothed a little so that a picture that rests does not count as gone at once.
#[derive(Debug)]
pub(super) struct Rates {
    bytes: Bytes,
    at: Mono,
    rates: HashMap<Ssrc, u64>,
}

impl Rates {
    pub(super) fn new(bytes: Bytes, now: Mono) -> Self {
        Self { bytes, at: now, rates: HashMap::new() }
    }

    /// Bits per second of each layer that brings anything, as of now. A layer that has gone silent
    /// is out after some seconds.
    pub(super) fn update(&mut self, now: Mono) -> HashMap<Ssrc, u64> {
        let bytes =
            std::mem::take(&mut *self.bytes.0.lock().unwrap_or_else(PoisonError::into_inner));
        let elapsed = now.since(self.at).as_secs_f64().max(0.001);
        self.at = now;
        for ssrc in bytes.keys() {
            self.rates.entry(*ssrc).or_default();
        }
        for (ssrc, rate) in &mut self.rates {
            let fresh = bytes.get(ssrc).copied().unwrap_or_default() as f64 * 8.0 / elapsed;
            *rate = if *rate == 0 { fresh } else { (*rate as f64 + 3.0 * fresh) / 4.0 } as u64;
        }
        self.rates.retain(|_, rate| *rate > 0);
        self.rates.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_node::media::api::{FrameMarks, NoSink};
    use soleil_protocol::{PacketIndex, PipelineId};
    use std::time::Duration;

    #[test]
    fn a_layer_has_a_rate_while_it_brings_something() {
        let (mut meter, bytes) = Meter::new(Box::new(NoSink));
        let mut now = Mono(0);
        let mut rates = Rates::new(bytes, now);
        for _ in 0..10 {
            meter.deliver(LocalPacket {
                pipeline: PipelineId(1),
                ssrc: Ssrc(7),
                index: PacketIndex(1),
                timestamp: 0,
                marker: false,
                payload_type: 96,
                capture: 0,
                marks: FrameMarks(0),
                payload: &[0; 100],
            });
        }
        now = now.after(Duration::from_secs(2));
        assert_eq!(rates.update(now), HashMap::from([(Ssrc(7), 4_000)]));
        now = now.after(Duration::from_secs(1));
        assert_eq!(rates.update(now), HashMap::from([(Ssrc(7), 1_000)]), "not gone at once");
        for _ in 0..10 {
            now = now.after(Duration::from_secs(1));
            rates.update(now);
        }
        assert!(rates.rates.is_empty());
    }
}
