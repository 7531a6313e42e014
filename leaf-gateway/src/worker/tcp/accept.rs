//! New connections, within the limits.

use super::backlog::Backlog;
use super::flow::flow;
use super::frame::Deframer;
use super::places::Place;
use super::{AT_ONCE, AUTHENTICATE_WITHIN, Connection, MAX_FRESH, State, Tcp};
use crate::occupancy::customer;
use mio::net::TcpStream;
use mio::{Interest, Token};
use soleil_protocol::Mono;
use std::io;
use std::net::SocketAddr;

impl Tcp {
    pub(super) fn accept(&mut self, now: Mono) {
        for _ in 0..AT_ONCE {
            let Some(listener) = &self.listener else {
                self.accept = false;
                return;
            };
            match listener.accept() {
                Ok((stream, peer)) => self.take(now, stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accept = false;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // No descriptors left, most likely: the next second may have some.
                    tracing::warn!(%error, "no TCP connection can be accepted");
                    self.accept = false;
                    return;
                }
            }
        }
    }

    fn take(&mut self, now: Mono, stream: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let place = self.places.take(customer(peer.ip()));
        let taken =
            place.and_then(|place| self.insert(now, stream, peer, place, Deframer::default()));
        match taken {
            Some(_) => self.counts.accepted += 1,
            None => self.counts.refused += 1,
        }
    }

    /// A connection without a valid check is here from now on, under the address that stands for it.
    pub(super) fn insert(
        &mut self,
        now: Mono,
        mut stream: TcpStream,
        peer: SocketAddr,
        place: Place,
        input: Deframer,
    ) -> Option<SocketAddr> {
        if self.fresh.len() >= MAX_FRESH
            && let Some(oldest) = self.fresh.first().copied()
        {
            self.counts.refused += 1;
            self.remove(oldest);
        }
        // Once around after four billion connections, when the first ones are long gone.
        self.last = self.last.checked_add(1).unwrap_or(1);
        let number = self.last;
        let both = Interest::READABLE | Interest::WRITABLE;
        let token = Token(number as usize);
        let registered = self.poll.registry().register(&mut stream, token, both);
        if self.connections.contains_key(&number) || registered.is_err() {
            return None;
        }
        // Packets are not to wait for others.
        let _ = stream.set_nodelay(true);
        self.fresh.insert(number);
        let flow = flow(peer, number);
        self.connections.insert(
            number,
            Connection {
                stream,
                flow,
                place,
                state: State::Fresh,
                until: Some(now.after(AUTHENTICATE_WITHIN)),
                input,
                output: Backlog::default(),
                dirty: false,
            },
        );
        Some(flow)
    }
}
