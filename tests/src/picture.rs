//! The test picture (DESIGN 9): draws a frame's number and send time into an I420 frame as a row
//! of black and white blocks, and reads them back from luma. Below the row moves a picture that
//! compresses like real video. Pure: frame number and time come in as arguments. It neither
//! encodes nor sends.
//!
//! The row has 80 blocks over the full width, white is 1, most significant bit first:
//!
//! | bits | what |
//! | --- | --- |
//! | 0-1 | `10`, tells white from black |
//! | 2-25 | frame number, modulo 2^24 |
//! | 26-67 | send time, milliseconds since the epoch, 42 bits |
//! | 68-79 | CRC-12 (polynomial 0x80F, initially 0) of the 66 bits before it |

mod segments;
#[cfg(test)]
mod tests;

/// How many blocks the row has.
pub const BLOCKS: usize = 80;
/// Luma of a block that is 1 (video range white).
pub const WHITE: u8 = 235;
/// Luma of a block that is 0 (video range black).
pub const BLACK: u8 = 16;
/// Frame numbers go up to this and begin again at 0.
pub const NUMBER_MODULO: u32 = 1 << 24;
/// The row is 32 pixels high in a picture of 720 lines.
const ROW_HEIGHT_AT_720: usize = 32;
/// White and black in the sync blocks must differ by at least this much, or it is another picture.
const MIN_CONTRAST: i32 = 60;
const CRC_POLYNOMIAL: u16 = 0x80F;

/// What the row of blocks says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The frame's number, modulo [`NUMBER_MODULO`].
    pub number: u32,
    /// When the frame was handed to the encoder, milliseconds since the epoch.
    pub sent_ms: u64,
}

impl Stamp {
    /// The 80 bits, the first block in bit 79.
    #[must_use]
    pub fn bits(self) -> u128 {
        let number = u128::from(self.number % NUMBER_MODULO);
        let body = (number << 42) | u128::from(self.sent_ms & ((1 << 42) - 1));
        (0b10 << 78) | (body << 12) | u128::from(crc12(body))
    }

    /// Reads the 80 bits; `None` if sync or check code are wrong.
    #[must_use]
    pub fn from_bits(bits: u128) -> Option<Self> {
        let body = (bits >> 12) & ((1 << 66) - 1);
        if bits >> 78 != 0b10 || u128::from(crc12(body)) != bits & 0xFFF {
            return None;
        }
        Some(Self { number: (body >> 42) as u32, sent_ms: (body & ((1 << 42) - 1)) as u64 })
    }

    /// Reads the row from a luma plane of any size; `None` if it is not there or damaged.
    #[must_use]
    pub fn read(luma: &[u8], width: usize, height: usize, stride: usize) -> Option<Self> {
        let row = row_height(height);
        if width < BLOCKS || row == 0 || stride < width || luma.len() < stride * row {
            return None;
        }
        let level = |block: usize| -> i32 {
            // The middle half of the block: its edges are blurred by scaling and coding.
            let (left, right) = (block * width / BLOCKS, (block + 1) * width / BLOCKS);
            let inset = (right - left) / 4;
            let (top, bottom) = (row / 4, (row - row / 4).max(row / 4 + 1));
            let (mut sum, mut count) = (0, 0);
            for y in top..bottom {
                for x in left + inset..(right - inset).max(left + inset + 1) {
                    sum += i32::from(luma[y * stride + x]);
                    count += 1;
                }
            }
            sum / count.max(1)
        };
        let (white, black) = (level(0), level(1));
        if white - black < MIN_CONTRAST {
            return None;
        }
        let middle = (white + black) / 2;
        let bits = (0..BLOCKS).fold(0, |bits, i| (bits << 1) | u128::from(level(i) > middle));
        Self::from_bits(bits)
    }
}

/// CRC-12 of the 66 bits, most significant first, not reflected.
fn crc12(body: u128) -> u16 {
    let mut crc = 0u16;
    for i in (0..66).rev() {
        let bit = (body >> i) as u16 & 1;
        let top = (crc >> 11) & 1;
        crc = (crc << 1) & 0xFFF;
        if top ^ bit == 1 {
            crc ^= CRC_POLYNOMIAL;
        }
    }
    crc
}

/// Height of the row of blocks in a picture of that height.
#[must_use]
pub fn row_height(height: usize) -> usize {
    height * ROW_HEIGHT_AT_720 / 720
}

