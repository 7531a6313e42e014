//! Transport-wide feedback as a browser sends it
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01): which packets have come, and when.

use soleil_protocol::Mono;

/// The extension with the number.
pub const EXTENSION_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// Packets that one message speaks of: what comes in a second at 20 Mbit/s.
const MAX_PACKETS: usize = 2_000;
/// Receive deltas count so many microseconds, the reference time so many.
const TICK_US: u64 = 250;
const REFERENCE_US: u64 = 64_000;
/// Symbols of a status chunk with two bits each.
const CHUNK: usize = 7;
/// The longest run of one chunk.
const MAX_RUN: usize = 0x1fff;

const MISSING: u16 = 0;
const SMALL: u16 = 1;
const LARGE: u16 = 2;

/// What has come since the last message.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Number after the last one that a message spoke of, without wrapping.
    next: Option<u64>,
    highest: u64,
    came: Vec<(u64, Mono)>,
    messages: u8,
}

impl Arrivals {
    /// The packet with this number has come.
    pub fn add(&mut self, now: Mono, number: u16) {
        // Room below for packets that come late.
        let highest = self.next.map_or((1 << 16) + u64::from(number), |_| self.highest);
        self.next.get_or_insert(highest);
        let step = number.wrapping_sub(highest as u16) as i16;
        let number = highest.wrapping_add_signed(i64::from(step));
        self.highest = highest.max(number);
        if self.came.len() < MAX_PACKETS {
            self.came.push((number, now));
        }
    }

    /// The message for what has come since the one before, if anything has.
    pub fn feedback(&mut self, sender: u32, media: u32) -> Option<Vec<u8>> {
        self.came.sort_unstable();
        self.came.dedup_by_key(|(number, _)| *number);
        let (first, last) = (self.came.first()?.0, self.came.last()?.0);
        // What is missing since the last message is missing; what came late is told again.
        let base = self.next?.min(first).max(last.saturating_sub(MAX_PACKETS as u64));
        let earliest = self.came.iter().map(|(_, at)| at.0).min()?;
        let reference = earliest / REFERENCE_US;
        let (mut symbols, mut deltas) = (Vec::new(), Vec::new());
        let mut ticks = reference * REFERENCE_US / TICK_US;
        for (number, at) in self.came.drain(..).filter(|(number, _)| *number >= base) {
            symbols.resize((number - base) as usize, MISSING);
            let delta = (at.0 / TICK_US) as i64 - ticks as i64;
            ticks = at.0 / TICK_US;
            if let Ok(small) = u8::try_from(delta) {
                symbols.push(SMALL);
                deltas.push(small);
            } else {
                // Eight seconds fit; messages are sent more often.
                let large = delta.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16;
                symbols.push(LARGE);
                deltas.extend(large.to_be_bytes());
            }
        }
        self.next = Some(self.next?.max(last + 1));
        let mut out = vec![0x8f, 205, 0, 0];
        out.extend(sender.to_be_bytes());
        out.extend(media.to_be_bytes());
        out.extend((base as u16).to_be_bytes());
        out.extend((symbols.len() as u16).to_be_bytes());
        out.extend(&(reference as u32).to_be_bytes()[1..]);
        out.push(self.messages);
        self.messages = self.messages.wrapping_add(1);
        chunks(&symbols, &mut out);
        out.extend(deltas);
        let padding = (4 - out.len() % 4) % 4;
        if padding > 0 {
            out[0] |= 0x20;
            out.resize(out.len() + padding - 1, 0);
            out.push(padding as u8);
        }
        let words = (out.len() / 4 - 1) as u16;
        out[2..4].copy_from_slice(&words.to_be_bytes());
        Some(out)
    }
}

/// Runs where they are longer than a chunk of single symbols.
fn chunks(mut symbols: &[u16], out: &mut Vec<u8>) {
    while let Some(first) = symbols.first() {
        let run = symbols.iter().take(MAX_RUN).take_while(|s| *s == first).count();
        let (chunk, taken) = if run >= CHUNK {
            ((first << 13) | run as u16, run)
        } else {
            let taken = symbols.len().min(CHUNK);
            let place = |(i, s): (usize, &u16)| s << (12 - 2 * i);
            (0xc000 | symbols[..taken].iter().enumerate().map(place).sum::<u16>(), taken)
        };
        out.extend(chunk.to_be_bytes());
        symbols = &symbols[taken..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leaf_gateway::bandwidth::twcc::{Fate, Feedback};
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;

    /// Numbers and arrivals (µs) as our leaf and another parser read them.
    fn read(message: &[u8]) -> Vec<(u16, Option<u64>)> {
        let mut bytes = bytes::Bytes::copy_from_slice(message);
        let packets = rtc_rtcp::packet::unmarshal(&mut bytes).unwrap();
        let other = packets[0].as_any().downcast_ref::<TransportLayerCc>().unwrap();
        let ours = Feedback::parse(message).unwrap();
        assert_eq!(
            (other.base_sequence_number, other.packet_status_count),
            (ours.base(), ours.len())
        );
        let zero = u64::from(ours.reference()) * REFERENCE_US;
        let mut theirs = other.recv_deltas.iter().scan(zero as i64, |at, delta| {
            *at += delta.delta;
            Some(*at)
        });
        let read: Vec<_> = ours
            .packets()
            .map(|(number, fate)| match fate {
                Fate::At(offset) => {
                    assert_eq!(theirs.next(), Some(zero as i64 + offset));
                    (number, Some((zero as i64 + offset) as u64))
                }
                _ => (number, None),
            })
            .collect();
        assert_eq!(theirs.next(), None);
        read
    }

    #[test]
    fn what_came_is_told_and_what_is_missing_too() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.feedback(1, 2), None);
        let came = [(65_534, 1_000_000), (65_535, 1_001_000), (2, 1_200_000), (1, 1_200_250)];
        for (number, at) in came {
            arrivals.add(Mono(at), number);
        }
        let seen = read(&arrivals.feedback(1, 2).unwrap());
        let at = |number: u16| came.iter().find(|c| c.0 == number).map(|c| c.1);
        assert_eq!(seen, [65_534, 65_535, 0, 1, 2].map(|n| (n, at(n))));
        // A whole stretch is missing, then a long run.
        for n in 103..300u16 {
            arrivals.add(Mono(1_300_000 + u64::from(n) * 500), n);
        }
        let seen = read(&arrivals.feedback(1, 2).unwrap());
        assert_eq!((seen[0], seen.len()), ((3, None), 297));
        assert!(seen[..100].iter().all(|s| s.1.is_none()));
        assert!(seen[100..].iter().all(|s| s.1 == Some(1_300_000 + u64::from(s.0) * 500)));
        assert_eq!(arrivals.feedback(1, 2), None);
        // One that was given up comes after all.
        arrivals.add(Mono(1_500_000), 50);
        assert_eq!(read(&arrivals.feedback(1, 2).unwrap()), [(50, Some(1_500_000))]);
    }
}
