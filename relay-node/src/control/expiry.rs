//! When a neighbour has to go though it behaves: certificates that run out, and nodes that the
//! root has removed.
//!
//! What bounds the life of a link (DESIGN 6.1 and 6.2):
//!
//! - A **ticket** is a permission to *open* a link. Its expiry does not end one that stands.
//! - A **certificate** is short-lived so that a node that the root no longer wants is out when it
//!   ends. TLS looks at it once, so its end is watched here: a parent closes the link of a child
//!   whose certificate has run out. A renewed one is proved by nothing but the root's word: the
//!   REDIRECT that carries it passes through the parent, which reads the new end off it. It is for
//!   the key that TLS has proved already, so no new handshake is needed.
//! - Upward the same follows from a node's **own certificate**: it comes through the parent, and a
//!   node that did not get one in time leaves and joins at the root itself. So a parent that the
//!   root has removed, and that does not pass on what it should, keeps nobody for longer than that
//!   (the root renews nobody below it).
//! - **KILL** ends it sooner: the parent that hands a KILL on to its child closes the link itself
//!   when the grace is over, and takes the child back only with a newer ticket.
//! - **PIPEDEF** with the new keys names those who don't get them. KILL goes along the tree and so past
//!   the nodes that the removed one has a warm link to, or comes to by an old ticket: they hear it here.

use super::NodeCore;
use super::api::ConnId;
use super::limits::{EVICTION_DELAY, MAX_REMOVED};
use super::links::Use;
use super::timers::Timer;
use soleil_protocol::message::{Identity, Kill};
use soleil_protocol::{Address, Body, Incarnation, Message, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Why a link ends.
const REMOVED: &str = "the root has removed this node";

/// Nodes that the root has removed, with the last incarnation that is not wanted back.
#[derive(Debug, Default)]
pub(super) struct Removed {
    all: BTreeMap<NodeId, Incarnation>,
    /// As they were first heard of.
    order: VecDeque<NodeId>,
}

impl Removed {
    fn insert(&mut self, id: NodeId, incarnation: Incarnation) {
        if let Some(last) = self.all.get_mut(&id) {
            *last = incarnation.max(*last);
            return;
        }
        if self.order.len() >= MAX_REMOVED
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.all.insert(id, incarnation);
    }

    /// Whether this life of a node was removed.
    pub(super) fn contains(&self, id: &NodeId, incarnation: Incarnation) -> bool {
        self.all.get(id).is_some_and(|last| incarnation <= *last)
    }
}

impl NodeCore {
    /// Sets the timer for the end of a child's certificate.
    pub(super) fn watch_certificate(&mut self, conn: ConnId) {
        let Some(until) = self.links.get(conn).and_then(|l| l.until) else { return };
        // The last moment is still good.
        let wait = until.0.saturating_sub(self.now.wall.0).saturating_add(1);
        let at = self.now.mono.after(Duration::from_micros(wait));
        self.timers.set(Timer::Certificate(conn), at);
    }

    /// The timer has run out: the certificate too, unless the wall clock was set.
    pub(super) fn on_certificate_end(&mut self, conn: ConnId) {
        let Some(until) = self.links.get(conn).and_then(|l| l.until) else { return };
        if self.now.wall <= until {
            return self.watch_certificate(conn);
        }
        tracing::warn!(?conn, "a child's certificate has run out");
        self.lose(conn, "its certificate has run out");
    }

    /// A message goes to a neighbour: what the root says to a child is noted.
    pub(super) fn witness(&mut self, conn: ConnId, message: &Message) {
        if message.from != Some(Address::Root) {
            return;
        }
        match &message.body {
            Body::Redirect(redirect) => {
                if let Some(identity) = &redirect.identity {
                    self.witness_renewal(conn, identity);
                }
            }
            Body::Kill(kill) => self.witness_kill(conn, message, kill),
            _ => {}
        }
    }

    fn witness_renewal(&mut self, conn: ConnId, identity: &Identity) {
        let life = self.vault.validity(&identity.certificate);
        let Some((_, until)) = life else { return };
        let Some(link) = self.links.get_mut(conn) else { return };
        if matches!(&link.purpose, Use::Child(child) if *child == identity.id) {
            link.until = link.until.max(Some(until));
            self.watch_certificate(conn);
        }
    }

    fn witness_kill(&mut self, conn: ConnId, message: &Message, kill: &Kill) {
        let Some(link) = self.links.get(conn) else { return };
        let Use::Child(child) = &link.purpose else { return };
        if message.to != Some(Address::Node(child.clone())) {
            return;
        }
        self.removed.insert(child.clone(), link.incarnation);
        let grace = Duration::from_secs(u64::from(kill.grace_secs)).saturating_add(EVICTION_DELAY);
        self.timers.set(Timer::Evict(conn), self.now.mono.after(grace));
    }

    /// The root has removed these nodes, wherever they are, up to these incarnations: links below us
    /// end. A child that was told so through us has the grace that it was given.
    pub fn put_out(&mut self, removed: &[(NodeId, Incarnation)]) {
        for (id, last) in removed {
            self.removed.insert(id.clone(), *last);
            let child = self.links.child(id).filter(|c| !self.timers.is_set(&Timer::Evict(*c)));
            for conn in self.links.reserved(id).into_iter().chain(child) {
                let old = self.links.get(conn).is_some_and(|link| link.incarnation <= *last);
                if old {
                    tracing::info!(node = %id, "a node that the root has removed is put out");
                    self.lose(conn, REMOVED);
                }
            }
        }
    }

    /// A child that was killed is still here.
    pub(super) fn evict(&mut self, conn: ConnId) {
        tracing::warn!(?conn, "a child that the root has removed did not go");
        self.lose(conn, REMOVED);
    }
}
