//! What a browser shows while something before it is missing: a key frame as soon as it is whole, and the
//! whole frames that follow it. It waits for no repair of what came before. Here such frames end the gap
//! in the picture; they are counted when their turn comes.

use super::Stream;
use soleil_protocol::Now;

impl Stream {
    /// Goes through what has come out of turn: on from what is shown already, and from the newest key
    /// frame.
    pub(super) fn look_ahead(&mut self, now: Now) {
        if !self.is_video || self.ahead.is_empty() {
            return;
        }
        let shown = self.shown_ahead.filter(|next| *next > self.next);
        let keys = self.ahead.iter().rev().filter(|(_, piece)| piece.key);
        let newest = keys.map(|(number, _)| *number).next();
        let mut next = shown;
        for from in [shown, newest].into_iter().flatten() {
            for (number, piece) in self
                .ahead
                .range(from..)
                .zip(from..)
                .map_while(|((n, p), due)| (*n == due).then_some((*n, p)))
            {
                if piece.marker && next.is_none_or(|next| number >= next) {
                    next = Some(number + 1);
                    let told = self.announced.filter(|(time, _)| *time == piece.timestamp);
                    self.width = told.map(|(_, width)| width).or(self.width);
                }
            }
        }
        self.shown_ahead = next;
        if next > shown {
            self.moves(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rtp::Header;
    use super::*;
    use soleil_protocol::{Mono, Wall};

    fn at(ms: u64) -> Now {
        Now { mono: Mono(ms * 1000), wall: Wall(ms * 1000) }
    }

    /// Two packets a frame; those of frame 0 and of `key` begin key frames.
    fn send(stream: &mut Stream, n: u16, key: u16, ms: u64) {
        let header = Header {
            marker: n % 2 == 1,
            payload_type: 96,
            sequence: n,
            timestamp: u32::from(n / 2) * 3_000,
            ssrc: 1,
            size: 12,
            capture: None,
            padding: false,
        };
        let begins = n == 0 || n == 2 * key;
        if begins {
            stream.announce(header.timestamp, 100 + n);
        }
        stream.receive(at(ms), &header, n, begins, 1_000);
    }

    #[test]
    fn a_whole_key_frame_ends_the_gap_though_packets_before_it_are_missing() {
        let mut stream = Stream::new(1, 90_000, true);
        // Packet 5 is lost; frame 4 is a key frame that comes after 100 ms.
        for n in [0, 1, 2, 3, 4] {
            send(&mut stream, n, 4, u64::from(n / 2) * 30);
        }
        send(&mut stream, 6, 4, 90);
        send(&mut stream, 7, 4, 90);
        assert_eq!(stream.standing_us(at(120).mono), 90_000, "since frame 1");
        send(&mut stream, 8, 4, 130);
        assert_eq!((stream.counts.longest_gap_us, stream.width), (30_000, Some(100)), "half of it");
        send(&mut stream, 9, 4, 130);
        assert_eq!((stream.counts.longest_gap_us, stream.width), (100_000, Some(108)));
        assert_eq!(stream.standing_us(at(130).mono), 0);
        // The next one follows, and one with a hole does not.
        send(&mut stream, 10, 4, 160);
        send(&mut stream, 11, 4, 160);
        assert_eq!(stream.standing_us(at(200).mono), 40_000);
        send(&mut stream, 13, 4, 190);
        assert_eq!(stream.standing_us(at(200).mono), 40_000);
        // They are counted when their turn comes.
        assert_eq!(stream.counts.frames, 2);
        send(&mut stream, 5, 4, 210);
        assert_eq!((stream.counts.frames, stream.counts.broken_frames), (6, 0));
    }
}
