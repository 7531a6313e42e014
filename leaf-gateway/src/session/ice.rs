//! ICE-lite for one viewer (RFC 8445 section 2.5): answers checks, validates each address by a
//! request of our own before anything but STUN goes there (DESIGN 3), follows the viewer's
//! nomination, and knows when consent has run out (RFC 7675). Pure.

#[cfg(test)]
mod tests;

use super::stun::{self, Kind, TransactionId};
use rand::{Rng, RngCore};
use soleil_protocol::Mono;
use std::net::SocketAddr;
use std::time::Duration;

/// Addresses that are remembered per viewer: interfaces times address families of a phone or
/// laptop, before and after a move.
pub const MAX_ADDRESSES: usize = 8;

/// A validation request is repeated after this, when a further check has come in between.
const VALIDATE_AGAIN: Duration = Duration::from_millis(100);

/// A validation holds that long without an answer to a newer request of ours; the viewer's checks
/// (about every 2.5 s) renew it at half of this.
const VALID_FOR: Duration = Duration::from_secs(30);

/// A nominated address that has been silent for so long gives way to another one that is
/// nominated, whatever their priorities: just longer than browsers wait between two checks (2.5 s).
const GIVE_WAY: Duration = Duration::from_millis(3_000);

/// The most credit that the offer gives (it came over TCP: its sender is real).
pub const MAX_OFFER_CREDIT: usize = 1_024;

/// Credentials of both sides.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Ours; names the worker.
    pub local_ufrag: String,
    /// Ours.
    pub local_password: String,
    /// The viewer's.
    pub remote_ufrag: String,
    /// The viewer's.
    pub remote_password: String,
}

/// What a STUN datagram has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not for us, not authentic, or nothing new.
    Ignored,
    /// A valid check; a response (and maybe a request) is waiting in `poll_transmit`.
    Checked,
    /// The address has answered our request: it is real.
    Validated,
}

#[derive(Debug)]
struct Address {
    addr: SocketAddr,
    /// Last valid check.
    seen: Mono,
    /// Last check with USE-CANDIDATE.
    nominated: Option<Mono>,
    priority: u32,
    /// When it last answered us.
    validated: Option<Mono>,
    /// Our request that is under way.
    pending: Option<(TransactionId, Mono)>,
    /// Whether its last check was with the credentials from before a restart.
    old: bool,
}

impl Address {
    fn is_valid(&self, now: Mono) -> bool {
        self.validated.is_some_and(|at| now.since(at) < VALID_FOR)
    }
}

/// The agent.
#[derive(Debug)]
pub struct IceAgent {
    credentials: Credentials,
    /// Those from before a restart: they hold until an address is selected by the new ones.
    before: Option<Credentials>,
    addresses: Vec<Address>,
    selected: Option<SocketAddr>,
    /// Bytes that may still go to addresses that are not validated.
    credit: usize,
    last_check: Mono,
    transmits: Vec<(SocketAddr, Vec<u8>)>,
    tie_breaker: u64,
}

impl IceAgent {
    /// An agent; `offer_len` bytes have come over TCP already.
    pub fn new(
        now: Mono,
        credentials: Credentials,
        offer_len: usize,
        rng: &mut impl RngCore,
    ) -> Self {
        Self {
            credentials,
            before: None,
            addresses: Vec::new(),
            selected: None,
            credit: offer_len.min(MAX_OFFER_CREDIT),
            last_check: now,
            transmits: Vec::new(),
            tie_breaker: rng.next_u64(),
        }
    }

    /// Our user name fragment.
    pub fn local_ufrag(&self) -> &str {
        &self.credentials.local_ufrag
    }

    /// The viewer's user name fragment.
    pub fn remote_ufrag(&self) -> &str {
        &self.credentials.remote_ufrag
    }

