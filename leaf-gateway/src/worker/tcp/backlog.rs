//! What waits to be written to one connection. A connection that does not drain loses packets: from
//! the end of a frame on it gets no more media until everything is written. Pure.

/// Media are no longer taken when so much waits, from the end of the frame on: over a second of
/// 2.5 Mbit/s, behind what the kernel's buffer holds.
pub(super) const MAX_BACKLOG: usize = 384 * 1024;

/// Nothing at all is taken when so much waits: room for the rest of a key frame, and for the checks
/// and reports of a connection that gets no media.
pub(super) const MAX_BYTES: usize = MAX_BACKLOG + 256 * 1024;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Queued,
    /// It is lost.
    Dropped,
}

/// The bytes, framed (RFC 4571).
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    written: usize,
    choked: bool,
}

impl Backlog {
    /// Adds a packet, if there is room for it.
    pub(super) fn push(&mut self, data: &[u8]) -> Pushed {
        let media = is_media(data);
        let Ok(length) = u16::try_from(data.len()) else { return Pushed::Dropped };
        if media && self.choked {
            return Pushed::Dropped;
        }
        if self.len() + 2 + data.len() > MAX_BYTES {
            self.choked = true;
            return Pushed::Dropped;
        }
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(data);
        // The marker is the last packet of a frame.
        if media && self.len() > MAX_BACKLOG && data[1] & 0x80 != 0 {
            self.choked = true;
        }
        Pushed::Queued
    }

    /// What is to be written next.
    pub(super) fn pending(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// So much of it has been written.
    pub(super) fn advance(&mut self, written: usize) {
        self.written = (self.written + written).min(self.bytes.len());
        if self.written == self.bytes.len() {
            self.written = 0;
            self.bytes.clear();
            // The room of a bad minute is not kept.
            self.bytes.shrink_to(MAX_BACKLOG / 8);
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether it takes no media at present.
    pub(super) fn is_choked(&self) -> bool {
        self.choked
    }

    /// Takes media again, if it was choked and all is written.
    pub(super) fn recover(&mut self) -> bool {
        let recovered = self.choked && self.len() == 0;
        self.choked &= !recovered;
        recovered
    }
}

/// Whether it is RTP and not STUN, DTLS or RTCP (RFC 7983, RFC 5761).
fn is_media(data: &[u8]) -> bool {
    data.len() > 1 && data[0] >> 6 == 2 && !(192..=223).contains(&data[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(marker: bool) -> Vec<u8> {
        let mut data = vec![0x80, if marker { 0xe0 } else { 0x60 }];
        data.resize(1_000, 7);
        data
    }

    const RTCP: [u8; 60] = {
        let mut data = [0; 60];
        data[0] = 0x80;
        data[1] = 200;
        data
    };

    #[test]
    fn a_connection_that_does_not_drain_loses_whole_frames_and_recovers_when_all_is_written() {
        let mut b = Backlog::default();
        let mut packets = 0;
        while !b.is_choked() {
            packets += 1;
            assert_eq!(b.push(&rtp(packets % 10 == 0)), Pushed::Queued);
        }
        assert!(b.len() > MAX_BACKLOG && b.len() < MAX_BACKLOG + 12_000);
        assert_eq!(packets % 10, 0, "up to the end of a frame");
        for _ in 0..5_000 {
            assert_eq!(b.push(&rtp(true)), Pushed::Dropped);
        }
        assert_eq!(b.push(&RTCP), Pushed::Queued, "checks and reports still go");
        let (len, mut all) = (b.len(), Vec::new());
        while b.len() > 0 {
            assert!(!b.recover());
            let n = b.pending().len().min(7_001);
            all.extend_from_slice(&b.pending()[..n]);
            b.advance(n);
        }
        assert_eq!(all.len(), len);
        assert_eq!(all[..2], 1_000u16.to_be_bytes());
        assert!(b.recover() && !b.recover() && !b.is_choked());
        assert!(b.bytes.capacity() <= MAX_BACKLOG / 8);
        assert_eq!(b.push(&rtp(false)), Pushed::Queued);
    }

    #[test]
    fn a_frame_without_an_end_and_what_is_no_media_are_bounded_too() {
        for packet in [rtp(false), RTCP.to_vec(), vec![22; 4_000]] {
            let mut b = Backlog::default();
            for _ in 0..20_000 {
                b.push(&packet);
                assert!(b.len() <= MAX_BYTES);
            }
            assert!(b.is_choked() && b.bytes.len() <= MAX_BYTES);
        }
        assert_eq!(Backlog::default().push(&[0x80; 70_000]), Pushed::Dropped);
    }

    #[test]
    fn a_connection_that_drains_slowly_keeps_no_more_than_waits() {
        let mut b = Backlog::default();
        for _ in 0..100_000 {
            b.push(&rtp(true));
            b.advance(1_002);
            b.push(&RTCP);
            b.advance(50);
            assert!(b.bytes.len() <= 2 * (b.len() + 1_002).max(2_200), "{}", b.bytes.len());
            if b.len() > 100_000 {
                b.advance(99_000);
            }
        }
    }
}
