//! Addresses that stand for connections, so that sessions and routing tables need not know of them.

use std::net::{SocketAddr, SocketAddrV6};

/// The address that stands for a connection: its peer's as IPv6, with the connection's number as
/// flow label. Nothing that comes over UDP has one, so the two are never mistaken for each other.
pub(super) fn flow(peer: SocketAddr, number: u32) -> SocketAddr {
    let (ip, scope) = match peer {
        SocketAddr::V4(a) => (a.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(a) => (*a.ip(), a.scope_id()),
    };
    SocketAddr::V6(SocketAddrV6::new(ip, peer.port(), number, scope))
}

/// The number of the connection that an address stands for.
pub(super) fn number(address: &SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(a) if a.flowinfo() != 0 => Some(a.flowinfo()),
        _ => None,
    }
}

/// Whether an address stands for a connection.
pub(in crate::worker) fn is_flow(address: &SocketAddr) -> bool {
    number(address).is_some()
}
