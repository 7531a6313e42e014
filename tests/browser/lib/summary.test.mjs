import assert from 'node:assert/strict';
import { test } from 'node:test';

import { summariseFrames, summariseSound } from './summary.mjs';

// Thirty frames a second, each shown `age` after it was sent.
const WALL = 1_700_000_000_000;
function shown(count, { age = 100, skip = () => false } = {}) {
  const list = [];
  for (let frame = 0; frame < count; frame += 1) {
    if (skip(frame)) continue;
    const at = 1_000 + frame * 33;
    list.push({
      at,
      wall: WALL + at,
      expected: WALL + at,
      presented: frame + 1,
      width: 1280,
      height: 720,
      frame,
      time: WALL + at - age,
    });
  }
  return list;
}

test('a clean run', () => {
  const result = summariseFrames(shown(300), 1_000, 1_000 + 299 * 33);
  assert.equal(result.frames.seen, 300);
  assert.equal(result.frames.fraction, 1);
  assert.equal(result.freeze_ms, 33);
  assert.deepEqual(result.delay_ms, { p50: 100, p95: 100, p99: 100, max: 100 });
  assert.equal(result.resolution, '1280x720');
});

test('missed frames, and the freeze that they make', () => {
  const frames = shown(300, { skip: (n) => n === 7 || (n >= 100 && n < 109) });
  const { frames: f, ...rest } = summariseFrames(frames, 1_000, 1_000 + 299 * 33);
  assert.equal(f.seen, 290);
  assert.equal(f.missed, 10);
  assert.deepEqual(f.missed_runs, [
    [7, 7],
    [100, 108],
  ]);
  assert.equal(rest.freeze_ms, 330);
  assert.equal(rest.freeze_at_ms, 1_000 + 99 * 33);
});

test('a picture that stands still to the end is a freeze', () => {
  const frames = shown(30);
  assert.equal(summariseFrames(frames, 1_000, 5_000).freeze_ms, 5_000 - (1_000 + 29 * 33));
  assert.equal(summariseFrames([], 1_000, 5_000).freeze_ms, 4_000);
});

test('repeated and unreadable pictures are told apart', () => {
  const frames = shown(10);
  frames[4] = { ...frames[4], frame: 3, time: frames[3].time };
  frames[5] = { ...frames[5], frame: null, time: null };
  const { frames: f } = summariseFrames(frames, 0, 10_000);
  assert.equal(f.repeated, 1);
  assert.equal(f.unreadable, 1);
  assert.equal(f.missed, 2);
});

test('a frame that was presented but not reported counts only if it is clear which it was', () => {
  const frames = shown(30, { skip: (n) => n === 5 || n === 10 || n === 20 });
  // Of 10 the browser did not even count a presentation; 20 was never decoded.
  for (const f of frames) if (f.frame > 10) f.presented -= 1;
  const decoded = [...Array(30).keys()].filter((n) => n !== 20).map((frame) => ({ frame }));
  const { frames: f } = summariseFrames(frames, 0, 10_000, decoded);
  assert.equal(f.noticed, 27);
  assert.equal(f.unreported, 1);
  assert.equal(f.seen, 28);
  assert.deepEqual(f.missed_runs, [
    [10, 10],
    [20, 20],
  ]);
});

test('sound late and early', () => {
  const frames = shown(300, { age: 120 });
  const heard = (late) =>
    [2, 3, 4, 5].map((s) => {
      const wall = WALL + s * 1_000 + 120 + late;
      return { wall, at: wall - WALL };
    });
  assert.equal(summariseSound(heard(30), frames, 0.5).av_offset_ms, 30);
  assert.equal(summariseSound(heard(-45), frames, 0.5).av_offset_ms, -45);
  assert.equal(summariseSound(heard(-45), frames, 0.5, 25).av_offset_ms, -20);
  assert.deepEqual(summariseSound([], frames, 0), {
    present: false,
    onsets: 0,
    peak: 0,
    playout_ms: 0,
    av_offset_ms: null,
    av_offset_worst_ms: 0,
  });
});
