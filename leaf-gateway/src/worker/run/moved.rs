//! Viewers whose NAT has given them another port: their next RTCP comes from an address that is
//! nobody's. Whose it is shows by trying the keys of the sessions of that host, which costs
//! something, so it is done at most so often; the viewer's next check (2.5 s at most) says it anyway.

use super::Worker;
use crate::session::is_rtcp;
use soleil_protocol::Mono;
use std::net::SocketAddr;
use std::time::Duration;

/// Datagrams of nobody that are tried per second. With [`MAX_TRIED`] that is below one percent of a
/// core, whatever comes.
const TRIES_PER_SECOND: u32 = 50;

/// Sessions of one host whose keys are tried: an office behind one NAT, as the default limit of
/// sessions of one address.
const MAX_TRIED: usize = 256;

/// The longest RTCP that is tried: an MTU.
const MAX_RTCP: usize = 1_500;

/// How many tries are left.
#[derive(Debug)]
pub(super) struct Moves {
    left: u32,
    next: Mono,
}

impl Moves {
    pub(super) fn new(now: Mono) -> Self {
        Self { left: TRIES_PER_SECOND, next: now.after(Duration::from_secs(1)) }
    }

    fn take(&mut self, now: Mono) -> bool {
        if now >= self.next {
            *self = Self::new(now);
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

impl Worker {
    /// Looks for the session of RTCP from an address that is nobody's.
    pub(super) fn take_moved(&mut self, now: Mono, from: SocketAddr, data: &[u8]) -> bool {
        if data.len() > MAX_RTCP || !is_rtcp(data) {
            return false;
        }
        let keys = self.sessions.of_host(from.ip(), MAX_TRIED);
        if keys.is_empty() || !self.moves.take(now) {
            return false;
        }
        for key in keys {
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            // A failed try leaves the bytes unusable.
            if entry.session.handle_moved(now, from, &mut data.to_vec()) {
                self.metrics.moves.add(1);
                self.settle(now, key);
                return true;
            }
        }
        false
    }
}
