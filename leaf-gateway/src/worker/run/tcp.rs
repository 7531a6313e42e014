//! The worker's dealings with TCP connections: their frames are datagrams to the sessions, and
//! sessions hear of connections that stall or end.

use super::Worker;
use crate::session::stun;
use crate::worker::sessions::Entry;
use crate::worker::tcp::{Tcp, TcpEvent, is_flow};
use soleil_protocol::Mono;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

impl Worker {
    /// Also serves viewers over TCP.
    pub(in crate::worker) fn with_tcp(mut self, tcp: Option<Tcp>) -> Self {
        self.tcp = tcp;
        self
    }

    /// Waits for something to do; whether it is with connections.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let pending = self.tcp.as_ref().is_some_and(Tcp::is_pending);
        let timeout = if pending { Duration::ZERO } else { timeout };
        let tcp = self.tcp.as_ref().map(Tcp::as_fd);
        let ready = self.socket.wait_also(timeout, &self.waker, false, tcp)?;
        Ok(pending || ready.also)
    }

    /// Accepts, reads, and tells sessions what became of their connections.
    pub(super) fn take_tcp(&mut self) -> io::Result<()> {
        let now = self.clock.now().mono;
        let Some(tcp) = self.tcp.as_mut() else { return Ok(()) };
        tcp.turn(now)?;
        let mut frames = tcp.take_frames();
        frames.for_each(|from, data| self.take_frame(now, from, data));
        if let Some(tcp) = self.tcp.as_mut() {
            tcp.recycle(frames);
        }
        self.send_strays();
        while let Some(event) = self.tcp.as_mut().and_then(Tcp::next_event) {
            self.take_tcp_event(now, event);
        }
        Ok(())
    }

    /// The first frame has to be a check for a session that is there, or at another worker.
    pub(super) fn take_frame(&mut self, now: Mono, from: SocketAddr, data: &mut [u8]) {
        if self.follow_stray(from, data) {
            return;
        }
        let open = self.tcp.as_ref().filter(|tcp| tcp.is_open(from));
        let Some(fresh) = open.map(|tcp| tcp.is_fresh(from)) else { return };
        if fresh && !self.sessions.names_session(data) {
            if !self.send_away(from, data)
                && let Some(tcp) = self.tcp.as_mut()
            {
                tcp.refuse(from);
            }
            return;
        }
        self.metrics.received.add(1);
        self.take_datagram(now, from, data);
        if fresh
            && self.sessions.by_address(from).is_some()
            && let Some(tcp) = self.tcp.as_mut()
        {
            tcp.admit(from);
        }
    }

    fn take_tcp_event(&mut self, now: Mono, event: TcpEvent) {
        let (TcpEvent::Stalled(flow) | TcpEvent::Drained(flow) | TcpEvent::Closed(flow)) = event;
        let Some(key) = self.sessions.by_address(flow) else { return };
        match event {
            TcpEvent::Closed(_) => self.sessions.lose(now, key, flow),
            TcpEvent::Stalled(_) => {
                self.metrics.tcp_stalls.add(1);
                if let Some(entry) = self.sessions.get_mut(key) {
                    entry.session.hold(flow);
                }
            }
            TcpEvent::Drained(_) => {
                if let Some(entry) = self.sessions.get_mut(key) {
                    entry.session.release(now, flow);
                }
            }
        }
        self.settle(now, key);
    }

    /// A session is over: so are its connections.
    pub(super) fn finish_tcp(&mut self, now: Mono, ended: Option<Entry>) {
        let (Some(tcp), Some(entry)) = (self.tcp.as_mut(), ended) else { return };
        entry.addresses.iter().filter(|a| is_flow(a)).for_each(|flow| tcp.finish(now, *flow));
    }

    /// Writes what goes to connections; the rest is UDP's.
    pub(super) fn flush_tcp(&mut self) {
        let Some(tcp) = self.tcp.as_mut().filter(|tcp| tcp.is_used()) else { return };
        let now = self.clock.now().mono;
        self.outbox.divert(is_flow, |to, data| tcp.send(now, to, data));
        tcp.flush();
    }

    /// Once a second.
    pub(super) fn expire_tcp(&mut self, now: Mono) {
        let Some(tcp) = self.tcp.as_mut() else { return };
        // A session keeps a few addresses only; what it has forgotten is nobody's.
        tcp.expire(now, |flow| self.sessions.by_address(flow).is_some());
        let counts = tcp.take_counts();
        self.metrics.tcp_connections.add(counts.accepted);
        self.metrics.tcp_refused.add(counts.refused);
        self.metrics.tcp_packets.add(counts.sent);
        self.metrics.tcp_dropped.add(counts.dropped);
    }
}

impl crate::worker::sessions::Sessions {
    /// Whether this is a check for a session that is there; it need not be authentic.
    fn names_session(&self, data: &[u8]) -> bool {
        let message = stun::parse(data);
        let user = message.and_then(|m| m.username).and_then(|user| user.split_once(':'));
        user.is_some_and(|(local, _)| self.by_ufrag(local).is_some())
    }
}
