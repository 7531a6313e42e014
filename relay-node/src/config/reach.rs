//! Which addresses to tell others when the configuration names none: a listener on `0.0.0.0` is
//! reached at the address that this machine uses towards its peers.

use super::values::format_endpoint;
use soleil_protocol::message::HostPort;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

/// The address of this machine on the way to `peer`: asks the routing table, sends nothing.
///
/// # Errors
/// If the name cannot be resolved or there is no route.
pub fn toward(peer: &HostPort) -> io::Result<IpAddr> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in format_endpoint(peer).to_socket_addrs()? {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        match UdpSocket::bind(any).and_then(|s| s.connect(address).and_then(|()| s.local_addr())) {
            Ok(local) => return Ok(local.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Addresses of this machine that others may reach: of all interfaces, loopback last and only if
/// there is nothing else; no link-local ones. For the root, which has nobody to go towards.
///
/// # Errors
/// If the interfaces cannot be listed.
pub fn interfaces() -> io::Result<Vec<IpAddr>> {
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        // fe80::/10 needs a scope that means nothing elsewhere.
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 != 0xfe80 && !v6.is_unspecified(),
    };
    let mut all: Vec<IpAddr> =
        if_addrs::get_if_addrs()?.into_iter().map(|i| i.ip()).filter(usable).collect();
    all.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    all.dedup();
    if all.first().is_some_and(|ip| !ip.is_loopback()) {
        all.retain(|ip| !ip.is_loopback());
    }
    Ok(all)
}

/// This machine's addresses as others may reach it: the one towards `peer` if there is a peer with a
/// route to it, else those of all interfaces. Empty only if neither can be had.
pub fn guess(peer: Option<&HostPort>) -> Vec<IpAddr> {
    if let Some(peer) = peer {
        match toward(peer) {
            Ok(address) => return vec![address],
            Err(error) => {
                let peer = format_endpoint(peer);
                tracing::warn!(%error, %peer, "no way there yet: announcing all interfaces");
            }
        }
    }
    interfaces().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the interfaces");
        Vec::new()
    })
}

/// What to announce for a listener: what is configured, else the listener's own address if it is a
/// definite one, else `guess` with the listener's port.
pub fn announced(
    configured: &[SocketAddr],
    bound: SocketAddr,
    guess: &[IpAddr],
) -> Vec<SocketAddr> {
    if !configured.is_empty() {
        return configured.to_vec();
    }
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let fits = |ip: &&IpAddr| bound.is_ipv6() || ip.is_ipv4();
    let most = soleil_protocol::limits::MAX_MEDIA;
    guess.iter().filter(fits).take(most).map(|ip| SocketAddr::new(*ip, bound.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn towards_loopback_is_loopback() {
        let peer = HostPort { host: "127.0.0.1".into(), port: 9 };
        assert!(toward(&peer).unwrap().is_loopback());
    }

    #[test]
    fn configured_before_bound_before_guessed() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let guess: [IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let configured = [address("198.51.100.1:9")];
        assert_eq!(announced(&configured, address("0.0.0.0:5"), &guess), configured);
        assert_eq!(announced(&[], address("127.0.0.1:5"), &guess), [address("127.0.0.1:5")]);
        assert_eq!(announced(&[], address("0.0.0.0:5"), &guess), [address("192.0.2.7:5")]);
        assert_eq!(announced(&[], address("[::]:5"), &guess).len(), 2);
    }
}
