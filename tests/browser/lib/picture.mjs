// The test picture's block row: 80 black or white blocks across the top of the picture that carry
// the frame's number and the wall-clock time at which it was sent. This module turns values into
// bits and brightnesses back into values. It is not about video elements: see probe.mjs.
//
// Row (most significant bit first): 2 bits "10", 24 bits frame number, 42 bits send time in
// milliseconds since the epoch, 12 bits CRC-12 (polynomial 0x80F, initial value 0, no reflection)
// over the 66 bits of frame number and time.
//
// `crc12` and `decodeBlocks` are also sent into the page as source text, so each refers to nothing
// outside itself but the other.

/** How many blocks the row has. */
export const BLOCKS = 80;
/** The row's height in pixels in a picture of 720 lines; it scales with the picture. */
export const ROW_AT_720 = 32;

/** CRC-12 (0x80F) over a list of bits. */
export function crc12(bits) {
  let crc = 0;
  for (const bit of bits) {
    const top = (crc >> 11) & 1;
    crc = (crc << 1) & 0xfff;
    if (top ^ bit) crc ^= 0x80f;
  }
  return crc;
}

/** The 80 bits of a frame number and a time in milliseconds. */
export function encodeBlocks(frame, timeMs) {
  const bits = (value, width) =>
    [...Array(width).keys()].map((i) => Number((BigInt(value) >> BigInt(width - 1 - i)) & 1n));
  const body = [...bits(frame, 24), ...bits(timeMs, 42)];
  return [1, 0, ...body, ...bits(crc12(body), 12)];
}

/** Reads 80 brightnesses (0-255) back: `{frame, time}`, or null if this is no intact block row. */
export function decodeBlocks(luma) {
  if (luma.length !== 80) return null;
  let low = 255;
  let high = 0;
  for (const value of luma) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  // Less contrast than this is a grey or black picture, not blocks.
  if (high - low < 60) return null;
  const middle = (low + high) / 2;
  const bits = Array.from(luma, (value) => (value > middle ? 1 : 0));
  if (bits[0] !== 1 || bits[1] !== 0) return null;
  const read = (from, width) => {
    let value = 0; // at most 42 bits: exact in a double
    for (let i = from; i < from + width; i += 1) value = value * 2 + bits[i];
    return value;
  };
  if (crc12(bits.slice(2, 68)) !== read(68, 12)) return null;
  return { frame: read(2, 24), time: read(26, 42) };
}
