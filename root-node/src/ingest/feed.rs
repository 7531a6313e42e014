//! The seam for sources within this process (WHIP): one claims a stream, hands in RTP and RTCP layer
//! by layer, and hears when a key frame is wanted. Nobody else may send while it stands.

use super::source::FeedId;
use bytes::Bytes;
use soleil_protocol::Now;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Datagrams of a source that may wait for the ingest: 100 ms of 100 Mbit/s.
pub const MAX_FED: usize = 1_024;

/// Feeds are numbered through the process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A claim on a stream.
#[derive(Debug)]
pub struct Claim {
    /// The source's number.
    pub id: FeedId,
    /// Where it hears that key frames are wanted.
    pub wanted: mpsc::Sender<KeyFrameWanted>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Feed, Refused>>,
}

/// Why a claim was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody sends.
    #[error("somebody broadcasts this stream already")]
    Busy,
    /// The ingest is no more.
    #[error("the stream's ingest has ended")]
    Ended,
}

/// A source is asked for a key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFrameWanted {
    /// Which source.
    pub feed: FeedId,
    /// Of which layer, numbered through all tracks.
    pub layer: usize,
}

/// One datagram: RTP with the layer's payload type, or RTCP.
#[derive(Debug)]
pub struct FedDatagram {
    /// Its layer, numbered through all tracks.
    pub layer: usize,
    /// When it came.
    pub at: Now,
    /// RTP or RTCP.
    pub bytes: Bytes,
}

/// A source's hold on a stream; dropping it lets the stream go.
#[derive(Debug)]
pub struct Feed {
    id: FeedId,
    sender: mpsc::Sender<FedDatagram>,
    over: CancellationToken,
}

impl Feed {
    /// A hold whose datagrams go there, until `over` says that the stream is another's, or nobody's.
    pub fn new(id: FeedId, sender: mpsc::Sender<FedDatagram>, over: CancellationToken) -> Self {
        Self { id, sender, over }
    }

    /// The next number.
    pub(super) fn next_id() -> FeedId {
        FeedId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its number.
    pub fn id(&self) -> FeedId {
        self.id
    }

    /// Hands in a datagram; `false` if it had to be dropped because too many wait.
    pub fn push(&self, datagram: FedDatagram) -> bool {
        self.sender.try_send(datagram).is_ok()
    }

    /// Whether the hold is over: the stream's ingest has ended, or another source has replaced this one.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Tells when the hold is over, also after this was dropped.
    pub fn over(&self) -> WaitForCancellationFutureOwned {
        self.over.clone().cancelled_owned()
    }
}
