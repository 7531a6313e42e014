// How long to wait before trying again. Pure: randomness comes in as an argument.
//
// A leaf that dies drops all its viewers in the same moment, so what matters as much as the growth
// is the spread: a wait is drawn from a wide range, not from around one value.

/** The shape of a back-off, in milliseconds. */
export interface Backoff {
  /** The longest wait of the first try. */
  base: number;
  /** What the longest wait is multiplied by from try to try. */
  factor: number;
  /** The longest wait of all. */
  cap: number;
}

/** For a broken or refused connection: a second at most at first (a viewer is looking). */
export const RECONNECT: Backoff = { base: 1_000, factor: 2, cap: 15_000 };

/**
 * After a server's goodbye. Other servers stand ready, so only the crowd matters: a server that
 * leaves says goodbye to hundreds of viewers in one moment. Who is sent away again and again waits
 * longer each time.
 */
export const SENT_AWAY: Backoff = { base: 300, factor: 4, cap: 15_000 };

/** For a stream that the root does not know: it may be created, but nobody should ask often. */
export const UNKNOWN_STREAM: Backoff = { base: 10_000, factor: 1.5, cap: 60_000 };

/** The shortest wait, as a part of the longest one of the same try. */
const SPREAD_FROM = 0.25;

/** Milliseconds to wait before try number `attempt` (from 0); `random` is from [0, 1). */
export function backoffDelay(shape: Backoff, attempt: number, random: number): number {
  const longest = Math.min(shape.cap, shape.base * shape.factor ** Math.max(0, attempt));
  return Math.round(longest * (SPREAD_FROM + (1 - SPREAD_FROM) * random));
}

/** Bounds for what a server's Retry-After may ask for, in milliseconds. */
const RETRY_AFTER_MIN = 500;
const RETRY_AFTER_MAX = 120_000;

/** Reads a Retry-After header (RFC 9110, 10.2.3: seconds or a date) into milliseconds, or null. */
export function parseRetryAfter(value: string | null, nowMs: number): number | null {
  if (value === null) return null;
  const text = value.trim();
  const wait = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - nowMs;
  if (!Number.isFinite(wait)) return null;
  return Math.min(RETRY_AFTER_MAX, Math.max(RETRY_AFTER_MIN, wait));
}

/** Adds up to a quarter to a wait that the server named, so that not everybody is back at once. */
export function spread(waitMs: number, random: number): number {
  return Math.round(waitMs * (1 + 0.25 * random));
}
