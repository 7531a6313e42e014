import { describe, expect, it } from 'vitest';

import { backoffDelay, parseRetryAfter, RECONNECT, spread, UNKNOWN_STREAM } from './backoff';

describe('backoffDelay', () => {
  it('doubles its longest wait up to the cap', () => {
    const longest = [0, 1, 2, 3, 4, 50].map((n) => backoffDelay(RECONNECT, n, 1));
    expect(longest).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  });

  it('draws from a quarter to the whole', () => {
    expect(backoffDelay(RECONNECT, 0, 0)).toBe(250);
    expect(backoffDelay(RECONNECT, 0, 0.5)).toBe(625);
    for (let n = 0; n < 20; n += 1) {
      const wait = backoffDelay(UNKNOWN_STREAM, n, n / 20);
      expect(wait).toBeGreaterThanOrEqual(2_500);
      expect(wait).toBeLessThanOrEqual(60_000);
    }
  });

  it('takes a negative try for the first', () => {
    expect(backoffDelay(RECONNECT, -3, 1)).toBe(1_000);
  });
});

describe('parseRetryAfter', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');

  it('reads seconds and dates', () => {
    expect(parseRetryAfter('2', now)).toBe(2_000);
    expect(parseRetryAfter('Thu, 01 Jan 2026 00:00:10 GMT', now)).toBe(10_000);
  });

  it('keeps the wait within bounds', () => {
    expect(parseRetryAfter('0', now)).toBe(500);
    expect(parseRetryAfter('999999', now)).toBe(120_000);
    expect(parseRetryAfter('Thu, 01 Jan 1970 00:00:10 GMT', now)).toBe(500);
  });

  it('ignores what it cannot read', () => {
    expect(parseRetryAfter(null, now)).toBeNull();
    expect(parseRetryAfter('soon', now)).toBeNull();
    expect(parseRetryAfter('-1', now)).not.toBe(-1_000);
  });
});

describe('spread', () => {
  it('adds a quarter at most', () => {
    expect(spread(2_000, 0)).toBe(2_000);
    expect(spread(2_000, 1)).toBe(2_500);
  });
});
