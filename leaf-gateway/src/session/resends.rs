//! How many packets a viewer gets again, and how often the same one. Pure.
//!
//! A viewer asks again and again for what has not come, and behind a full queue nothing comes in
//! time: answered each time, the resends alone would keep the queue full, and take the picture for
//! which they are sent.

#[cfg(test)]
mod tests;

use soleil_protocol::{Mono, PacketIndex};
use std::time::Duration;

/// Resends per second and viewer: 1.5 times a 2.5 Mbit/s stream's packets, so a viewer that loses
/// half of them can still be helped, and a flood of NACKs costs no more than a second stream.
pub const RESENDS_PER_SECOND: u64 = 400;

/// Resends at once: a lost burst of two thirds of a second.
pub const RESEND_BURST: u64 = 200;

/// Bits of a resent packet, about.
const PACKET_BITS: u64 = 9_600;

/// Of what the viewer's link is thought to carry (1/100), resends take at most so much: what a lost
/// stretch was is worth no more than what comes now. At once they take as much as in a second.
const SHARE: u64 = 50;

/// However narrow the link: sound is worth it.
const LEAST: u64 = 10;

/// The same packet goes out again after half a round trip: a viewer that asks at each full one is
/// never refused, however roughly the time is known.
const AGAIN: u32 = 2;

/// Packets whose last resend is remembered. A power of two; 1 KiB, for viewers that lose something.
const REMEMBERED: usize = 128;

/// The resends of one viewer.
#[derive(Debug)]
pub(super) struct Resends {
    tokens: u64,
    at: Mono,
    /// Name of a packet, and when it was sent again, in milliseconds.
    recent: Vec<Option<(u32, u32)>>,
}

impl Resends {
    pub(super) fn new(now: Mono) -> Self {
        Self { tokens: RESEND_BURST, at: now, recent: Vec::new() }
    }

    /// Time has passed. `estimate` is what the link carries, bits per second, if that is known.
    pub(super) fn earn(&mut self, now: Mono, estimate: Option<u64>) {
        let fair = estimate.map_or(u64::MAX, |e| (e / 100 * SHARE / PACKET_BITS).max(LEAST));
        let (rate, burst) = (RESENDS_PER_SECOND.min(fair), RESEND_BURST.min(fair));
        let elapsed = now.since(self.at).as_micros() as u64;
        let earned = elapsed.saturating_mul(rate) / 1_000_000;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned);
            // What is left over counts next time.
            self.at = Mono(self.at.0 + earned.saturating_mul(1_000_000) / rate);
        }
        self.tokens = self.tokens.min(burst);
    }

    /// Whether a packet of a track may be sent again now, which then counts as done. `rtt` is the
    /// round-trip time, if that is known.
    pub(super) fn take(
        &mut self,
        now: Mono,
        track: usize,
        packet: PacketIndex,
        rtt: Option<Duration>,
    ) -> bool {
        if self.tokens == 0 {
            return false;
        }
        if self.recent.is_empty() {
            self.recent.resize(REMEMBERED, None);
        }
        // Of the rewriter's window no two packets have the same name.
        let name = ((track as u32) << 24) | (packet.0 as u32 & 0x00ff_ffff);
        let millis = (now.0 / 1_000) as u32;
        let Some(slot) = self.recent.get_mut(packet.0 as usize % REMEMBERED) else { return false };
        if let (Some((last, at)), Some(rtt)) = (*slot, rtt)
            && last == name
            && u128::from(millis.wrapping_sub(at)) < (rtt / AGAIN).as_millis()
        {
            return false;
        }
        *slot = Some((name, millis));
        self.tokens -= 1;
        true
    }
}
