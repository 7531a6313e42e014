//! What lies between nodes: datagrams that get lost and overtake each other, and connections that
//! keep the order.

use super::fake::BACKDATE_MICROS;
use super::queue::What;
use super::world::{End, Sim};
use relay_node::control::api::{ConnId, DialId, DialTarget, Peer, Vault};
use soleil_protocol::message::HostPort;
use soleil_protocol::{Message, Wall};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a lost message costs: a retransmission time-out of TCP (RFC 6298: at least 200 ms in
/// practice).
const RETRANSMISSION: u64 = 200_000;

/// What a datagram has around it on the way: IPv4 and UDP headers.
const HEADERS: usize = 28;

/// After which time a driver gives up a dial that nobody answers
/// (`relay_node::io::limits::DIAL_TIMEOUT`).
const DIAL_TIMEOUT: u64 = 5_000_000;

/// When TCP tries again to connect in that time (RFC 6298: after a second, then doubled).
const SYN_AGAIN: [u64; 2] = [1_000_000, 3_000_000];

pub(super) fn media_address(node: usize) -> SocketAddr {
    let [_, _, high, low] = (node as u32).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 4_000)
}

pub(super) fn node_at(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [ten, _, high, low] = ip.octets();
            (ten == 10).then(|| usize::from(high) << 8 | usize::from(low))
        }
        IpAddr::V6(_) => None,
    }
}

pub(super) fn server(node: usize) -> HostPort {
    HostPort { host: format!("node-{node}.example"), port: 10_000 + node as u16 }
}

impl Sim {
    pub(super) fn transmit(&mut self, node: usize) {
        let Some(plane) = &mut self.nodes[node].plane else { return };
        let out: Vec<(SocketAddr, Vec<u8>)> =
            plane.transmits().map(|(to, bytes)| (to, bytes.to_vec())).collect();
        plane.clear_transmits();
        for (address, bytes) in out {
            let Some(to) = node_at(address).filter(|n| *n < self.nodes.len()) else { continue };
            let passes = self.filter.as_mut().is_none_or(|filter| filter(node, to, &bytes));
            if !passes || self.lost() {
                continue;
            }
            let most = self.setup.weather.queue.as_micros() as u64;
            if let Some(wait) = self.wait(node, to, bytes.len(), most) {
                let at = self.now + wait + self.flight(node, to);
                self.push(at, What::Datagram { to, from: media_address(node), bytes });
            }
        }
    }

    /// How long it takes until something that is sent now has left, on the way from one node to
    /// another; `None` if it would have to wait longer than `most` for what was sent before.
    fn wait(&mut self, from: usize, to: usize, bytes: usize, most: u64) -> Option<u64> {
        let Some(rate) = self.setup.weather.rate else { return Some(0) };
        let bits = 8 * (bytes + HEADERS) as u64;
        let busy = self.busy.entry((from, to)).or_default();
        let begins = self.now.max(*busy);
        if begins - self.now > most {
            self.drowned += 1;
            return None;
        }
        *busy = begins + bits * 1_000_000 / rate.max(1);
        Some(*busy - self.now)
    }

