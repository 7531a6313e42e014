//! Where browsers reach a WebRTC port (viewers a leaf's, broadcasters the root's): the addresses that
//! are configured (behind NAT), or those of the listener and the machine's interfaces, as candidates
//! of answers (RFC 8839, RFC 6544).

use super::reach;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// How a candidate is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Frames on a connection that the viewer opens (RFC 6544 `tcptype passive`).
    Tcp,
}

/// One way to the viewer port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Over what.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

impl Candidate {
    /// A UDP candidate.
    pub fn udp(address: SocketAddr) -> Self {
        Self { transport: Transport::Udp, address }
    }
}

/// An announced address, as configured: `198.51.100.7`, `198.51.100.7:8190`, `2001:db8::7`,
/// `[2001:db8::7]` or `[2001:db8::7]:8190`. Names are refused: a name that means something else
/// tomorrow would be announced until the next start, and browsers resolve none in candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Announced {
    /// The address.
    pub ip: IpAddr,
    /// The port; `None`: the listener's.
    pub port: Option<u16>,
}

impl FromStr for Announced {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { ip: address.ip(), port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(ip) if bare.len() == text.len() || ip.is_ipv6() => Ok(Self { ip, port: None }),
            _ => Err(format!(
                "\"{text}\" is no address: write 198.51.100.7, 198.51.100.7:8190, 2001:db8::7 or \
                 [2001:db8::7]:8190 (names are not resolved)"
            )),
        }
    }
}

impl TryFrom<String> for Announced {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Announced {
    /// Whether viewers can reach it at all.
    pub fn is_definite(&self) -> bool {
        !self.ip.is_unspecified() && self.port != Some(0)
    }
}

/// All ways to the viewer port.
#[derive(Debug, Clone)]
pub struct Reach {
    addresses: Vec<SocketAddr>,
    loopback: Vec<SocketAddr>,
    tcp: bool,
}

impl Reach {
    /// For a port that is bound to `bound`; `tcp`: there is a listener on the same port.
    pub fn new(
        announce: &[Announced],
        bound: SocketAddr,
        interfaces: &[IpAddr],
        tcp: bool,
    ) -> Self {
        let configured: Vec<SocketAddr> = announce
            .iter()
            .map(|a| SocketAddr::new(a.ip, a.port.unwrap_or(bound.port())))
            .collect();
        let addresses = reach::announced(&configured, bound, interfaces);
        Self { addresses, loopback: loopback(bound), tcp }
    }

    /// The candidates for a viewer whose request came from `client`, best first: a viewer on this
    /// machine also gets loopback addresses, if the port is bound to all. UDP before TCP.
    pub fn candidates(&self, client: IpAddr) -> Vec<Candidate> {
        let mut addresses = self.addresses.clone();
        let client = client.to_canonical();
        if client.is_loopback() {
            let (same, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
                self.loopback.iter().partition(|l| l.is_ipv4() == client.is_ipv4());
            for address in same.into_iter().chain(other) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        let with =
            |transport| move |address: &SocketAddr| Candidate { transport, address: *address };
        let udp = addresses.iter().map(with(Transport::Udp));
        let tcp = addresses.iter().filter(|_| self.tcp).map(with(Transport::Tcp));
        udp.chain(tcp).collect()
    }
}

/// The loopback addresses of a port that is bound to all addresses.
fn loopback(bound: SocketAddr) -> Vec<SocketAddr> {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ips: &[IpAddr] = match bound.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => &[v4],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => &[v4, IpAddr::V6(Ipv6Addr::LOCALHOST)],
        _ => &[],
    };
    ips.iter().map(|ip| SocketAddr::new(*ip, bound.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(reach: &Reach, client: &str) -> Vec<String> {
        let name = |c: &Candidate| format!("{:?} {}", c.transport, c.address);
        reach.candidates(client.parse().unwrap()).iter().map(name).collect()
    }

    #[test]
    fn announced_addresses_have_a_port_or_take_the_listeners() {
        let announce: Vec<Announced> =
            ["198.51.100.7", "198.51.100.8:9", "2001:db8::7", "[2001:db8::8]", "[2001:db8::9]:9"]
                .map(|text| text.parse().unwrap())
                .to_vec();
        let reach = Reach::new(&announce, "0.0.0.0:8190".parse().unwrap(), &[], false);
        assert_eq!(
            texts(&reach, "192.0.2.1"),
            [
                "Udp 198.51.100.7:8190",
                "Udp 198.51.100.8:9",
                "Udp [2001:db8::7]:8190",
                "Udp [2001:db8::8]:8190",
                "Udp [2001:db8::9]:9"
            ]
        );
        for text in ["leaf.example", "leaf.example:8190", "[192.0.2.1]", "", "192.0.2.1:x", ":9"] {
            let error = text.parse::<Announced>().unwrap_err();
            assert!(error.contains("names are not resolved"), "{error}");
        }
        assert!(!"0.0.0.0".parse::<Announced>().unwrap().is_definite());
        assert!(!"192.0.2.1:0".parse::<Announced>().unwrap().is_definite());
        assert!("2001:db8::7".parse::<Announced>().unwrap().is_definite());
    }

    #[test]
    fn a_dual_stack_listener_is_reached_over_both_families_and_transports() {
        let interfaces = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let reach = Reach::new(&[], "[::]:8190".parse().unwrap(), &interfaces, true);
        let four = [
            "Udp 192.0.2.7:8190",
            "Udp [2001:db8::7]:8190",
            "Tcp 192.0.2.7:8190",
            "Tcp [2001:db8::7]:8190",
        ];
        assert_eq!(texts(&reach, "198.51.100.1"), four);
        assert_eq!(texts(&reach, "::1")[2..4], ["Udp [::1]:8190", "Udp 127.0.0.1:8190"]);
        // As a dual-stack HTTP listener names it.
        let mapped = texts(&reach, "::ffff:127.0.0.1");
        assert_eq!(mapped[2..4], ["Udp 127.0.0.1:8190", "Udp [::1]:8190"]);
        let v4 = Reach::new(&[], "0.0.0.0:8190".parse().unwrap(), &interfaces, false);
        assert_eq!(texts(&v4, "127.0.0.1"), ["Udp 192.0.2.7:8190", "Udp 127.0.0.1:8190"]);
        let one = Reach::new(&[], "[::1]:8190".parse().unwrap(), &interfaces, true);
        assert_eq!(texts(&one, "::1"), ["Udp [::1]:8190", "Tcp [::1]:8190"]);
    }
}
