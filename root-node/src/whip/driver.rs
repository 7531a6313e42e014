//! The thin driver of WHIP: one UDP socket and one task with all sessions ([`task`]); here is the outside
//! of both, for the handlers.

mod task;
#[cfg(test)]
mod tests;

pub use task::WhipTask;

use super::metrics::Counters;
use super::offer::Credentials;
use super::session::{Certificate, Session, SessionError};
use crate::ingest::feed::{Feed, KeyFrameWanted};
use relay_node::clock::Clock;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Orders of handlers that may wait.
const MAX_ORDERS: usize = 64;
/// Key-frame wishes that may wait: one of each layer of each session.
const MAX_WISHES: usize = 512;

/// The name of a session in its URL: 128 random bits in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub String);

/// A session that is agreed on.
#[derive(Debug)]
pub struct NewSession {
    /// Its name.
    pub id: SessionId,
    /// The stream's name, for the log.
    pub stream: String,
    /// The broadcaster.
    pub session: Session,
    /// Its hold on the stream.
    pub feed: Feed,
    /// Its place.
    pub place: OwnedSemaphorePermit,
}

/// What a handler wants.
#[derive(Debug)]
enum Order {
    Begin(Box<NewSession>),
    /// ICE credentials of both sides: ours first.
    Look(SessionId, oneshot::Sender<Option<(Credentials, Credentials)>>),
    /// The name fragment of ours that the restart is for, if for one.
    Restart(SessionId, Option<String>, Credentials, oneshot::Sender<Restarted>),
    End(SessionId, oneshot::Sender<bool>),
}

/// What became of a restart.
#[derive(Debug)]
pub enum Restarted {
    /// Our new credentials.
    Done(Credentials),
    /// There is no such session.
    Gone,
    /// Somebody else restarted in between.
    Changed,
    /// It can't be done.
    Failed(SessionError),
}

/// The outside of WHIP.
#[derive(Debug, Clone)]
pub struct Whip {
    orders: mpsc::Sender<Order>,
    wishes: mpsc::Sender<KeyFrameWanted>,
    places: Arc<Semaphore>,
    /// Of our DTLS certificate.
    pub certificate: Certificate,
    /// Where the socket is bound.
    pub bound: SocketAddr,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Whip {
    /// Binds the socket; `places` is how many sessions there may be.
    ///
    /// # Errors
    /// If the socket can't be bound, or there is no certificate to be made.
    pub fn bind(listen: SocketAddr, places: usize, clock: Clock) -> io::Result<(Whip, WhipTask)> {
        let certificate = Certificate::generate().map_err(io::Error::other)?;
        let socket = task::bind(listen)?;
        let bound = socket.local_addr()?;
        let (orders, orders_rx) = mpsc::channel(MAX_ORDERS);
        let (wishes, wishes_rx) = mpsc::channel(MAX_WISHES);
        let counters = Arc::new(Counters::default());
        let whip = Whip {
            orders,
            wishes,
            places: Arc::new(Semaphore::new(places)),
            certificate,
            bound,
            counters: counters.clone(),
        };
        Ok((whip, WhipTask::new(clock, socket, orders_rx, wishes_rx, counters)))
    }

    /// A place for a session, if there is one.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Where feeds say that they need a key frame.
    pub fn wishes(&self) -> mpsc::Sender<KeyFrameWanted> {
        self.wishes.clone()
    }

    /// Begins a session; `false` if WHIP has ended.
    pub async fn begin(&self, session: NewSession) -> bool {
        self.orders.send(Order::Begin(Box::new(session))).await.is_ok()
    }

    /// The ICE credentials of a session, ours first; `None` if it is not there.
    pub async fn look(&self, id: SessionId) -> Option<(Credentials, Credentials)> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Look(id, reply)).await.ok()?;
        answer.await.ok()?
    }

    /// Restarts ICE if the session is still the one of our name fragment (`None`: whichever it is).
    pub async fn restart(
        &self,
        id: SessionId,
        current: Option<String>,
        remote: Credentials,
    ) -> Restarted {
        let (reply, answer) = oneshot::channel();
        let order = Order::Restart(id, current, remote, reply);
        match self.orders.send(order).await {
            Ok(()) => answer.await.unwrap_or(Restarted::Gone),
            Err(_) => Restarted::Gone,
        }
    }

    /// Ends a session; `false` if it is not there.
    pub async fn end(&self, id: SessionId) -> bool {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::End(id, reply)).await.is_ok() && answer.await.unwrap_or(false)
    }
}
