//! What payloads show of layers: VP9's descriptor, VP8's, AV1's sequence header.

use super::super::super::codec::{Info, inspect};
use super::super::super::scalable::{Scalable, Standing};
use super::super::super::vp9::{Group, Structure};
use super::super::DropReason;
use super::Bits;
use proptest::collection::vec;
use proptest::prelude::*;
use soleil_protocol::pipeline::Codec;

/// A VP9 packet: the frame of one spatial layer of a picture.
#[derive(Debug, Clone, Default)]
pub(super) struct Vp9<'a> {
    pub(super) id: u16,
    pub(super) delta: bool,
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    pub(super) inter_layer: bool,
    /// References in flexible mode; otherwise the structure says it.
    pub(super) diffs: Option<&'a [u8]>,
    pub(super) structure: Option<&'a [u8]>,
}

impl Vp9<'_> {
    pub(super) fn payload(&self) -> Vec<u8> {
        let flag = |bit: u8, set: bool| if set { bit } else { 0 };
        let flexible = self.diffs.is_some();
        let mut out = vec![
            0xac | flag(0x40, self.delta)
                | flag(0x10, flexible)
                | flag(0x02, self.structure.is_some()),
        ];
        out.extend((0x8000 | self.id).to_be_bytes());
        out.push(self.temporal << 5 | self.spatial << 1 | u8::from(self.inter_layer));
        match self.diffs {
            Some(diffs) if self.delta => {
                let last = diffs.len() - 1;
                out.extend(diffs.iter().enumerate().map(|(n, d)| d << 1 | u8::from(n < last)));
            }
            Some(_) => {}
            None => out.push(0),
        }
        out.extend(self.structure.unwrap_or_default());
        out.push(0x55);
        out
    }

    fn take(&self, layers: &mut Scalable) -> Standing {
        let info = inspect(Codec::Vp9, &self.payload()).unwrap();
        let key = info.key;
        layers.take(u32::from(self.id) * 3_000, key, &info, None)
    }
}

/// One spatial layer of 640x360; a group of four pictures in three temporal layers.
pub(super) const GROUP_OF_FOUR: &[u8] =
    &[0x18, 2, 0x80, 1, 0x68, 4, 0x14, 4, 0x54, 1, 0x34, 2, 0x58, 1, 3];
/// Three spatial layers without a group.
const THREE: &[u8] = &[0x50, 0, 160, 0, 90, 1, 64, 0, 180, 2, 128, 1, 104];

fn named(layers: &Scalable) -> Option<String> {
    layers.scalability().map(|mode| mode.to_string())
}

#[test]
fn vp9_structures_are_read() {
    let read = |structure: &[u8]| {
        let payload = Vp9 { structure: Some(structure), ..Vp9::default() }.payload();
        inspect(Codec::Vp9, &payload).map(|info| (info.vp9.unwrap().structure.unwrap(), info.size))
    };
    let group = Some(Group { temporal: 3, spares_top: true });
    let one = Structure { spatial: 1, three_halves: false, group };
    assert_eq!(read(GROUP_OF_FOUR), Ok((one, Some((640, 360)))));
    let three = Structure { spatial: 3, three_halves: false, group: None };
    assert_eq!(read(THREE), Ok((three, Some((640, 360)))));
    // The second picture of the highest layer is made of the first; then the first, of the second of
    // the group before.
    for needing in [&[0x08, 3, 0x14, 3, 0x34, 1, 0x34, 1], &[0x08, 3, 0x14, 3, 0x34, 2, 0x34, 2]] {
        let group = read(needing).unwrap().0.group.unwrap();
        assert_eq!(group, Group { temporal: 2, spares_top: false }, "{needing:?}");
    }
    assert_eq!(read(&[0x08, 0]).unwrap().0.group, None);
    for length in 0..GROUP_OF_FOUR.len() {
        // The payload's own byte is taken for the structure's: what is behind it is missing.
        assert_eq!(read(&GROUP_OF_FOUR[..length]), Err(DropReason::Payload), "{length}");
    }
}

proptest! {
    #[test]
    fn vp9_groups_are_understood_as_they_repeat(
        group in vec((0u8..4, vec(1u8..20, 0..4)), 1..20)
    ) {
        let mut structure = vec![0x08, group.len() as u8];
        for (layer, diffs) in &group {
            structure.push(layer << 5 | (diffs.len() as u8) << 2);
            structure.extend(diffs);
        }
        let payload = Vp9 { structure: Some(&structure), ..Vp9::default() }.payload();
        let read = inspect(Codec::Vp9, &payload).unwrap().vp9.unwrap().structure.unwrap();
        let top = group.iter().map(|(layer, _)| *layer).max().unwrap();
        // Many groups, one after the other: what is referred to in those that are not the first?
        let layer = |at: usize| group[at % group.len()].0;
        let needed = (20..20 + group.len()).any(|at| {
            let diffs = &group[at % group.len()].1;
            diffs.iter().any(|diff| layer(at - usize::from(*diff)) == top)
        });
        let spares_top = top > 0 && !needed;
        prop_assert_eq!(read.group, Some(Group { temporal: top + 1, spares_top }));
    }
}

#[test]
fn vp9_groups_tell_which_pictures_can_be_left_out() {
    let mut layers = Scalable::default();
    for id in 0..12 {
        let temporal = [0, 2, 1, 2][usize::from(id % 4)];
        let structure = (id == 0).then_some(GROUP_OF_FOUR);
        let picture = Vp9 { id, delta: id > 0, temporal, structure, ..Vp9::default() };
        let standing = picture.take(&mut layers);
        assert_eq!(standing, Standing { temporal, discardable: temporal == 2 }, "picture {id}");
    }
    assert_eq!(named(&layers).as_deref(), Some("L1T3"));
}

