//! Free ports for a tree. They come from below the range that the system gives to outgoing
//! connections, so that nothing takes one between the look and the use.

use super::HarnessError;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

const FIRST: u16 = 10_000;
/// Linux gives outgoing connections 32768 and above.
const LAST: u16 = 32_000;
/// Each process begins to look at another place.
const STRIDE: u32 = 97;

/// Hands out ports.
#[derive(Debug)]
pub struct Ports {
    next: u16,
}

impl Default for Ports {
    fn default() -> Self {
        let range = u32::from(LAST - FIRST);
        Self { next: FIRST + (std::process::id() * STRIDE % range) as u16 }
    }
}

impl Ports {
    /// The first of `count` consecutive ports that are free for TCP and UDP.
    ///
    /// # Errors
    /// If there are none.
    pub fn take(&mut self, count: u16) -> Result<u16, HarnessError> {
        for _ in FIRST..LAST {
            let first = if self.next + count > LAST { FIRST } else { self.next };
            self.next = first + count;
            if (first..first + count).all(is_free) {
                return Ok(first);
            }
        }
        Err(HarnessError::Ports)
    }
}

/// Whether nobody uses it, for TCP and UDP on any address.
#[must_use]
pub fn is_free(port: u16) -> bool {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let mut ports = Ports::default();
        let (a, b) = (ports.take(3).unwrap(), ports.take(1).unwrap());
        assert!(b >= a + 3 || b < a);
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, b)).unwrap();
        assert!(!is_free(b));
        drop(held);
    }
}
