//! The link emulator (DESIGN 9): stands between two sockets and applies delay, jitter, loss,
//! bursts of loss, reordering, duplication and a rate with a queue, from a seed. [`Link`] is the
//! pure core of one direction, [`UdpEmulator`] moves bytes for it, and [`TcpTap`] stands in a
//! control link, records what passes, and can hold it.

mod link;
mod owner;
mod tap;
#[cfg(test)]
mod tests;
mod udp;

pub use link::{GilbertElliott, Link, LinkConfig, LinkStats};
pub use tap::{Hold, TcpTap};
pub use udp::{Dir, UdpEmulator};
