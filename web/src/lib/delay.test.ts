import { describe, expect, it } from 'vitest';

import { estimateDelay, frameDelay, median, NTP_TO_UNIX_MS, SenderClock } from './delay';

const T = 1_700_000_000_000;
const mark = { rtp: 1_000, captureNtp: T + NTP_TO_UNIX_MS, senderOffset: 0 };

describe('frameDelay', () => {
  it('takes the capture time of the very frame shown', () => {
    const frame = { shownAt: T + 250, rtp: 1_000 + 90 * 100, captureAt: null, mark };
    expect(frameDelay(frame, 0)).toEqual({ ms: 150, source: 'capture' });
  });

  it('corrects for both clocks', () => {
    // Our clock is 5 s behind the sender's, the capturer's 1 s ahead of it.
    const frame = {
      shownAt: T - 5_000 - 1_000 + 200,
      rtp: 1_000,
      captureAt: null,
      mark: { ...mark, senderOffset: 1_000 },
    };
    expect(frameDelay(frame, 5_000)?.ms).toBe(200);
  });

  it('survives the wrap of RTP timestamps', () => {
    const frame = { shownAt: T, rtp: 0xffff_ffff - 8_999 + 1_000, captureAt: null, mark };
    expect(frameDelay(frame, 0)?.ms).toBeCloseTo(100, 0);
    const ahead = {
      shownAt: T + 200,
      rtp: 4_000,
      captureAt: null,
      mark: { ...mark, rtp: 0xffff_ffff - 4_999 },
    };
    expect(frameDelay(ahead, 0)?.ms).toBeCloseTo(100, 0);
  });

  it('falls back to the reckoning of the browser, then to nothing', () => {
    const frame = { shownAt: T + 90, rtp: null, captureAt: T, mark };
    expect(frameDelay(frame, 0)).toEqual({ ms: 90, source: 'reports' });
    expect(frameDelay({ ...frame, captureAt: null }, 0)).toBeNull();
  });

  it('does not believe clocks that contradict it', () => {
    const frame = { shownAt: T - 500, rtp: 1_000, captureAt: null, mark };
    expect(frameDelay(frame, 0)).toBeNull();
    expect(frameDelay({ ...frame, shownAt: T + 3_600_000 }, 0)).toBeNull();
    expect(frameDelay({ ...frame, shownAt: T + 100 }, null)).toBeNull();
  });
});

describe('estimateDelay', () => {
  it('adds half a round trip to the buffer', () => {
    expect(estimateDelay(40, 60)).toEqual({ ms: 80, source: 'estimate' });
    expect(estimateDelay(null, 60)?.ms).toBe(60);
    expect(estimateDelay(40, null)).toBeNull();
  });
});

describe('SenderClock', () => {
  it('goes by the report that waited least, and counts each once', () => {
    const clock = new SenderClock();
    expect(clock.offset()).toBeNull();
    clock.note({ remote: T + 950, local: T }, 20);
    clock.note({ remote: T + 1_990, local: T + 1_000 }, 20);
    clock.note({ remote: T + 1_990, local: T + 1_000 }, 9_000);
    expect(clock.offset()).toBe(1_000);
  });

  it('forgets old reports', () => {
    const clock = new SenderClock();
    clock.note({ remote: 5_000, local: 1 }, 0);
    for (let i = 2; i < 30; i += 1) clock.note({ remote: i + 10, local: i }, 0);
    expect(clock.offset()).toBe(10);
  });
});

describe('median', () => {
  it('is the middle one', () => {
    expect(median([])).toBeNull();
    expect(median([3, 1, 2])).toBe(2);
  });
});
