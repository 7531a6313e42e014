import { describe, expect, it } from 'vitest';

import { BufferAim, HIGH_MS, linkOf, LOW_MS, soundWait, tries, wait, type Link } from './buffer';
import { readSample, type Sample } from './stats';

// Thirty frames a second of nine packets.
const link = (loss: number, rttMs = 60): Link => ({
  loss,
  packets: 9,
  frameMs: 33,
  rttMs,
  jitterMs: 5,
});

describe('the wait that a link asks for', () => {
  it('is short where nothing is lost, whatever the round trip', () => {
    expect(wait(link(0))).toBe(LOW_MS);
    expect(wait(link(0, 300))).toBe(LOW_MS);
  });

  it('has room for the tries that the loss asks for', () => {
    expect([0.001, 0.01, 0.05].map((loss) => tries(link(loss)))).toEqual([1, 2, 3]);
    // One try: a frame until the loss shows, and the round trip.
    expect(wait(link(0.001))).toBe(33 + 60 + 5 + 20);
    // Each further one: as long as the browser waits before it asks again.
    expect(wait(link(0.01))).toBe(33 + 120 + 60 + 5 + 20);
    expect(wait(link(0.05))).toBe(33 + 240 + 60 + 5 + 20);
  });

  it('grows with loss and round trip, and has an end', () => {
    for (const rtt of [10, 60, 200, 1_000]) {
      const waits = [0, 0.001, 0.01, 0.03, 0.1, 0.5, 1].map((loss) => wait(link(loss, rtt)));
      expect(waits).toEqual([...waits].sort((a, b) => a - b));
      expect(waits.at(-1)).toBeLessThanOrEqual(HIGH_MS);
    }
    expect(wait(link(0.05, 1_000))).toBe(HIGH_MS);
  });
});

it('lets the sound follow where the picture waits', () => {
  expect([LOW_MS, LOW_MS + 10, 350].map(soundWait)).toEqual([null, 5, 295]);
});

const sample = (at: number, seconds: number, missed: number, rtt: number | null = 0.06): Sample =>
  readSample(
    Object.entries({
      V: {
        type: 'inbound-rtp',
        kind: 'video',
        packetsReceived: Math.round(270 * seconds),
        packetsLost: missed,
        retransmittedPacketsReceived: missed,
        framesDecoded: Math.round(30 * seconds),
        jitter: 0.005,
      },
      T: { type: 'transport', selectedCandidatePairId: 'P' },
      P: { type: 'candidate-pair', ...(rtt === null ? {} : { currentRoundTripTime: rtt }) },
    }),
    at,
  );

/** A sample a second; `loss` is what was lost in each before repair. */
const run = (losses: number[], from = 0): Sample[] => {
  let missed = 0;
  return [0, ...losses].map((loss, n) => {
    missed += 270 * loss;
    return sample(from + n * 1_000, n, Math.round(missed));
  });
};

describe('linkOf', () => {
  it('counts what was repaired, too', () => {
    const seen = linkOf(run([0.05, 0.05]));
    expect(seen?.loss).toBeCloseTo(0.05, 2);
    expect(seen).toMatchObject({ packets: 9, rttMs: 60, jitterMs: 5 });
    expect(seen?.frameMs).toBeCloseTo(33.3, 1);
  });

  it('says nothing of nothing', () => {
    expect(linkOf([])).toBeNull();
    expect(linkOf([sample(0, 0, 0)])).toBeNull();
    expect(linkOf([sample(0, 0, 0), sample(250, 0.25, 5)])).toBeNull();
    expect(linkOf(run([0.05]).map((s) => ({ ...s, video: null })))).toBeNull();
    // Nothing came: whatever is wrong, it is not mended by waiting.
    expect(linkOf([sample(0, 1, 0), sample(1_000, 1, 0)])).toBeNull();
  });

  it('bears a round trip that nobody knows', () => {
    expect(linkOf([sample(0, 0, 0, null), sample(1_000, 1, 5, null)])?.rttMs).toBe(100);
  });
});

describe('BufferAim', () => {
  const play = (aim: BufferAim, samples: Sample[]) =>
    samples.map((_, n) => {
      aim.note(samples.slice(Math.max(0, n - 10), n + 1));
      return aim.ms;
    });

  it('goes up with the first sign of loss and holds', () => {
    const aim = new BufferAim();
    const aims = play(aim, run(Array<number>(8).fill(0.05)));
    expect(aims[0]).toBe(LOW_MS);
    expect(aims[1]).toBeGreaterThan(300);
    expect(Math.min(...aims.slice(1))).toBe(aims[1]);
  });

  it('comes down slowly once the link is clean, and not below the low wait', () => {
    const aim = new BufferAim();
    const aims = play(aim, run([...Array<number>(3).fill(0.05), ...Array<number>(60).fill(0)]));
    const high = Math.max(...aims);
    expect(aims[8]).toBe(high);
    expect(aims[30]).toBeLessThan(high);
    for (let n = 1; n < aims.length; n += 1) {
      expect((aims[n - 1] ?? 0) - (aims[n] ?? 0)).toBeLessThanOrEqual(10);
    }
    expect(aims.at(-1)).toBe(LOW_MS);
  });

  it('outlives a session: a new one begins with what is known', () => {
    const aim = new BufferAim();
    play(aim, run([0.05, 0.05]));
    const known = aim.ms;
    play(aim, run([0.05, 0.05], 5_000));
    expect(aim.ms).toBe(known);
  });
});
