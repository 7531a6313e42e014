//! Checks of the viewer and requests of our own: what an address proves, and how we ask.

use super::super::stun::{self, TransactionId};
use super::{IceAgent, Outcome, VALID_FOR};
use crate::session::ice::Credentials;
use rand::{Rng, RngCore};
use soleil_protocol::Mono;
use std::net::SocketAddr;
use std::time::Duration;

/// A validation request is repeated after this, when a further check has come in between.
const VALIDATE_AGAIN: Duration = Duration::from_millis(100);

impl IceAgent {
    pub(super) fn check(
        &mut self,
        now: Mono,
        from: SocketAddr,
        message: &stun::Message<'_>,
        len: usize,
        rng: &mut impl RngCore,
    ) -> Outcome {
        // RFC 8445 section 7.3: the receiver's fragment first, then the sender's.
        let user = message.username.and_then(|u| u.split_once(':'));
        let named = |c: &&Credentials| {
            user.is_some_and(|(local, remote)| local == c.local_ufrag && remote == c.remote_ufrag)
        };
        let mut both = std::iter::once(&self.credentials).chain(&self.before);
        let Some(c) = both.find(named).filter(|c| message.verify(&c.local_password)) else {
            return Outcome::Ignored;
        };
        let (old, password) = (!std::ptr::eq(c, &self.credentials), c.local_password.clone());
        let mut out = Vec::with_capacity(128);
        if message.controlled {
            // A lite agent is always the controlled one (RFC 8445 section 6.1.1).
            stun::role_conflict(&mut out, &message.transaction, &password);
            if out.len() <= len {
                self.transmits.push((from, out));
            }
            return Outcome::Ignored;
        }
        self.last_check = now;
        self.remember(now, from, message, old);
        self.earn(from, len);
        stun::success(&mut out, &message.transaction, from, &password);
        let request = self.due_request(now, from, rng);
        let both = out.len() + request.as_ref().map_or(0, |(_, r)| r.len());
        if self.may_send(now, from, both) {
            self.send(now, from, out);
            self.send_request(now, from, request);
        } else {
            self.send_request(now, from, request);
            if self.may_send(now, from, out.len()) {
                self.send(now, from, out);
            } else if let Some(a) = self.find(from) {
                a.owed = Some(message.transaction);
            }
        }
        self.select(now);
        Outcome::Checked
    }

    /// Authentic SRTCP with this index has come from there: unless it is older than what came
    /// before, the viewer's path is there now (a NAT has given it another port). The address is
    /// asked whether it is real, and media follow when it has answered. `true` if it is new.
    pub fn heard(
        &mut self,
        now: Mono,
        from: SocketAddr,
        index: u32,
        len: usize,
        rng: &mut impl RngCore,
    ) -> bool {
        if self.newest.is_some_and(|newest| index <= newest) {
            return false;
        }
        self.newest = Some(index);
        if self.selected == Some(from) {
            return false;
        }
        let current = self.addresses.iter().find(|a| Some(a.addr) == self.selected);
        let Some((priority, old)) = current.map(|a| (a.priority, a.old)) else { return false };
        let new = self.find(from).is_none();
        if new {
            self.add(now, from, old);
        }
        if let Some(a) = self.find(from) {
            a.seen = now;
            a.nominated = Some(now);
            a.priority = a.priority.max(priority);
        }
        self.validate(now, from, len, rng);
        self.select(now);
        new
    }

    fn remember(&mut self, now: Mono, from: SocketAddr, message: &stun::Message<'_>, old: bool) {
        let nominated = message.use_candidate.then_some(now);
        let priority = message.priority.unwrap_or(0);
        if let Some(a) = self.addresses.iter_mut().find(|a| a.addr == from) {
            if a.old && !old {
                // A new agent at the same place: it nominates anew, and answers to its own name.
                a.old = false;
                a.nominated = None;
                a.pending = None;
            }
            a.seen = now;
            if a.old == old {
                a.priority = priority;
                a.nominated = nominated.or(a.nominated);
            }
            return;
        }
        self.add(now, from, old);
        if let Some(a) = self.find(from) {
            a.nominated = nominated;
            a.priority = priority;
        }
    }

    /// Sends a request of our own, if this address is known and needs one; `len` bytes have come
    /// from it just now.
    pub fn validate(&mut self, now: Mono, addr: SocketAddr, len: usize, rng: &mut impl RngCore) {
        self.earn(addr, len);
        let request = self.due_request(now, addr, rng);
        self.send_request(now, addr, request);
    }

    /// The request that this address needs at present, if it is known and needs one.
    fn due_request(
        &self,
        now: Mono,
        addr: SocketAddr,
        rng: &mut impl RngCore,
    ) -> Option<(TransactionId, Vec<u8>)> {
        let a = self.addresses.iter().find(|a| a.addr == addr)?;
        let fresh = a.validated.is_some_and(|at| now.since(at) < VALID_FOR / 2);
        let waiting = a.pending.is_some_and(|(_, at)| now.since(at) < VALIDATE_AGAIN);
        if fresh || waiting {
            return None;
        }
        // A repeat keeps its transaction: a late answer to the first try counts as well.
        let id = a.pending.map_or_else(|| rng.random(), |(id, _)| id);
        let c = self.before.as_ref().filter(|_| a.old).unwrap_or(&self.credentials);
        let username = format!("{}:{}", c.remote_ufrag, c.local_ufrag);
        let mut out = Vec::with_capacity(128);
        stun::request(&mut out, &id, &username, self.tie_breaker, &c.remote_password);
        Some((id, out))
    }

    fn send_request(
        &mut self,
        now: Mono,
        addr: SocketAddr,
        request: Option<(TransactionId, Vec<u8>)>,
    ) {
        let Some((id, data)) = request else { return };
        if self.may_send(now, addr, data.len()) {
            self.send(now, addr, data);
            if let Some(a) = self.find(addr) {
                a.pending = Some((id, now));
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        now: Mono,
        from: SocketAddr,
        message: &stun::Message<'_>,
    ) -> Outcome {
        let Some(a) = self.addresses.iter_mut().find(|a| a.addr == from) else {
            return Outcome::Ignored;
        };
        let expected = a.pending.is_some_and(|(id, _)| id == message.transaction);
        let c = self.before.as_ref().filter(|_| a.old).unwrap_or(&self.credentials);
        if !expected || !message.verify(&c.remote_password) {
            return Outcome::Ignored;
        }
        a.pending = None;
        a.validated = Some(now);
        if let Some(transaction) = a.owed.take() {
            let mut out = Vec::with_capacity(128);
            stun::success(&mut out, &transaction, from, &c.local_password);
            self.send(now, from, out);
        }
        self.select(now);
        Outcome::Validated
    }
}