#[test]
fn vp9_references_show_what_no_group_tells() {
    // References of four pictures: in the second pattern the highest layer is made of itself.
    for (pattern, spared) in
        [([4, 1, 2, 1].map(|d| vec![d]), true), ([vec![4], vec![1], vec![2], vec![2, 1]], false)]
    {
        let mut layers = Scalable::default();
        let mut left_out = 0;
        // Numbers of 15 bits go round.
        for n in 0..80u16 {
            let (id, at) = ((n + 32_750) % 32_768, usize::from(n % 4));
            let temporal = [0, 2, 1, 2][at];
            let diffs = Some(&pattern[at][..]);
            let picture = Vp9 { id, delta: n > 0, temporal, diffs, ..Vp9::default() };
            let info = inspect(Codec::Vp9, &picture.payload()).unwrap();
            let standing = layers.take(u32::from(n), info.key, &info, None);
            assert!(!standing.discardable || temporal == 2, "picture {n}");
            left_out += u32::from(standing.discardable);
        }
        assert_eq!(named(&layers).as_deref(), Some("L1T3"));
        let most = left_out >= 30;
        assert!(if spared { most } else { left_out == 0 }, "{pattern:?}: {left_out}");
    }
}

#[test]
fn vp9_spatial_layers_show_what_they_need() {
    for (by_key, by_delta, name) in
        [(true, true, "L3T1"), (true, false, "L3T1_KEY"), (false, false, "S3T1")]
    {
        let mut layers = Scalable::default();
        for id in 0..3 {
            for spatial in 0..3 {
                let inter_layer = spatial > 0 && if id == 0 { by_key } else { by_delta };
                let structure = (id == 0 && spatial == 0).then_some(THREE);
                let delta = id > 0;
                let diffs: Option<&[u8]> = Some(&[1]);
                let picture =
                    Vp9 { id, delta, spatial, inter_layer, structure, diffs, ..Vp9::default() };
                assert!(!picture.take(&mut layers).discardable);
                if id == 0 {
                    assert_eq!(named(&layers), None, "too early to say");
                }
            }
        }
        assert_eq!(named(&layers).as_deref(), Some(name));
    }
}

#[test]
fn layers_that_come_no_more_are_forgotten_at_a_key_frame() {
    let mut layers = Scalable::default();
    let mut timestamp = 0;
    let mut take = |layers: &mut Scalable, key, temporal| {
        timestamp += 3_000;
        let info = Info { key, temporal, discardable: temporal > 0, ..Info::default() };
        assert_eq!(layers.take(timestamp, key, &info, None).temporal, temporal);
    };
    take(&mut layers, true, 0);
    assert_eq!(named(&layers), None);
    for n in 0..8 {
        take(&mut layers, false, [0, 2, 1, 2][n % 4]);
    }
    assert_eq!(named(&layers).as_deref(), Some("L1T3"));
    // A key frame does not make anything forgotten: only a pattern without them does.
    take(&mut layers, true, 0);
    take(&mut layers, true, 0);
    assert_eq!(named(&layers).as_deref(), Some("L1T3"));
    for n in 0..8 {
        take(&mut layers, false, n % 2);
    }
    take(&mut layers, true, 0);
    assert_eq!(named(&layers).as_deref(), Some("L1T2"));
}

#[test]
fn av1_sequence_headers_count_layers() {
    // `plain` has no timing; the others have everything that can stand before the size.
    for plain in [true, false] {
        let mut bits = Bits::default();
        bits.put(0, 4).put(0, 1);
        if plain {
            bits.put(0, 2);
        } else {
            // Timing with equal intervals, a decoder model with delays of 6 bits, display delays.
            bits.put(1, 1).put(1, 32).put(30, 32).put(1, 1).put(0b00101, 5);
            bits.put(1, 1).put(5, 5).put(1, 32).put(0, 10).put(1, 1);
        }
        bits.put(2, 5);
        for (layers, level) in [(0x107, 5), (0x103, 9), (0x101, 5)] {
            bits.put(layers, 12).put(level, 5);
            if level > 7 {
                bits.put(1, 1);
            }
            if !plain {
                bits.put(1, 1).put(3, 6).put(4, 6).put(0, 1).put(1, 1).put(9, 4);
            }
        }
        bits.put(9, 4).put(8, 4).put(639, 10).put(359, 9).put(0, 3);
        let sequence = bits.bytes();
        // With an extension and with a size; then with neither.
        let long = [&[0x10, 0x0e, 0, sequence.len() as u8], &sequence[..], &[0xff]].concat();
        let short = [&[0x10, 0x08], &sequence[..]].concat();
        for payload in [&long, &short] {
            let info = inspect(Codec::Av1, payload).unwrap();
            assert_eq!((info.key, info.size, info.layers), (true, Some((640, 360)), Some((1, 3))));
        }
        for length in 0..sequence.len() - 1 {
            let info = inspect(Codec::Av1, &short[..3 + length]).unwrap();
            assert_eq!((info.key, info.size), (true, None), "{length} bytes");
        }
    }
    // A still picture's header is short, and tells no layers.
    let mut bits = Bits::default();
    bits.put(0b00011, 5).put(4, 5).put(5, 4).put(5, 4).put(63, 6).put(31, 6);
    let still = [&[0x10, 0x08], &bits.bytes()[..]].concat();
    let info = inspect(Codec::Av1, &still).unwrap();
    assert_eq!((info.size, info.layers), (Some((64, 32)), None));
}
