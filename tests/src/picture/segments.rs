//! The clock that people read, drawn as seven-segment digits: no font and no library needed.

use super::{BLACK, I420, Stamp, WHITE};

/// Segments of the digits 0-9: bit 0 top, then clockwise, bit 6 the middle one.
const DIGITS: [u8; 10] = [0x3F, 0x06, 0x5B, 0x4F, 0x66, 0x6D, 0x7D, 0x07, 0x7F, 0x6F];

/// Draws `HH:MM:SS.mmm` (UTC) in the middle of the picture.
pub(super) fn clock(stamp: Stamp, width: usize, height: usize, top: usize, frame: &mut I420<'_>) {
    let ms = stamp.sent_ms % 86_400_000;
    let text = format!(
        "{:02}:{:02}:{:02}.{:03}",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1000 % 60,
        ms % 1000
    );
    let digit_w = width / 24;
    let digit_h = digit_w * 2;
    let (gap, pen) = (digit_w / 3, (digit_w / 6).max(1));
    let total: usize = text.bytes().map(|c| advance(c, digit_w, gap, pen)).sum();
    let mut left = (width.saturating_sub(total)) / 2;
    let upper = top + (height - top) / 8;
    let bottom = (upper + digit_h + 2 * gap).min(height);
    fill(frame, left.saturating_sub(gap), upper.saturating_sub(gap), total + gap, bottom, BLACK);
    for c in text.bytes() {
        if c.is_ascii_digit() {
            digit(frame, DIGITS[usize::from(c - b'0')], left, upper, digit_w, digit_h, pen);
        } else {
            let low = upper + digit_h - 2 * pen;
            fill(frame, left, low, pen, low + pen, WHITE);
            if c == b':' {
                fill(frame, left, upper + 2 * pen, pen, upper + 3 * pen, WHITE);
            }
        }
        left += advance(c, digit_w, gap, pen);
    }
}

fn advance(c: u8, digit_w: usize, gap: usize, pen: usize) -> usize {
    gap + if c.is_ascii_digit() { digit_w } else { pen }
}

fn digit(frame: &mut I420<'_>, segments: u8, x: usize, y: usize, w: usize, h: usize, pen: usize) {
    let middle = y + (h - pen) / 2;
    let right = x + w - pen;
    // (x, y, width, bottom) of each segment.
    let strokes = [
        (x, y, w, y + pen),
        (right, y, pen, middle + pen),
        (right, middle, pen, y + h),
        (x, y + h - pen, w, y + h),
        (x, middle, pen, y + h),
        (x, y, pen, middle + pen),
        (x, middle, w, middle + pen),
    ];
    for (i, (sx, sy, sw, bottom)) in strokes.into_iter().enumerate() {
        if segments >> i & 1 == 1 {
            fill(frame, sx, sy, sw, bottom, WHITE);
        }
    }
}

fn fill(frame: &mut I420<'_>, x: usize, y: usize, w: usize, bottom: usize, level: u8) {
    for row in y..bottom {
        let start = row * frame.y_stride + x;
        if let Some(pixels) = frame.y.get_mut(start..start + w) {
            pixels.fill(level);
        }
    }
}