/// A frame to draw into: three planes with their strides.
#[derive(Debug)]
pub struct I420<'a> {
    /// Luma.
    pub y: &'a mut [u8],
    /// Blue difference, half the width and height.
    pub u: &'a mut [u8],
    /// Red difference, half the width and height.
    pub v: &'a mut [u8],
    /// Bytes per luma row.
    pub y_stride: usize,
    /// Bytes per chroma row.
    pub uv_stride: usize,
}

/// Draws test pictures of one size.
#[derive(Debug)]
pub struct Painter {
    width: usize,
    height: usize,
    /// Two periods of a soft wave, long enough to copy a row from any phase.
    wave: Vec<u8>,
    clock_text: bool,
}

/// Length of the background's wave in pixels.
const WAVE: usize = 512;

impl Painter {
    /// For pictures of this size (both even, at least 160 × 90); with `clock_text` a clock that
    /// people can read stands below the row.
    #[must_use]
    pub fn new(width: usize, height: usize, clock_text: bool) -> Self {
        let wave = (0..width + WAVE)
            .map(|x| {
                let phase = x % WAVE;
                let triangle = if phase < WAVE / 2 { phase } else { WAVE - phase };
                (60 + triangle * 100 / (WAVE / 2)) as u8
            })
            .collect();
        Self { width, height, wave, clock_text }
    }

    /// Draws the frame with this stamp. The same stamp always gives the same picture.
    pub fn draw(&self, stamp: Stamp, frame: &mut I420<'_>) {
        let n = stamp.number as usize;
        let top = row_height(self.height);
        for y in top..self.height {
            let phase = (y + 2 * n) % WAVE;
            let row = y * frame.y_stride;
            frame.y[row..row + self.width].copy_from_slice(&self.wave[phase..phase + self.width]);
        }
        // The row of blocks has no colour; below it the tint changes slowly.
        let (u, v) = (108 + triangle(n, 40) as u8, 108 + triangle(n + 31, 40) as u8);
        for y in 0..self.height / 2 {
            let row = y * frame.uv_stride;
            let (u, v) = if y < top.div_ceil(2) { (128, 128) } else { (u, v) };
            frame.u[row..row + self.width / 2].fill(u);
            frame.v[row..row + self.width / 2].fill(v);
        }
        self.noise(n, top, frame);
        self.ball(n, top, frame);
        if self.clock_text {
            segments::clock(stamp, self.width, self.height, top, frame);
        }
        let bits = stamp.bits();
        for block in 0..BLOCKS {
            let (left, right) = (block * self.width / BLOCKS, (block + 1) * self.width / BLOCKS);
            let level = if bits >> (BLOCKS - 1 - block) & 1 == 1 { WHITE } else { BLACK };
            for y in 0..top {
                frame.y[y * frame.y_stride + left..y * frame.y_stride + right].fill(level);
            }
        }
    }

    /// A patch of film grain: what costs a real encoder its bits.
    fn noise(&self, n: usize, top: usize, frame: &mut I420<'_>) {
        let (w, h) = (self.width / 6, self.height / 6);
        let (left, upper) = (self.width / 12, top + self.height / 2);
        let mut state = (n as u32).wrapping_mul(0x9E37_79B9) | 1;
        for y in upper..(upper + h).min(self.height) {
            let row = y * frame.y_stride + left;
            for pixel in &mut frame.y[row..row + w] {
                // xorshift32: cheap, and the same for the same frame number.
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                *pixel = pixel.wrapping_add((state & 0x1F) as u8);
            }
        }
    }

    /// A white ball that bounces across the picture.
    fn ball(&self, n: usize, top: usize, frame: &mut I420<'_>) {
        let radius = (self.height / 12) as i64;
        let (range_x, range_y) =
            (self.width as i64 - 2 * radius, (self.height - top) as i64 - 2 * radius);
        let cx = radius + triangle(n * 7, range_x.max(1) as usize) as i64;
        let cy = top as i64 + radius + triangle(n * 5, range_y.max(1) as usize) as i64;
        for y in cy - radius..cy + radius {
            let dy = y - cy;
            let half = ((radius * radius - dy * dy) as f64).sqrt() as i64;
            let (from, to) = ((cx - half).max(0), (cx + half).min(self.width as i64));
            if from < to && (top as i64..self.height as i64).contains(&y) {
                let row = y as usize * frame.y_stride;
                frame.y[row + from as usize..row + to as usize].fill(220);
            }
        }
    }
}

/// Goes from 0 to `range` and back as `n` rises.
fn triangle(n: usize, range: usize) -> usize {
    let phase = n % (2 * range);
    if phase < range { phase } else { 2 * range - phase }
}
