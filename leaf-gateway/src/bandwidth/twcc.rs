//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1): which
//! packets of ours a viewer has got, and when. Reads a message in place: nothing is allocated, the
//! whole message is checked before the first packet is told, and a message speaks of a bounded
//! number of packets. What was sent is in [`History`].

mod history;
#[cfg(test)]
pub(crate) mod tests;

pub use history::{HISTORY_PACKETS, History, Sent};

/// RTCP packet type of transport layer feedback (RFC 4585 section 6.2).
const RTPFB: u8 = 205;

/// Its format number for transport-wide congestion control.
pub const FORMAT: u8 = 15;

/// The header extension that carries the number (section 2 of the draft).
pub const EXTENSION_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// A message speaks of at most so many packets: four times what the history remembers. One that
/// says more comes after seconds of silence, is of no use to the estimate, and would let a viewer
/// make us count to 65,535 with a hundred bytes.
pub const MAX_PACKETS: u16 = 2_048;

/// Receive deltas and arrival times count so many microseconds.
const TICK: i64 = 250;

/// The reference time counts 64 ms, in ticks of [`TICK`].
const REFERENCE_TICKS: i64 = 256;

/// The reference time has so many bits.
const REFERENCE_BITS: u32 = 24;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has not come so far.
    Missing,
    /// It has come, at a time that the message does not say.
    Received,
    /// It has come, so many microseconds after the message's reference time.
    At(i64),
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'a> {
    base: u16,
    count: u16,
    reference: u32,
    serial: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> Feedback<'a> {
    /// Reads one RTCP packet, header included (of a compound packet: this one only). `None` if it
    /// is another packet or malformed: fewer chunks or deltas than it speaks of, or more packets
    /// than [`MAX_PACKETS`].
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let (head, body) = packet.split_at_checked(20)?;
        if head[0] >> 6 != 2 || head[0] & 0x1f != FORMAT || head[1] != RTPFB {
            return None;
        }
        let base = u16::from_be_bytes([head[12], head[13]]);
        let count = u16::from_be_bytes([head[14], head[15]]);
        if count == 0 || count > MAX_PACKETS {
            return None;
        }
        let reference = u32::from_be_bytes([0, head[16], head[17], head[18]]);
        let (mut left, mut at, mut bytes) = (count, 0, 0);
        while left > 0 {
            let chunk = Chunk::read(body.get(at..at + 2)?);
            at += 2;
            let here = chunk.len().min(left);
            bytes += chunk.delta_bytes(here);
            left -= here;
        }
        let (chunks, rest) = body.split_at_checked(at)?;
        let deltas = rest.get(..bytes)?;
        Some(Self { base, count, reference, serial: head[19], chunks, deltas })
    }

    /// Number of the first packet that it speaks of.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// How many packets it speaks of.
    pub fn len(&self) -> u16 {
        self.count
    }

    /// Never: a message that speaks of nothing is malformed.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Counts messages, modulo 256.
    pub fn serial(&self) -> u8 {
        self.serial
    }

    /// The reference time, counting 64 ms modulo 2^24; its zero is the viewer's business.
    pub fn reference(&self) -> u32 {
        self.reference
    }

    /// Numbers and fates, in the order in which the packets were sent.
    pub fn packets(&self) -> Packets<'a> {
        Packets {
            number: self.base,
            left: self.count,
            chunk: Chunk::Run(Symbol::Missing, 0),
            in_chunk: 0,
            chunks: self.chunks,
            deltas: self.deltas,
            time: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    Missing,
    Small,
    Large,
    /// Reserved by the draft; later versions use it for "came, without a time".
    Timeless,
}

impl Symbol {
    fn new(bits: u16) -> Self {
        match bits & 3 {
            0 => Symbol::Missing,
            1 => Symbol::Small,
            2 => Symbol::Large,
            _ => Symbol::Timeless,
        }
    }

    fn delta_bytes(self) -> usize {
        match self {
            Symbol::Missing | Symbol::Timeless => 0,
            Symbol::Small => 1,
            Symbol::Large => 2,
        }
    }
}

