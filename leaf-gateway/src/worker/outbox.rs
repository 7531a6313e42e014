//! Datagrams that are to leave, in one reused buffer: written first, then handed to the kernel in
//! batches (GSO runs, `sendmmsg`).

use relay_node::clock::Clock;
use relay_node::io::udp::{SendBatch, UdpBatch, Waker};
use std::net::SocketAddr;
use std::time::Duration;

/// Send when so much is written: a few hundred datagrams, so that the first viewer's packets do
/// not wait for the last one's.
const FLUSH_BYTES: usize = 512 * 1024;

/// How long the worker waits for room in the socket's buffer before it drops what is left: a
/// kernel that takes nothing for so long is overloaded, and waiting would delay every viewer.
const PATIENCE: Duration = Duration::from_millis(2);

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flushed {
    pub(super) sent: u64,
    pub(super) refused: u64,
    pub(super) dropped: u64,
}

/// The buffer.
pub(super) struct Outbox {
    pub(super) bytes: Vec<u8>,
    spans: Vec<(SocketAddr, usize, usize)>,
    batch: Option<SendBatch<'static>>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(FLUSH_BYTES + 65_536),
            spans: Vec::with_capacity(1_024),
            batch: Some(SendBatch::new()),
        }
    }

    /// What was appended to `bytes` since `start` is one datagram to `to`.
    pub(super) fn commit(&mut self, to: SocketAddr, start: usize) {
        self.spans.push((to, start, self.bytes.len()));
    }

    /// A datagram from elsewhere.
    pub(super) fn push(&mut self, to: SocketAddr, data: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.commit(to, start);
    }

    /// Hands the datagrams to some addresses to `take` instead of the socket.
    pub(super) fn divert(
        &mut self,
        some: impl Fn(&SocketAddr) -> bool,
        mut take: impl FnMut(SocketAddr, &[u8]),
    ) {
        let Self { bytes, spans, .. } = self;
        spans.retain(|(to, start, end)| {
            let stays = !some(to);
            if let Some(data) = bytes.get(*start..*end).filter(|_| !stays) {
                take(*to, data);
            }
            stays
        });
        if spans.is_empty() {
            bytes.clear();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FLUSH_BYTES
    }

    /// Sends everything.
    pub(super) fn flush(&mut self, socket: &UdpBatch, waker: &Waker, clock: Clock) -> Flushed {
        let mut flushed = Flushed::default();
        if self.spans.is_empty() {
            return flushed;
        }
        let mut batch = self.batch.take().unwrap_or_default().reset();
        for (to, start, end) in &self.spans {
            if let Some(data) = self.bytes.get(*start..*end) {
                batch.push(*to, data);
            }
        }
        let mut deadline = None;
        loop {
            let report = socket.send(&mut batch);
            flushed.sent += report.sent as u64;
            flushed.refused += report.refused as u64;
            if report.left == 0 {
                break;
            }
            let now = clock.now().mono;
            let until = match deadline {
                Some(until) if report.sent == 0 => until,
                _ => *deadline.insert(now.after(PATIENCE)),
            };
            if now >= until {
                flushed.dropped += report.left as u64;
                break;
            }
            // A wake-up that is taken here is not lost: the worker looks at everything anyway.
            let _ = socket.wait(until.since(now), waker, true);
        }
        self.batch = Some(batch.reset());
        self.spans.clear();
        self.bytes.clear();
        flushed
    }
}