    /// TCP and TLS take a round trip and a half each way of the handshake.
    pub(super) fn dial(&mut self, node: usize, dial: DialId, target: &DialTarget, since: u64) {
        let to = match target {
            DialTarget::Root => Some(0),
            DialTarget::Node(_, server) => usize::from(server.port).checked_sub(10_000),
        };
        let to = to.filter(|to| *to < self.nodes.len());
        let way = self.flight(node, to.unwrap_or(node));
        if to.is_some_and(|to| self.nodes[to].dark || !self.reach(node, to)) {
            let next = SYN_AGAIN.into_iter().find(|again| since + again > self.now);
            return match next {
                Some(again) => {
                    let target = target.clone();
                    self.push(since + again, What::Dial { node, dial, target, since });
                }
                None => self.push(
                    since + DIAL_TIMEOUT,
                    What::DialFailed { to: node, dial, refused: false },
                ),
            };
        }
        let to = to.filter(|to| self.nodes.get(*to).is_some_and(|n| n.alive && !n.frozen));
        let right = match (to, target) {
            (Some(to), DialTarget::Node(id, _)) => self.nodes[to].id() == *id,
            (to, _) => to.is_some(),
        };
        let Some(to) = to.filter(|_| right) else {
            // A dead process' port answers at once; a frozen one never would, but drivers give up.
            return self
                .push(self.now + 2 * way, What::DialFailed { to: node, dial, refused: false });
        };
        if !self.tls(node, to, target) {
            let at = self.now + 4 * way;
            return self.push(at, What::DialFailed { to: node, dial, refused: false });
        }
        let entry = &self.nodes[node];
        let peer = match target {
            DialTarget::Root => {
                let token = (node.to_string(), entry.role);
                match entry.certified_until() {
                    until if until > self.clock(node).wall.max(self.clock(0).wall) => {
                        let (id, key) = (entry.id(), entry.key());
                        Peer::Node { id, key, until, token: Some(token) }
                    }
                    _ => Peer::Joining { token: token.0, role: token.1 },
                }
            }
            DialTarget::Node(..) => {
                let (id, until) = (entry.id(), entry.certified_until());
                Peer::Node { id, key: entry.key(), until, token: None }
            }
        };
        let (ours, theirs) = (ConnId(self.next_conn + 1), ConnId(self.next_conn + 2));
        self.next_conn += 2;
        let accepted = self.now + 3 * way;
        let dialed = accepted + way;
        self.ends.insert((node, ours), End { peer_conn: theirs, peer: to, last: dialed });
        self.ends.insert((to, theirs), End { peer_conn: ours, peer: node, last: dialed });
        self.push(accepted, What::Accepted { to, conn: theirs, peer, from: node });
        self.push(dialed, What::Dialed { to: node, dial, conn: ours });
    }

    /// Whether both ends take each other's certificates, each by the clock of its machine.
    fn tls(&self, node: usize, to: usize, target: &DialTarget) -> bool {
        match target {
            // Who has no certificate that is valid shows its token.
            DialTarget::Root => self.is_valid(0, node),
            DialTarget::Node(..) => {
                self.is_valid(node, node) && self.is_valid(to, node) && self.is_valid(node, to)
            }
        }
    }

    /// Whether a node's certificate is valid by the clock of another's machine.
    fn is_valid(&self, whose: usize, by: usize) -> bool {
        let now = self.clock(by).wall;
        let (from, until) = match &self.nodes[whose].identity {
            Some(identity) => self.nodes[whose].vault.validity(&identity.certificate),
            // The root's own, as its program makes it: a day from now, issued when it began.
            None if whose == 0 => {
                let from = Wall(Sim::beginning().0 - BACKDATE_MICROS);
                Some((from, Wall(self.time().0 + 86_400_000_000)))
            }
            None => None,
        }
        .unwrap_or_default();
        from <= now && now <= until
    }

    pub(super) fn transport(&mut self, node: usize, conn: ConnId, message: &Message) {
        let Some(peer) = self.ends.get(&(node, conn)).map(|end| end.peer) else { return };
        let mut at = self.now + self.flight(node, peer);
        if self.lost() {
            at += RETRANSMISSION;
        }
        let xml = message.to_xml();
        at += self.wait(node, peer, xml.len(), u64::MAX).unwrap_or_default();
        let Some(end) = self.ends.get_mut(&(node, conn)) else { return };
        at = at.max(end.last);
        end.last = at;
        let (to, conn) = (end.peer, end.peer_conn);
        self.nodes[node].traffic.count(&xml);
        self.push(at, What::Message { to, conn, xml });
    }

    pub(super) fn close(&mut self, node: usize, conn: ConnId) {
        if let Some(end) = self.ends.remove(&(node, conn)) {
            let at = (self.now + self.flight(node, end.peer)).max(end.last);
            self.push(at, What::Closed { to: end.peer, conn: end.peer_conn });
        }
    }
}
