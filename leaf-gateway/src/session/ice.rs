//! ICE-lite for one viewer (RFC 8445 section 2.5): answers checks, validates each address by a
//! request of our own before anything but STUN goes there (DESIGN 3), follows the viewer's
//! nomination, and knows when consent has run out (RFC 7675). Pure. Here are the addresses, what
//! may go to them and which of them gets the media; checks and requests are in `checks`.
//!
//! Until an address has answered us it gets no more bytes than came from it: anybody can write it
//! on a datagram. Only the address that has posted the offer has the offer's bytes to its credit.
//! Where the credit does not cover both, our request goes first and the response follows the answer.

mod checks;
#[cfg(test)]
mod tests;

use super::stun::{self, Kind, TransactionId};
use rand::RngCore;
use soleil_protocol::Mono;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Addresses that are remembered per viewer: interfaces times address families of a phone or
/// laptop, before and after a move.
pub const MAX_ADDRESSES: usize = 8;

/// A validation holds that long without an answer to a newer request of ours; the viewer's checks
/// (about every 2.5 s) renew it at half of this.
const VALID_FOR: Duration = Duration::from_secs(30);

/// A nominated address that has been silent for so long gives way to another one that is
/// nominated, whatever their priorities: just longer than browsers wait between two checks (2.5 s).
const GIVE_WAY: Duration = Duration::from_millis(3_000);

/// The most credit that the offer gives to the address that has posted it (over TCP: it is real).
pub const MAX_OFFER_CREDIT: usize = 1_024;

/// The most credit that an address has: a handful of responses and requests.
const MAX_CREDIT: usize = 1_024;

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
    /// Bytes that came from there and may go back before it is validated.
    credit: usize,
    /// A check that is answered as soon as it is validated.
    owed: Option<TransactionId>,
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
    /// Takes nothing at present: a connection that does not drain.
    held: Option<SocketAddr>,
    /// Who has posted the offer.
    client: Option<IpAddr>,
    /// Bytes that may go there for the offer.
    offer: usize,
    /// The highest index of the viewer's SRTCP.
    newest: Option<u32>,
    last_check: Mono,
    transmits: Vec<(SocketAddr, Vec<u8>)>,
    tie_breaker: u64,
}

impl IceAgent {
    /// An agent; `offer_len` bytes have come over TCP already, from whom [`trust`](Self::trust) says.
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
            held: None,
            client: None,
            offer: offer_len.min(MAX_OFFER_CREDIT),
            newest: None,
            last_check: now,
            transmits: Vec::new(),
            tie_breaker: rng.next_u64(),
        }
    }

    /// The offer was posted from there.
    pub fn trust(&mut self, client: IpAddr) {
        self.client = Some(client.to_canonical());
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
        self.offer = self.offer.saturating_add(len).min(MAX_OFFER_CREDIT);
    }

    /// Where media goes: the nominated, validated address, unless it is held.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected.filter(|addr| Some(*addr) != self.held)
    }

    /// Whether this is the nominated, validated address; media go there or are held.
    pub fn is_selected(&self, addr: SocketAddr) -> bool {
        self.selected == Some(addr)
    }

    /// Sends no media there until [`release`](Self::release).
    pub fn hold(&mut self, addr: SocketAddr) {
        self.held = Some(addr);
    }

    /// Ends a hold.
    pub fn release(&mut self, addr: SocketAddr) {
        self.held = self.held.filter(|held| *held != addr);
    }

    /// The address is gone (its connection has ended).
    pub fn forget(&mut self, now: Mono, addr: SocketAddr) {
        self.release(addr);
        self.addresses.retain(|a| a.addr != addr);
        self.transmits.retain(|(to, _)| *to != addr);
        if self.selected == Some(addr) {
            self.selected = None;
            self.select(now);
        }
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

    fn find(&mut self, addr: SocketAddr) -> Option<&mut Address> {
        self.addresses.iter_mut().find(|a| a.addr == addr)
    }

    /// Remembers an address that is not remembered yet.
    fn add(&mut self, now: Mono, addr: SocketAddr, old: bool) {
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
            addr,
            seen: now,
            nominated: None,
            priority: 0,
            validated: None,
            pending: None,
            old,
            credit: 0,
            owed: None,
        });
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

    /// Bytes have come from there.
    fn earn(&mut self, from: SocketAddr, len: usize) {
        if let Some(a) = self.find(from) {
            a.credit = a.credit.saturating_add(len).min(MAX_CREDIT);
        }
    }

    /// What the offer gives to this address.
    fn offered(&self, addr: SocketAddr) -> usize {
        if self.client == Some(addr.ip().to_canonical()) { self.offer } else { 0 }
    }

    /// Whether so many bytes may go there: without bound if it has answered us, else what its
    /// credit covers (nobody can be made to get more from us than we got: no amplification).
    fn may_send(&self, now: Mono, to: SocketAddr, len: usize) -> bool {
        let address = self.addresses.iter().find(|a| a.addr == to);
        address.is_some_and(|a| a.is_valid(now) || a.credit + self.offered(to) >= len)
    }

    /// Queues a datagram that may be sent.
    fn send(&mut self, now: Mono, to: SocketAddr, data: Vec<u8>) {
        let offered = self.offered(to);
        if let Some(a) = self.find(to).filter(|a| !a.is_valid(now)) {
            let rest = data.len().saturating_sub(a.credit);
            a.credit = a.credit.saturating_sub(data.len());
            self.offer -= rest.min(offered);
        }
        self.transmits.push((to, data));
    }
}