/// A packet status chunk (sections 3.1.1 to 3.1.4 of the draft).
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// The same symbol so many times.
    Run(Symbol, u16),
    /// Fourteen bits: missing, or small delta.
    Bits(u16),
    /// Seven symbols.
    Pairs(u16),
}

impl Chunk {
    fn read(bytes: &[u8]) -> Self {
        let word = bytes.iter().fold(0u16, |w, b| (w << 8) | u16::from(*b));
        match word >> 14 {
            0 | 1 => Chunk::Run(Symbol::new(word >> 13), word & 0x1fff),
            2 => Chunk::Bits(word & 0x3fff),
            _ => Chunk::Pairs(word & 0x3fff),
        }
    }

    fn len(self) -> u16 {
        match self {
            Chunk::Run(_, len) => len,
            Chunk::Bits(_) => 14,
            Chunk::Pairs(_) => 7,
        }
    }

    fn symbol(self, at: u16) -> Symbol {
        match self {
            Chunk::Run(symbol, _) => symbol,
            Chunk::Bits(word) => Symbol::new((word >> (13 - at.min(13))) & 1),
            Chunk::Pairs(word) => Symbol::new(word >> (12 - 2 * at.min(6))),
        }
    }

    /// Bytes of deltas that its first `len` symbols announce.
    fn delta_bytes(self, len: u16) -> usize {
        match self {
            Chunk::Run(symbol, _) => symbol.delta_bytes() * usize::from(len),
            _ => (0..len).map(|i| self.symbol(i).delta_bytes()).sum(),
        }
    }
}

/// The packets of one message.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    number: u16,
    left: u16,
    chunk: Chunk,
    in_chunk: u16,
    chunks: &'a [u8],
    deltas: &'a [u8],
    /// Ticks since the reference time.
    time: i64,
}

impl Packets<'_> {
    fn delta(&mut self, bytes: usize) -> Option<i64> {
        let (delta, rest) = self.deltas.split_at_checked(bytes)?;
        self.deltas = rest;
        Some(match *delta {
            [small] => i64::from(small),
            [high, low] => i64::from(i16::from_be_bytes([high, low])),
            _ => 0,
        })
    }
}

impl Iterator for Packets<'_> {
    type Item = (u16, Fate);

    fn next(&mut self) -> Option<(u16, Fate)> {
        if self.left == 0 {
            return None;
        }
        while self.in_chunk >= self.chunk.len() {
            let (chunk, rest) = self.chunks.split_at_checked(2)?;
            (self.chunk, self.chunks, self.in_chunk) = (Chunk::read(chunk), rest, 0);
        }
        let symbol = self.chunk.symbol(self.in_chunk);
        let number = self.number;
        self.in_chunk += 1;
        self.left -= 1;
        self.number = number.wrapping_add(1);
        let fate = match symbol {
            Symbol::Missing => Fate::Missing,
            Symbol::Timeless => Fate::Received,
            Symbol::Small | Symbol::Large => {
                self.time += self.delta(symbol.delta_bytes())?;
                Fate::At(self.time * TICK)
            }
        };
        Some((number, fate))
    }
}

/// Makes the 24-bit reference times of one viewer into microseconds that go on without a seam
/// (they wrap after twelve days, and messages may overtake each other).
#[derive(Debug, Clone, Copy, Default)]
pub struct Epoch(Option<i64>);

impl Epoch {
    /// The reference time in microseconds; the first one is below 2^24 · 64 ms.
    pub fn micros(&mut self, reference: u32) -> i64 {
        let shift = 32 - REFERENCE_BITS;
        let units = match self.0 {
            None => i64::from(reference),
            Some(last) => {
                // Sign-extended distance, modulo 2^24.
                let step = (reference.wrapping_sub(last as u32) << shift) as i32 >> shift;
                last + i64::from(step)
            }
        };
        self.0 = Some(self.0.map_or(units, |last| last.max(units)));
        units * REFERENCE_TICKS * TICK
    }
}
