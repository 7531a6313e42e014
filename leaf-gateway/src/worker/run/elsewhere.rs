//! The worker's dealings with the others: hands over what is theirs, takes what is its own, and keeps
//! them told of the addresses that its sessions are at.

use super::Worker;
use crate::session::{is_rtcp, stun};
use crate::worker::Command;
use crate::worker::handover::{Bundle, MAX_HANDED, Neighbours, Way, What};
use crate::worker::tcp::{Stray, Tcp};
use soleil_protocol::Mono;
use std::net::SocketAddr;

/// Bundles that are taken before packets for viewers get their turn again.
const BUNDLES_AT_ONCE: usize = 16;

impl Worker {
    /// Shares its port with other workers.
    pub(in crate::worker) fn with_neighbours(mut self, neighbours: Neighbours) -> Self {
        self.number = neighbours.me();
        self.neighbours = Some(neighbours);
        self
    }

    /// Takes a datagram that has come to the worker's socket, for itself or another.
    pub(super) fn take_arrival(&mut self, now: Mono, from: SocketAddr, data: &mut [u8]) {
        let Some(neighbours) = self.neighbours.as_mut() else {
            return self.take_datagram(now, from, data);
        };
        let claimed = self.sessions.by_address(from).is_some();
        match neighbours.way(from, data, claimed) {
            Way::Here => {
                if !self.find_and_take(now, from, data) && !self.ask_around(now, from, data) {
                    self.metrics.unknown.add(1);
                }
            }
            Way::There(owner) => neighbours.push(owner, What::Datagram, from, data),
            Way::Everywhere(lead) => {
                neighbours.push(lead.owner, What::Datagram, from, data);
                if let Some(rival) = lead.rival {
                    neighbours.push(rival, What::Datagram, from, data);
                }
                self.find_and_take(now, from, data);
            }
        }
    }

    /// RTCP from an address that is nobody's here: a viewer of another worker may have moved.
    fn ask_around(&mut self, now: Mono, from: SocketAddr, data: &[u8]) -> bool {
        let Some(neighbours) = self.neighbours.as_mut() else { return false };
        data.len() <= MAX_HANDED && is_rtcp(data) && neighbours.ask(now, from, data)
    }

    /// Takes what other workers have handed over, but not more than a turn's worth.
    pub(super) fn take_handed(&mut self, now: Mono) {
        for _ in 0..BUNDLES_AT_ONCE {
            let Some(mut bundle) = self.neighbours.as_mut().and_then(Neighbours::next) else {
                self.flush_handed();
                return;
            };
            self.take_bundle(now, &mut bundle);
            if let Some(neighbours) = &mut self.neighbours {
                neighbours.recycle(bundle);
            }
        }
        self.flush_handed();
        // There may be more.
        self.waker.wake();
    }

    /// What was pushed for others leaves; before what the sessions send, so that others know of an
    /// address before it can answer.
    pub(super) fn flush_handed(&mut self) {
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.flush();
        }
    }

    fn take_bundle(&mut self, now: Mono, bundle: &mut Bundle) {
        let via = bundle.via;
        self.via = Some(via);
        for (what, from, data) in bundle.entries() {
            match what {
                What::Datagram => {
                    let stun = stun::is_stun(data);
                    if !self.find_and_take(now, from, data) {
                        self.metrics.unknown.add(1);
                        if !stun && let Some(neighbours) = &mut self.neighbours {
                            neighbours.push(via, What::Nobody, from, &[]);
                        }
                    }
                }
                // Its session by what it says, unless the address is known by now.
                What::Moved => {
                    self.find_and_take(now, from, data);
                }
                What::Claim { validated } => {
                    if let Some(neighbours) = &mut self.neighbours {
                        neighbours.take_claim(via, from, validated);
                    }
                }
                What::Nobody => {
                    if let Some(neighbours) = &mut self.neighbours {
                        neighbours.take_nobody(via, from);
                    }
                }
            }
        }
        self.via = None;
    }

    /// A session here claims an address, after something authentic has come from there: the worker at
    /// which that has landed is told, so that the rest follows.
    pub(super) fn tell_claim(&mut self, address: SocketAddr, validated: bool) {
        let Some(neighbours) = &mut self.neighbours else { return };
        if validated {
            neighbours.own(address);
        }
        if let Some(via) = self.via {
            neighbours.push(via, What::Claim { validated }, address, &[]);
        }
    }

    /// Lets a connection go whose first frame names a session of another worker; `false` if it does
    /// not.
    pub(super) fn send_away(&mut self, flow: SocketAddr, first: &[u8]) -> bool {
        let Some(to) = self.neighbours.as_ref().and_then(|n| n.named(first)) else { return false };
        let Some(mut stray) = self.tcp.as_mut().and_then(|tcp| tcp.release(flow)) else {
            return false;
        };
        stray.frames.push(first.to_vec());
        self.strays.push((flow, to, stray));
        true
    }

    /// More of a connection that goes elsewhere.
    pub(super) fn follow_stray(&mut self, flow: SocketAddr, data: &[u8]) -> bool {
        let stray = self.strays.iter_mut().find(|(of, ..)| *of == flow);
        stray.map(|(.., stray)| stray.frames.push(data.to_vec())).is_some()
    }

    /// All frames of a turn are taken: the connections go.
    pub(super) fn send_strays(&mut self) {
        for (_, to, stray) in std::mem::take(&mut self.strays) {
            if let Some(neighbours) = &self.neighbours {
                neighbours.command(to, Command::Adopt(Box::new(stray)));
            }
        }
    }

    /// Takes a connection over from the worker that listens.
    pub(super) fn adopt(&mut self, now: Mono, stray: Stray) {
        let adopted = self.tcp.as_mut().and_then(|tcp: &mut Tcp| tcp.adopt(now, stray));
        let Some((flow, frames)) = adopted else { return };
        for mut frame in frames {
            self.take_frame(now, flow, &mut frame);
        }
    }
}
