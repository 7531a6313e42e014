//! Layers within one encoding: `descriptors` reads what senders say in the dependency descriptor,
//! `payloads` what codecs show, and `marking` looks at what leaves the ingest.

mod descriptors;
mod marking;
mod payloads;

/// Writes what `BitReader` reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits(Vec<bool>);

impl Bits {
    pub(super) fn put(&mut self, value: u32, count: u32) -> &mut Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// A number below `n` (`ns(n)`).
    fn below(&mut self, value: u32, n: u32) -> &mut Self {
        let width = u32::BITS - n.leading_zeros();
        let spare = (1 << width) - n;
        if value < spare {
            return self.put(value, width - 1);
        }
        self.put((value + spare) >> 1, width - 1).put((value + spare) & 1, 1)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter().rev().enumerate().fold(0, |b, (n, bit)| b | u8::from(*bit) << n)
        };
        let mut bits = self.0.clone();
        bits.resize(bits.len().next_multiple_of(8), false);
        bits.chunks(8).map(byte).collect()
    }
}

/// A kind of frame: spatial and temporal layer, what it is to each target (`-`, `D`, `S`, `R`), how many
/// frames back those are that it is made of.
pub(super) type Kind<'a> = (u8, u8, &'a str, &'a [u8]);

/// What a structure's writer needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sketch<'a> {
    pub(super) offset: u32,
    pub(super) kinds: &'a [Kind<'a>],
    pub(super) chains: u32,
    pub(super) sizes: &'a [(u32, u32)],
}

pub(super) fn sketch<'a>(kinds: &'a [Kind<'a>]) -> Sketch<'a> {
    Sketch { offset: 0, kinds, chains: 1, sizes: &[] }
}

impl Sketch<'_> {
    fn write(&self, bits: &mut Bits) {
        let targets = self.kinds[0].2.len() as u32;
        bits.put(self.offset, 6).put(targets - 1, 5);
        for pair in self.kinds.windows(2) {
            let same = pair[0].0 == pair[1].0;
            let next = match (same, pair[1].1 - if same { pair[0].1 } else { 0 }) {
                (true, step) => u32::from(step),
                (false, _) => 2,
            };
            bits.put(next, 2);
        }
        bits.put(3, 2);
        for (_, _, indications, _) in self.kinds {
            indicate(bits, indications);
        }
        for (.., diffs) in self.kinds {
            for diff in *diffs {
                bits.put(1, 1).put(u32::from(*diff) - 1, 4);
            }
            bits.put(0, 1);
        }
        bits.below(self.chains, targets + 1);
        if self.chains > 0 {
            for target in 0..targets {
                bits.below(target % self.chains, self.chains);
            }
            for n in 0..self.kinds.len() as u32 * self.chains {
                bits.put(n % 16, 4);
            }
        }
        bits.put(u32::from(!self.sizes.is_empty()), 1);
        for (width, height) in self.sizes {
            bits.put(width - 1, 16).put(height - 1, 16);
        }
    }

    /// The descriptor of a frame of the kind, with the structure in it.
    pub(super) fn key(&self, number: u16) -> Vec<u8> {
        let mut bits = mandatory(self.offset, number);
        bits.put(0b10000, 5);
        self.write(&mut bits);
        bits.bytes()
    }

    /// The descriptor of a later frame.
    pub(super) fn frame(&self, kind: u32, number: u16) -> Vec<u8> {
        mandatory((self.offset + kind) % 64, number).bytes()
    }
}

fn mandatory(template: u32, number: u16) -> Bits {
    let mut bits = Bits::default();
    bits.put(0b11, 2).put(template, 6).put(u32::from(number), 16);
    bits
}

fn indicate(bits: &mut Bits, indications: &str) {
    for indication in indications.chars() {
        let value = "-DSR".find(indication).unwrap();
        bits.put(value as u32, 2);
    }
}

/// What browsers describe as L1T3.
pub(super) const L1T3: &[Kind<'_>] = &[
    (0, 0, "SSS", &[]),
    (0, 0, "SSS", &[4]),
    (0, 1, "-DS", &[2]),
    (0, 2, "--D", &[1]),
    (0, 2, "--D", &[2, 1]),
];
/// Two spatial and two temporal layers.
pub(super) const L2T2: &[Kind<'_>] = &[
    (0, 0, "SSSS", &[]),
    (0, 0, "SSRR", &[4]),
    (0, 1, "-D-R", &[2]),
    (1, 0, "--SS", &[1]),
    (1, 0, "--SS", &[4, 1]),
    (1, 1, "---D", &[2, 1]),
];
/// The same if the upper spatial layer needs the lower one in key frames alone.
pub(super) const L2T2_KEY: &[Kind<'_>] = &[
    (0, 0, "SSSS", &[]),
    (0, 0, "SS--", &[4]),
    (0, 1, "-D--", &[2]),
    (1, 0, "--SS", &[1]),
    (1, 0, "--SS", &[4]),
    (1, 1, "---D", &[2]),
];
