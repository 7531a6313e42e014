//! The driver of viewer sessions: threads with one UDP socket each, all on the same port, that move
//! datagrams, packets and time between the world and the sessions ([`crate::session`]), which decide.
//! A worker owns its sessions alone; others talk to it through [`Workers`].
//!
//! Workers share nothing that is touched for each packet. Which of them has a session is in the names
//! that the session is called by (`seats`); a datagram that lands at another one is handed over
//! (`handover`).

mod gather;
mod handover;
mod outbox;
mod pool;
mod queue;
mod run;
mod seats;
mod sessions;
mod stats;
mod tcp;
mod wheel;
mod workers;

#[cfg(test)]
mod tests;

pub use handover::{MAX_BUNDLES, MAX_LEADS};
pub use queue::{LeafSink, MAX_BATCHES};
pub use run::MAX_RINGS;
pub use seats::{MAX_WORKERS, Seat};
pub use stats::PipelineFigures;
pub use tcp::{MAX_FRESH as MAX_FRESH_TCP, TcpLimits};
pub use workers::{Workers, start, start_with_tcp};

pub(crate) use seats::{SESSION_ID_LEN, WORKER_LETTERS};

use crate::demand::Wanted;
use crate::metrics::Metrics;
use crate::occupancy::Permit;
use crate::session::ice::Credentials;
use crate::session::{Choice, SessionSetup};
use relay_node::clock::Clock;
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{PipelineId, Ssrc};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A session within a worker; a place that is used again gets another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

/// The session's name in its URL: the worker's number and 128 random bits as hex, not to be guessed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(pub String);

/// A session to be.
#[derive(Debug)]
pub struct NewSession {
    /// Its name.
    pub id: SessionId,
    /// What it begins with.
    pub setup: SessionSetup,
    /// Its place at the leaf.
    pub permit: Permit,
    /// Its place at a worker.
    pub seat: Seat,
    /// Its wish for the pipeline.
    pub wanted: Wanted,
    /// Its randomness.
    pub seed: [u8; 32],
}

/// What a worker tells the gateway.
#[derive(Debug)]
pub enum Upcall {
    /// A viewer needs a key frame.
    KeyFrame(PipelineId, Ssrc),
    /// Figures of a worker's sessions in the last second.
    Figures {
        /// The worker's number.
        worker: usize,
        /// What its sessions of each pipeline say.
        figures: Vec<PipelineFigures>,
    },
}

enum Command {
    /// Fails as if the socket had (tests).
    #[cfg(test)]
    Break(Breakage),
    Add(Box<NewSession>),
    Remove(SessionId, oneshot::Sender<bool>),
    Ufrags(SessionId, oneshot::Sender<Option<(String, String)>>),
    Restart(SessionId, Box<Restart>, oneshot::Sender<bool>),
    Choose(SessionId, String, Choice, oneshot::Sender<Option<bool>>),
    Pipelines(Arc<BTreeMap<PipelineId, PipelineDef>>),
    /// A TCP connection whose first frame names a session of this worker.
    Adopt(Box<tcp::Stray>),
    Drain(oneshot::Sender<()>),
    Stop,
}

struct Restart {
    credentials: Credentials,
    len: usize,
}

/// How a test breaks a worker.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Breakage {
    Socket,
    Panic,
}

/// How workers are set up.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The viewer port.
    pub listen: SocketAddr,
    /// How many workers; [`MAX_WORKERS`] at most.
    pub workers: usize,
    /// The clock.
    pub clock: Clock,
    /// The certificate.
    pub dtls: crate::session::dtls::DtlsContext,
    /// Threads for handshakes, of all workers together.
    pub handshake_threads: usize,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where upcalls go; those that find it full are dropped (the next second brings others).
    pub upcalls: mpsc::Sender<Upcall>,
}
