import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { Idle } from './idle';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('is idle after the time, and not while it is woken or stopped', () => {
  const told: boolean[] = [];
  const idle = new Idle(3_000, (now) => told.push(now));
  vi.advanceTimersByTime(10_000);
  expect(told).toEqual([]);
  idle.wake();
  vi.advanceTimersByTime(2_000);
  idle.wake();
  vi.advanceTimersByTime(2_999);
  expect(told).toEqual([false, false]);
  vi.advanceTimersByTime(1);
  expect(told).toEqual([false, false, true]);
  idle.wake();
  idle.stop();
  vi.advanceTimersByTime(10_000);
  expect(told).toEqual([false, false, true, false]);
});
