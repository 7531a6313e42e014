//! Opening the media path (PROTOCOL "Opening"): the child asks by STUN, the parent validates the
//! address by a request of its own before any media goes there, and again when it changes. So
//! nothing can be reflected at a stranger.

use super::Plane;
use crate::media::api::{PeerSide, PlaneEvent};
use crate::media::link::{Check, State};
use crate::media::stun::{self, Class, Message};
use rand::RngCore;
use soleil_protocol::{LinkId, Mono};
use std::net::SocketAddr;
use std::time::Duration;

/// At most one validation request per link in this time: whoever replays a captured request from
/// a foreign address gets little more back than he sends.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl Plane {
    pub(super) fn handle_stun(&mut self, now: Mono, from: SocketAddr, datagram: &[u8]) {
        let known = Message::parse(datagram).is_some_and(|message| match message.class {
            Class::Request => self.binding_request(now, from, &message),
            Class::Success => self.binding_response(now, from, &message),
        });
        if !known {
            self.strays.stun_refused += 1;
        }
    }

    fn binding_request(&mut self, now: Mono, from: SocketAddr, message: &Message<'_>) -> bool {
        let id = message
            .username
            .and_then(|name| name.rsplit_once(':').and_then(|(_, id)| id.parse::<LinkId>().ok()));
        let Some(&key) = id.and_then(|id| self.link_ids.get(&id)) else { return false };
        let Some(link) = self.links.get_mut(key) else { return false };
        if message.username != Some(&link.username) || !message.verify(&link.key) {
            return false;
        }
        if !link.is_new_request(&message.transaction) {
            // Every request of a peer has a number of its own: this one was copied on the way.
            return false;
        }
        self.control.push(from, |out, _| {
            stun::write_success(out, &message.transaction, from, &link.key);
            true
        });
        // It does not count as having been heard: a request older than our memory may be a copy.
        // What counts are answers to requests of our own, and RTCP.
        if link.address != Some(from) && link.peer == PeerSide::Child {
            self.check_address(now, key, from);
        }
        true
    }

    fn binding_response(&mut self, now: Mono, from: SocketAddr, message: &Message<'_>) -> bool {
        let Some(&key) = self.transactions.get(&message.transaction) else { return false };
        let Some(link) = self.links.get_mut(key) else { return false };
        let Some(check) = link.check.filter(|c| c.transaction == message.transaction) else {
            return false;
        };
        if check.to != from || !message.verify(&link.key) {
            return false;
        }
        link.check = None;
        link.measured_rtt(now.since(check.sent));
        self.transactions.remove(&message.transaction);
        self.validated(now, key, from);
        true
    }

    /// Asks `to` to prove that it has the credential, unless we have just asked.
    pub(super) fn check_address(&mut self, now: Mono, key: usize, to: SocketAddr) {
        let Some(link) = self.links.get_mut(key) else { return };
        if link.check.is_some_and(|c| now < c.sent.after(CHECK_INTERVAL)) {
            return;
        }
        self.send_binding(now, key, to);
    }

    /// Sends a binding request; an earlier one of the link is forgotten.
    pub(super) fn send_binding(&mut self, now: Mono, key: usize, to: SocketAddr) {
        let mut transaction = [0; stun::TRANSACTION_LEN];
        self.rng.fill_bytes(&mut transaction);
        let Some(link) = self.links.get_mut(key) else { return };
        if let Some(old) = link.check.replace(Check { to, transaction, sent: now }) {
            self.transactions.remove(&old.transaction);
        }
        self.transactions.insert(transaction, key);
        self.control.push(to, |out, _| {
            stun::write_request(out, &transaction, &link.username, &link.key);
            true
        });
    }

    /// The peer has proved that it is at `address`.
    fn validated(&mut self, now: Mono, key: usize, address: SocketAddr) {
        let Some(link) = self.links.get_mut(key) else { return };
        let (was_open, before) = (link.state == State::Open, link.address);
        let moved = before != Some(address);
        link.heard = now;
        link.address = Some(address);
        link.state = State::Open;
        let id = link.id;
        if !was_open {
            link.attempts = 0;
            link.heard_rtcp = false;
            link.timers.heartbeat = now;
            link.timers.report = now;
            link.timers.feedback = now.after(self.config.feedback);
        }
        if moved {
            if let Some(before) = before {
                self.release_address(key, before);
            }
            self.addresses.insert(address, key);
        }
        if moved || !was_open {
            self.event(PlaneEvent::LinkOpen(id, address));
            self.wake_at(now);
            self.pump(now);
        }
    }

    /// Takes the address from a link; another open link of the same peer inherits it.
    pub(super) fn release_address(&mut self, key: usize, address: SocketAddr) {
        if self.addresses.get(&address) != Some(&key) {
            return;
        }
        let heir = self
            .links
            .iter()
            .find(|(k, l)| *k != key && l.is_open() && l.address == Some(address))
            .map(|(k, _)| k);
        match heir {
            Some(heir) => self.addresses.insert(address, heir),
            None => self.addresses.remove(&address),
        };
    }

    /// Something authenticated has come from the peer at its validated address.
    pub(super) fn heard(&mut self, now: Mono, key: usize) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.heard = now;
        if link.state == State::Silent
            && let Some(address) = link.address
        {
            link.state = State::Open;
            link.attempts = 0;
            let id = link.id;
            self.event(PlaneEvent::LinkOpen(id, address));
        }
    }
}
