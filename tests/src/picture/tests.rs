//! The picture is read back whatever its size, and not read where it is damaged.

use super::*;
use proptest::prelude::*;

fn drawn(stamp: Stamp, width: usize, height: usize, clock: bool) -> Vec<u8> {
    let mut y = vec![0; width * height];
    let (mut u, mut v) = (vec![0; width * height / 4], vec![0; width * height / 4]);
    let mut frame = I420 { y: &mut y, u: &mut u, v: &mut v, y_stride: width, uv_stride: width / 2 };
    Painter::new(width, height, clock).draw(stamp, &mut frame);
    y
}

#[test]
fn crc_of_known_bits() {
    // Worked by hand: a single 1 at the end leaves the polynomial.
    assert_eq!(crc12(1), 0x80F);
    assert_eq!(crc12(0), 0);
    // x^13 mod (x^12 + x^11 + x^3 + x^2 + x + 1), as 0x80F stands for.
    assert_eq!(crc12(2), ((0x80F << 1) & 0xFFF) ^ 0x80F);
}

#[test]
fn layout_is_fixed() {
    let stamp = Stamp { number: 1, sent_ms: 1 };
    let bits = stamp.bits();
    assert_eq!(bits >> 78, 0b10);
    assert_eq!(bits >> 54 & 0xFF_FFFF, 1);
    assert_eq!(bits >> 12 & ((1 << 42) - 1), 1);
}

#[test]
fn read_back_at_every_size() {
    let stamp = Stamp { number: 123_456, sent_ms: 1_795_507_200_123 };
    for (w, h) in [(1280, 720), (640, 360), (480, 270), (320, 180), (1920, 1080), (854, 480)] {
        for clock in [false, true] {
            let y = drawn(stamp, w, h, clock);
            assert_eq!(Stamp::read(&y, w, h, w), Some(stamp), "{w}x{h}");
        }
    }
}

#[test]
fn survives_blur_and_level_changes() {
    let stamp = Stamp { number: 77, sent_ms: 1_795_507_200_999 };
    let y = drawn(stamp, 640, 360, false);
    let worn: Vec<u8> = (0..y.len())
        .map(|i| {
            let (a, b) = (y[i.saturating_sub(1)], y[(i + 1).min(y.len() - 1)]);
            let mean = (u32::from(a) + 2 * u32::from(y[i]) + u32::from(b)) / 4;
            (40 + mean * 5 / 8 + (i as u32 * 31 % 16)) as u8
        })
        .collect();
    assert_eq!(Stamp::read(&worn, 640, 360, 640), Some(stamp));
}

#[test]
fn no_stamp_in_another_picture() {
    assert_eq!(Stamp::read(&vec![128; 640 * 360], 640, 360, 640), None);
    assert_eq!(Stamp::read(&[], 640, 360, 640), None);
    let mut y = drawn(Stamp { number: 5, sent_ms: 9 }, 640, 360, false);
    for row in y.chunks_mut(640).take(16) {
        let turned = if row[8 * 30] > 128 { BLACK } else { WHITE };
        row[8 * 30..8 * 31].fill(turned);
    }
    assert_eq!(Stamp::read(&y, 640, 360, 640), None);
}

#[test]
fn picture_moves() {
    let a = drawn(Stamp { number: 1, sent_ms: 0 }, 320, 180, false);
    let b = drawn(Stamp { number: 2, sent_ms: 0 }, 320, 180, false);
    let changed = a.iter().zip(&b).filter(|(a, b)| a != b).count();
    assert!(changed > a.len() / 4, "{changed} of {}", a.len());
}

proptest! {
    #[test]
    fn any_stamp_survives(number in 0..NUMBER_MODULO, sent_ms in 0u64..1 << 42) {
        let stamp = Stamp { number, sent_ms };
        prop_assert_eq!(Stamp::from_bits(stamp.bits()), Some(stamp));
    }

    #[test]
    fn one_wrong_block_is_noticed(number in 0..NUMBER_MODULO, bit in 0u32..80) {
        let stamp = Stamp { number, sent_ms: 1_795_507_200_000 };
        prop_assert_eq!(Stamp::from_bits(stamp.bits() ^ (1 << bit)), None);
    }
}
