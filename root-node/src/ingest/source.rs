//! Who sends: an address on the network, or a source within this process (WHIP) that stands in
//! for one. What is said back goes the same way, and a source whose losses are repaired is waited
//! for longer.

use std::net::SocketAddr;
use std::time::Duration;

/// A source within this process, unique in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedId(pub u64);

/// The sender of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Somebody on the network.
    Socket(SocketAddr),
    /// Somebody in this process.
    Fed(FeedId),
}

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        Source::Socket(address)
    }
}

impl From<FeedId> for Source {
    fn from(id: FeedId) -> Self {
        Source::Fed(id)
    }
}

impl Source {
    /// Whether RTCP of `other` may belong to this one: RTP and RTCP may come from two ports of a host
    /// (RFC 3550 section 11).
    pub fn same_host(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Socket(a), Source::Socket(b)) => a.ip() == b.ip(),
            (a, b) => a == b,
        }
    }

    /// How long a hole in what it sends is waited for.
    pub fn patience(&self) -> Patience {
        match self {
            Source::Socket(_) => Patience::PLAIN,
            Source::Fed(_) => Patience::REPAIRED,
        }
    }
}

/// How long, and how far, packets of a source may be out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a packet waits for an earlier one.
    pub time: Duration,
    /// How many packets may wait.
    pub packets: usize,
    /// The largest backward jump that is reordering and not a restart.
    pub misorder: u64,
}

impl Patience {
    /// Plain RTP: a broadcaster's network reorders within a few milliseconds; whatever is later than
    /// this is lost, and every viewer would wait with it. 128 packets of 1,400 bytes are 40 ms of
    /// 36 Mbit/s; the misorder is that of RFC 3550 appendix A.1.
    pub const PLAIN: Patience =
        Patience { time: Duration::from_millis(40), packets: 128, misorder: 100 };
    /// A source that is asked for what is lost (RFC 4588): two round trips of 80 ms and the interval
    /// at which it is asked. 1,024 packets of 1,200 bytes are 200 ms of 50 Mbit/s.
    pub const REPAIRED: Patience =
        Patience { time: Duration::from_millis(200), packets: 1_024, misorder: 1_024 };
}

/// RTCP that a layer has for its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSender {
    /// The socket to send it from.
    pub port: super::Port,
    /// Whom it is for.
    pub to: Source,
    /// Whether it asks for a key frame.
    pub key_frame: bool,
    /// The compound packet.
    pub bytes: Vec<u8>,
}
