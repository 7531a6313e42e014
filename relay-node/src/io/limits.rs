//! Every bound of the control links' I/O, with the reason for its value. What strangers can make a
//! node hold is bounded by these; the bounds of messages are in `soleil_protocol::limits`.

use std::time::Duration;

/// From accepting a connection to its WebSocket: TLS and upgrade take three round trips, so this is
/// kind to a phone network and ends a slowloris soon.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// From the name to the WebSocket when dialing.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are still shaking hands. Each costs about 40 KB: 20 MB in all.
pub const MAX_HALF_OPEN: usize = 512;
/// The same from one address (IPv6: one /64): racks of nodes behind one NAT start at once, and 200 of
/// them shall not be turned away (`tests/tests/storm.rs`). Half of all places are left to others.
pub const MAX_HALF_OPEN_PER_ADDRESS: usize = 256;
/// Control connections in all: far more than children, since at the root every joiner has one for
/// a moment.
pub const MAX_CONNECTIONS: usize = 2048;
/// The same from one address (IPv6: one /64).
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 512;
/// Bytes that wait for one peer to read: sixteen of the longest messages. Who lets more pile up is
/// closed.
pub const MAX_QUEUED_BYTES: usize = 16 * soleil_protocol::limits::MAX_MESSAGE;
/// Messages that wait for one peer to read: at the highest rate that a peer is granted, two seconds.
pub const MAX_QUEUED_MESSAGES: usize = 4096;
/// How long one message may take to leave.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closed connection may take for the rest of its queue and the farewell.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes that are read and thrown away after closing, so that the other end gets to read our last
/// message instead of a reset.
pub const MAX_DISCARDED: usize = 1024 * 1024;
/// Messages of all links that wait for the core; links wait (and TCP slows their peers) beyond.
pub const INBOX: usize = 1024;
/// Messages a second of one link, on average: the same as the core's own bound, which therefore
/// is never reached through sockets. Faster peers are slowed down.
pub const LINK_RATE: u32 = crate::control::limits::LINK_RATE;
/// Messages of one link at once.
pub const LINK_BURST: u32 = crate::control::limits::LINK_BURST;
/// Bytes a second of one link, on average: reading XML costs about 10 ns a byte, so this is a
/// tenth of a core.
pub const LINK_BYTES: u32 = 8 * 1024 * 1024;
/// Commands of the program that wait for the core.
pub const MAX_COMMANDS: usize = 4096;
/// Longest answer to a refused upgrade that goes into the log, in bytes.
pub const MAX_REFUSAL: usize = 256;
/// How often a listener that cannot accept (no file descriptors) tries again.
pub const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The bounds that tests make smaller.
#[derive(Debug, Clone)]
pub struct LinkLimits {
    /// See [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// See [`DIAL_TIMEOUT`].
    pub dial_timeout: Duration,
    /// See [`MAX_HALF_OPEN`].
    pub half_open: usize,
    /// See [`MAX_HALF_OPEN_PER_ADDRESS`].
    pub half_open_per_address: usize,
    /// See [`MAX_CONNECTIONS`].
    pub connections: usize,
    /// See [`MAX_CONNECTIONS_PER_ADDRESS`].
    pub connections_per_address: usize,
    /// See [`MAX_QUEUED_BYTES`].
    pub queued_bytes: usize,
    /// See [`MAX_QUEUED_MESSAGES`].
    pub queued_messages: usize,
    /// See [`WRITE_TIMEOUT`].
    pub write_timeout: Duration,
    /// See [`CLOSE_TIMEOUT`].
    pub close_timeout: Duration,
    /// See [`LINK_RATE`].
    pub rate: u32,
    /// See [`LINK_BURST`].
    pub burst: u32,
}

impl Default for LinkLimits {
    fn default() -> Self {
        LinkLimits {
            handshake_timeout: HANDSHAKE_TIMEOUT,
            dial_timeout: DIAL_TIMEOUT,
            half_open: MAX_HALF_OPEN,
            half_open_per_address: MAX_HALF_OPEN_PER_ADDRESS,
            connections: MAX_CONNECTIONS,
            connections_per_address: MAX_CONNECTIONS_PER_ADDRESS,
            queued_bytes: MAX_QUEUED_BYTES,
            queued_messages: MAX_QUEUED_MESSAGES,
            write_timeout: WRITE_TIMEOUT,
            close_timeout: CLOSE_TIMEOUT,
            rate: LINK_RATE,
            burst: LINK_BURST,
        }
    }
}
