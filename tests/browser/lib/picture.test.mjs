// The block row against an implementation that shares no code with it: long division of the
// message, as a polynomial in a BigInt, by 0x180F.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BLOCKS, crc12, decodeBlocks, encodeBlocks } from './picture.mjs';

function rowByLongDivision(frame, time) {
  const message = (BigInt(frame) << 42n) | BigInt(time);
  let rest = message << 12n;
  for (let degree = 77n; degree >= 12n; degree -= 1n) {
    if ((rest >> degree) & 1n) rest ^= 0x180fn << (degree - 12n);
  }
  const row = (2n << 78n) | (message << 12n) | rest;
  return { crc: Number(rest), text: row.toString(2).padStart(80, '0') };
}

const asLuma = (bits, black = 16, white = 235) => bits.map((bit) => (bit ? white : black));

// Written out so that the Rust side can hold the same vectors.
const VECTORS = [
  [0, 0],
  [1, 1_700_000_000_000],
  [0xffffff, 2 ** 42 - 1],
  [123_456, 1_800_000_123_456],
];

test('rows equal those of the independent implementation', () => {
  for (const [frame, time] of VECTORS) {
    const expected = rowByLongDivision(frame, time);
    const bits = encodeBlocks(frame, time);
    assert.equal(bits.length, BLOCKS);
    assert.equal(bits.join(''), expected.text);
    assert.equal(crc12(bits.slice(2, 68)), expected.crc);
  }
});

test('the check value of CRC-12 over "123456789" is the published one', () => {
  // The CRC catalogue's CRC-12/DECT (0x80F, init 0, no reflection): check 0xF5B.
  const bits = [...'123456789'].flatMap((c) =>
    [...Array(8).keys()].map((i) => (c.charCodeAt(0) >> (7 - i)) & 1),
  );
  assert.equal(crc12(bits), 0xf5b);
});

test('what was written is read back, also from a washed-out picture', () => {
  for (const [frame, time] of VECTORS.slice(1)) {
    const bits = encodeBlocks(frame, time);
    assert.deepEqual(decodeBlocks(asLuma(bits)), { frame, time });
    assert.deepEqual(decodeBlocks(asLuma(bits, 60, 160)), { frame, time });
  }
});

test('a damaged row, a flat picture and a short row are refused', () => {
  const bits = encodeBlocks(1, 1_700_000_000_000);
  for (let i = 0; i < BLOCKS; i += 1) {
    const damaged = [...bits];
    damaged[i] ^= 1;
    assert.equal(decodeBlocks(asLuma(damaged)), null, `bit ${i}`);
  }
  assert.equal(decodeBlocks(asLuma(bits, 100, 120)), null);
  assert.equal(decodeBlocks(asLuma(bits).slice(1)), null);
});