    /// Our user name fragments that datagrams may come with: the present one, and during a restart
    /// the one from before.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        let before = self.before.as_ref().map(|c| c.local_ufrag.as_str());
        std::iter::once(self.local_ufrag()).chain(before)
    }

    /// Restarts (RFC 8445 section 9): checks come with new credentials from now on. Media stay
    /// where they are until the viewer has nominated an address with those. `len` bytes have come
    /// over TCP with it.
    pub fn restart(&mut self, credentials: Credentials, len: usize) {
        let last = std::mem::replace(&mut self.credentials, credentials);
        if self.before.is_none() {
            for address in &mut self.addresses {
                address.old = true;
            }
            self.before = Some(last);
        } else {
            // The one before did not get through: what works is older still, and what has come
            // with the last credentials is nobody's.
            let selected = self.selected;
            self.addresses.retain(|a| a.old || Some(a.addr) == selected);
            for address in &mut self.addresses {
                address.old = true;
            }
        }
        self.credit = self.credit.saturating_add(len).min(4 * MAX_OFFER_CREDIT);
    }

    /// Where media goes: the nominated, validated address.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// Whether a datagram from there may be looked at beyond STUN: it has sent valid checks.
    pub fn knows(&self, from: SocketAddr) -> bool {
        self.addresses.iter().any(|a| a.addr == from)
    }

    /// Whether the address has answered a request of ours lately.
    pub fn is_validated(&self, now: Mono, addr: SocketAddr) -> bool {
        self.addresses.iter().any(|a| a.addr == addr && a.is_valid(now))
    }

    /// Addresses that have sent valid checks, for the driver's routing table.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().map(|a| a.addr)
    }

    /// When the last valid check came (or the session began).
    pub fn last_check(&self) -> Mono {
        self.last_check
    }

    /// Looks at the validation of the media address: one that no longer answers our requests gets
    /// nothing more.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.selected.is_some_and(|addr| !self.is_validated(now, addr)) {
            self.selected = None;
            self.select(now);
        }
    }

    /// The next STUN datagram to be sent.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        if self.transmits.is_empty() { None } else { Some(self.transmits.remove(0)) }
    }

    /// Takes a STUN datagram.
    pub fn handle(
        &mut self,
        now: Mono,
        from: SocketAddr,
        data: &[u8],
        rng: &mut impl RngCore,
    ) -> Outcome {
        let Some(message) = stun::parse(data) else { return Outcome::Ignored };
        match message.kind {
            Kind::Request => self.check(now, from, &message, data.len(), rng),
            Kind::Success => self.answer(now, from, &message),
            Kind::Error => Outcome::Ignored,
        }
    }

    fn check(
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
            self.transmit(now, from, out);
            return Outcome::Ignored;
        }
        self.last_check = now;
        self.credit = self.credit.saturating_add(len).min(4 * MAX_OFFER_CREDIT);
        self.remember(now, from, message, old);
        stun::success(&mut out, &message.transaction, from, &password);
        self.transmit(now, from, out);
        self.validate(now, from, rng);
        self.select(now);
        Outcome::Checked
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
        if self.addresses.len() == MAX_ADDRESSES {
            // The longest silent one makes room; never the one that gets the media.
            let selected = self.selected;
            let oldest = self
                .addresses
                .iter()
                .enumerate()
                .filter(|(_, a)| Some(a.addr) != selected)
                .min_by_key(|(_, a)| (a.validated.is_some(), a.seen))
                .map(|(i, _)| i);
            if let Some(i) = oldest {
                self.addresses.swap_remove(i);
            }
        }
        self.addresses.push(Address {
            addr: from,
            seen: now,
            nominated,
            priority,
            validated: None,
            pending: None,
            old,
        });
    }

    /// Sends a request of our own, if this address is known and needs one.
    pub fn validate(&mut self, now: Mono, addr: SocketAddr, rng: &mut impl RngCore) {
        let Some(a) = self.addresses.iter_mut().find(|a| a.addr == addr) else { return };
        let fresh = a.validated.is_some_and(|at| now.since(at) < VALID_FOR / 2);
        let waiting = a.pending.is_some_and(|(_, at)| now.since(at) < VALIDATE_AGAIN);
        if fresh || waiting {
            return;
        }
        // A repeat keeps its transaction: a late answer to the first try counts as well.
        let id = a.pending.map_or_else(|| rng.random(), |(id, _)| id);
        a.pending = Some((id, now));
        let c = self.before.as_ref().filter(|_| a.old).unwrap_or(&self.credentials);
        let username = format!("{}:{}", c.remote_ufrag, c.local_ufrag);
        let mut out = Vec::with_capacity(128);
        stun::request(&mut out, &id, &username, self.tie_breaker, &c.remote_password);
        self.transmit(now, addr, out);
    }

    fn answer(&mut self, now: Mono, from: SocketAddr, message: &stun::Message<'_>) -> Outcome {
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
        self.select(now);
        Outcome::Validated
    }

    /// Chooses among nominated and validated addresses.
    fn select(&mut self, now: Mono) {
        let usable = |a: &&Address| a.nominated.is_some() && a.is_valid(now);
        let current = self.addresses.iter().find(|a| Some(a.addr) == self.selected);
        let rank = |a: &&Address| (!a.old, a.nominated, a.priority);
        let best = self.addresses.iter().filter(usable).max_by_key(rank);
        let Some(best) = best else { return };
        let stays = current.is_some_and(|c| {
            let quiet = now.since(c.seen) >= GIVE_WAY;
            c.is_valid(now) && !quiet && c.priority > best.priority && (!c.old || best.old)
        });
        let renewed = !best.old;
        if !stays {
            self.selected = Some(best.addr);
        }
        if renewed && self.before.take().is_some() {
            // The restart is over: what only answered to the old name is gone.
            self.addresses.retain(|a| !a.old);
        }
    }

    /// Queues a datagram; to an address that is not validated only within the credit, so that
    /// nobody can be made to get more from us than we got (no amplification).
    fn transmit(&mut self, now: Mono, to: SocketAddr, data: Vec<u8>) {
        if !self.is_validated(now, to) {
            let Some(left) = self.credit.checked_sub(data.len()) else { return };
            self.credit = left;
        }
        self.transmits.push((to, data));
    }
}
