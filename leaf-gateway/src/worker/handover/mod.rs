//! What workers have to tell each other. They share one port (`SO_REUSEPORT`), and the kernel
//! spreads what comes by a hash of both addresses: a viewer's datagrams may all land at a worker that
//! has not got its session. Checks name the worker and are handed over to it by that; where the rest
//! of what comes from that address has to go is known from then on (`leads`). What is sent needs
//! no detour: the worker that has the session sends from its own socket.
//!
//! Everything goes in bundles through one bounded inbox a worker, with one wake-up a bundle. What
//! finds an inbox full is lost and counted, like a datagram that finds a socket full. Nothing that
//! was handed over is handed on, so nothing can go in circles.

mod bundle;
mod leads;
#[cfg(test)]
mod tests;

pub use leads::MAX_LEADS;

pub(super) use bundle::{Bundle, What};
pub(super) use leads::Lead;

use super::Command;
use super::seats::of_ufrag;
use crate::metrics::Metrics;
use crate::session::stun;
use leads::Leads;
use relay_node::io::udp::Waker;
use soleil_protocol::Mono;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::time::Duration;

/// Bundles that wait for a worker, each of 32 KiB at most: 4 MiB, as its socket's
/// buffer.
pub const MAX_BUNDLES: usize = 128;

/// The longest datagram that is handed over: as long as a frame may be that comes over TCP.
pub(super) const MAX_HANDED: usize = 4_096;

/// How often a second a worker asks all others whether RTCP of nobody is from a viewer of theirs
/// that has moved. Each of them looks for its session within limits of its own.
const ASKS_PER_SECOND: u32 = 200;

/// Emptied bundles that are kept for further use.
const MAX_SPARE: usize = 16;

/// The way to another worker.
#[derive(Clone)]
struct Outlet {
    full: SyncSender<Bundle>,
    waker: Waker,
    commands: Sender<Command>,
}

/// Where a datagram that has come to a worker's socket belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To a session here, or to nobody.
    Here,
    /// To one other worker only.
    There(usize),
    /// An answer: to whoever claims the address, here as well.
    Everywhere(Lead),
}

/// A worker's view of the others.
pub(super) struct Neighbours {
    me: usize,
    /// One for each worker; the own one stays unused.
    outlets: Vec<Outlet>,
    /// What is on its way to each.
    current: Vec<Bundle>,
    inbox: Receiver<Bundle>,
    leads: Leads,
    spare: Vec<Bundle>,
    asks: u32,
    next_asks: Mono,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Neighbours({} of {})", self.me, self.outlets.len())
    }
}

/// The views of all workers; each is reached through its waker and commands.
pub(super) fn connect(
    ends: &[(Waker, Sender<Command>)],
    metrics: &Arc<Metrics>,
) -> Vec<Neighbours> {
    let (outlets, inboxes): (Vec<_>, Vec<_>) = ends
        .iter()
        .map(|(waker, commands)| {
            let (full, inbox) = sync_channel(MAX_BUNDLES);
            (Outlet { full, waker: waker.clone(), commands: commands.clone() }, inbox)
        })
        .unzip();
    let one = |(me, inbox)| Neighbours {
        me,
        outlets: outlets.clone(),
        current: ends.iter().map(|_| Bundle::default()).collect(),
        inbox,
        leads: Leads::default(),
        spare: Vec::new(),
        asks: 0,
        next_asks: Mono(0),
        metrics: metrics.clone(),
    };
    inboxes.into_iter().enumerate().map(one).collect()
}

impl Neighbours {
    /// The worker's own number.
    pub(super) fn me(&self) -> usize {
        self.me
    }

    /// Where a datagram belongs; `claimed`: a session here claims the address that it comes from.
    pub(super) fn way(&mut self, from: SocketAddr, data: &[u8], claimed: bool) -> Way {
        if !stun::is_stun(data) {
            return match self.leads.get(from) {
                Some(lead) if lead.validated || !claimed => Way::There(lead.owner),
                _ => Way::Here,
            };
        }
        let Some(message) = stun::parse(data) else { return Way::Here };
        match message.username {
            Some(_) => self.named(data).map_or(Way::Here, Way::There),
            None => self.leads.get(from).map_or(Way::Here, Way::Everywhere),
        }
    }

    /// The other worker that a check names, if there is such a one.
    pub(super) fn named(&self, data: &[u8]) -> Option<usize> {
        let (local, _) = stun::parse(data)?.username?.split_once(':')?;
        of_ufrag(local).filter(|worker| *worker != self.me && *worker < self.outlets.len())
    }

    /// Hands something over, with the next [`flush`](Self::flush).
    pub(super) fn push(&mut self, to: usize, what: What, from: SocketAddr, data: &[u8]) {
        if data.len() > MAX_HANDED {
            self.metrics.handed_lost.add(1);
            return;
        }
        let Some(bundle) = self.current.get_mut(to).filter(|_| to != self.me) else { return };
        bundle.push(what, from, data);
        if bundle.is_full() {
            self.send(to);
        }
    }

    /// Asks all others for the session of RTCP from an address that is nobody's here; `false` if
    /// that was done too often lately.
    pub(super) fn ask(&mut self, now: Mono, from: SocketAddr, data: &[u8]) -> bool {
        if now >= self.next_asks {
            self.next_asks = now.after(Duration::from_secs(1));
            self.asks = ASKS_PER_SECOND;
        }
        if self.asks == 0 {
            return false;
        }
        self.asks -= 1;
        for to in 0..self.outlets.len() {
            self.push(to, What::Moved, from, data);
        }
        true
    }

    /// Everything that was pushed leaves.
    pub(super) fn flush(&mut self) {
        for to in 0..self.current.len() {
            if !self.current[to].is_empty() {
                self.send(to);
            }
        }
    }

    fn send(&mut self, to: usize) {
        let next = self.spare.pop().unwrap_or_default();
        let (Some(outlet), Some(current)) = (self.outlets.get(to), self.current.get_mut(to)) else {
            return;
        };
        let mut bundle = std::mem::replace(current, next);
        bundle.via = self.me;
        let datagrams = bundle.datagrams() as u64;
        match outlet.full.try_send(bundle) {
            Ok(()) => {
                self.metrics.handed.add(datagrams);
                outlet.waker.wake();
            }
            // Full, or the worker has failed.
            Err(_) => self.metrics.handed_lost.add(datagrams),
        }
    }

    /// The next bundle from another worker; give it back with [`recycle`](Self::recycle).
    pub(super) fn next(&mut self) -> Option<Bundle> {
        self.inbox.try_recv().ok()
    }

    pub(super) fn recycle(&mut self, mut bundle: Bundle) {
        if self.spare.len() < MAX_SPARE {
            bundle.clear();
            self.spare.push(bundle);
        }
    }

    /// A session of another worker claims an address whose datagrams land here.
    pub(super) fn take_claim(&mut self, worker: usize, address: SocketAddr, validated: bool) {
        self.leads.claim(address, worker, validated);
    }

    /// A worker has nobody at an address that it was handed something from.
    pub(super) fn take_nobody(&mut self, worker: usize, address: SocketAddr) {
        self.leads.forget(address, Some(worker));
    }

    /// A session here has validated an address: it leads nowhere else.
    pub(super) fn own(&mut self, address: SocketAddr) {
        self.leads.forget(address, None);
    }

    /// Gives a worker a command.
    pub(super) fn command(&self, to: usize, command: Command) {
        if let Some(outlet) = self.outlets.get(to) {
            // A worker that has failed takes nothing; what the command holds is dropped.
            let _ = outlet.commands.send(command);
            outlet.waker.wake();
        }
    }
}
