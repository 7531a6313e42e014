//! What is taken for B-frames, and what is not.

use crate::ingest::sps::Sps;
use crate::sources::reorder::{Reorder, Verdict};

/// Writes bits and Exp-Golomb numbers.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(mut self, count: u32, value: u32) -> Self {
        self.0.extend((0..count).rev().map(|bit| (value >> bit) & 1 == 1));
        self
    }

    fn ue(self, value: u32) -> Self {
        let length = 32 - (value + 1).leading_zeros();
        self.put(length - 1, 0).put(length, value + 1)
    }

    fn bytes(self) -> Vec<u8> {
        let bits = self.put(1, 1).0;
        bits.chunks(8)
            .map(|c| c.iter().fold(0, |b, bit| (b << 1) | u8::from(*bit)) << (8 - c.len()))
            .collect()
    }
}

/// An SPS of 320x160, without its header.
fn sps(profile: u32, order_type: u32, reorder: Option<u32>) -> Vec<u8> {
    let mut bits = Bits::default().put(8, profile).put(8, 0).put(8, 31).ue(0).ue(0).ue(order_type);
    if order_type == 0 {
        bits = bits.ue(0);
    }
    bits = bits.ue(1).put(1, 0).ue(19).ue(9).put(1, 1).put(1, 1).put(1, 0);
    bits = match reorder {
        None => bits.put(1, 0),
        // VUI: sample aspect ratio 255, timing, one HRD, and the restriction at its end.
        Some(frames) => bits
            .put(1, 1)
            .put(1, 1)
            .put(8, 255)
            .put(32, 0x0001_0001)
            .put(3, 0)
            .put(1, 1)
            .put(32, 1)
            .put(32, 60)
            .put(1, 1)
            .put(1, 1)
            .ue(0)
            .put(8, 0x44)
            .ue(100)
            .ue(100)
            .put(1, 0)
            .put(20, 0)
            .put(1, 0)
            .put(1, 0)
            .put(1, 0)
            .put(1, 1)
            .put(1, 1)
            .ue(2)
            .ue(1)
            .ue(10)
            .ue(10)
            .ue(frames)
            .ue(4),
    };
    // Emulation prevention (H.264 section 7.4.1).
    let mut escaped = Vec::new();
    for byte in bits.bytes() {
        if byte <= 3 && escaped.ends_with(&[0, 0]) {
            escaped.push(3);
        }
        escaped.push(byte);
    }
    escaped
}

fn unit(sps: Option<&[u8]>, slice_type: u32) -> Vec<u8> {
    let mut unit = Vec::new();
    if let Some(sps) = sps {
        unit.extend([0, 0, 0, 1, 0x67]);
        unit.extend(sps);
    }
    unit.extend([0, 0, 1, if sps.is_some() { 0x65 } else { 0x41 }]);
    unit.extend(Bits::default().ue(0).ue(slice_type).bytes());
    unit
}

const FRAME: i64 = 33_333_333;

/// After two seconds of pictures of this type, with times in this pattern.
fn after(sps: &[u8], kind: u32, pattern: &[i64]) -> Verdict {
    let mut reorder = Reorder::default();
    reorder.picture(Some(0), &unit(Some(sps), 7));
    for round in 0..20 {
        for at in pattern {
            let time = (1 + round * pattern.len() as i64 + at) * FRAME;
            reorder.picture(Some(time), &unit(None, kind));
        }
    }
    reorder.verdict()
}

#[test]
fn an_sps_says_what_it_says() {
    let read = |profile, order, reorder| Sps::parse(&sps(profile, order, reorder)).unwrap();
    let all = read(77, 0, Some(2));
    assert_eq!(
        (all.size, all.profile, all.order_type, all.reorder),
        (Some((320, 160)), 77, 0, Some(2))
    );
    assert_eq!(read(66, 2, None).reorder, None);
    assert_eq!(read(66, 2, None).order_type, 2);
    // Cut anywhere: nothing, or what stood there already.
    let whole = sps(77, 0, Some(2));
    for end in 0..whole.len() {
        let cut = Sps::parse(&whole[..end]);
        assert!(cut.is_none_or(|s| s.size == all.size), "{end}");
    }
}

#[test]
fn b_slices_and_times_that_go_back_are_b_frames() {
    let open = sps(77, 0, None);
    // Type 1 and 6 are B, 0 and 5 P, 2 and 7 I (H.264 table 7-6).
    for (kind, b) in [(0, false), (5, false), (2, false), (7, false), (1, true), (6, true)] {
        let verdict = after(&open, kind, &[0, 1, 2]);
        assert_eq!(matches!(verdict, Verdict::Some(_)), b, "slice type {kind}: {verdict:?}");
    }
    // P B B in the order of decoding.
    let verdict = after(&open, 0, &[2, 0, 1]);
    assert_eq!(verdict, Verdict::Some("it has B-frames (times go back)".into()));
}

#[test]
fn an_sps_promises_or_announces() {
    let steady = [0, 1, 2];
    assert_eq!(after(&sps(77, 0, None), 0, &steady), Verdict::Open);
    assert_eq!(after(&sps(77, 0, Some(0)), 0, &steady), Verdict::None);
    assert_eq!(after(&sps(77, 2, None), 0, &steady), Verdict::None);
    assert_eq!(after(&sps(66, 0, None), 0, &steady), Verdict::None);
    let Verdict::Some(how) = after(&sps(77, 0, Some(2)), 0, &steady) else { panic!() };
    assert!(how.contains("max_num_reorder_frames 2"), "{how}");
    // What it does counts more than what it promises.
    assert!(matches!(after(&sps(77, 0, Some(0)), 0, &[2, 0, 1]), Verdict::Some(_)));
}

#[test]
fn a_new_timeline_or_a_trembling_clock_is_none() {
    let mut reorder = Reorder::default();
    reorder.picture(Some(100 * FRAME), &unit(Some(&sps(77, 0, None)), 7));
    for n in 0..60 {
        // A file that begins again, every second; and a millisecond now and then.
        let base = if n % 30 == 0 { 0 } else { n % 30 * FRAME };
        reorder.picture(Some(base + 1_000_000 * (n % 2)), &unit(None, 0));
    }
    reorder.picture(None, &[]);
    reorder.picture(None, &[0, 0, 1]);
    assert_ne!(reorder.verdict(), Verdict::Some("it has B-frames".into()));
    let mut reorder = Reorder::default();
    for n in 0..60 {
        reorder.picture(Some(n * FRAME - 1_000_000 * (n % 2)), &unit(None, 0));
        reorder.picture(Some(n * FRAME - 2_000_000), &unit(None, 0));
    }
    assert_eq!(reorder.verdict(), Verdict::Open);
}
