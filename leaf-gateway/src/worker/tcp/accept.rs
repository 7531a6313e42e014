//! New connections, within the limits.

use super::backlog::Backlog;
use super::flow::flow;
use super::frame::Deframer;
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
            match self.listener.accept() {
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

    fn take(&mut self, now: Mono, mut stream: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let customer = customer(peer.ip());
        let here = self.customers.get(&customer).copied().unwrap_or(0);
        if self.connections.len() >= self.limits.total || here >= self.limits.per_address {
            self.counts.refused += 1;
            return;
        }
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
            self.counts.refused += 1;
            return;
        }
        // Packets are not to wait for others.
        let _ = stream.set_nodelay(true);
        self.counts.accepted += 1;
        *self.customers.entry(customer).or_default() += 1;
        self.fresh.insert(number);
        self.connections.insert(
            number,
            Connection {
                stream,
                flow: flow(peer, number),
                customer,
                state: State::Fresh,
                until: Some(now.after(AUTHENTICATE_WITHIN)),
                input: Deframer::default(),
                output: Backlog::default(),
                dirty: false,
            },
        );
    }
}
