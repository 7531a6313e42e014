// What the root's API says of streams and of their viewers, read leniently: the page should outlive
// additions and omissions.

import { STREAMS_MAX } from '../streams';

/** A stream that may be broadcast. */
export interface Target {
  name: string;
  live: boolean;
  /** `running`, `stopped` or `failed`. */
  state: string;
  viewers: number | null;
  /** The codec and the number of layers of its picture; null if it has none. */
  picture: { codec: string; layers: number } | null;
  sound: boolean;
}

/** How viewers fare. Null is what nobody has reported. */
export interface Health {
  live: boolean;
  viewers: number;
  /** For how many viewers the loss speaks. */
  reporting: number;
  /** From 0 to 1. */
  loss: number | null;
  worstLoss: number | null;
  rttMs: number | null;
  jitterMs: number | null;
  bitrate: number | null;
}

/** In one word. */
export type Grade = 'nobody' | 'unknown' | 'good' | 'uneven' | 'fair' | 'poor';

const entryOf = (value: unknown) =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
const number = (value: unknown) =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null;

/** Reads the body of `GET /api/v1/streams`, in order of names. */
export function parseTargets(body: unknown): Target[] {
  const list = Array.isArray(body) ? body : entryOf(body)?.streams;
  if (!Array.isArray(list)) return [];
  const targets: Target[] = [];
  for (const value of list.slice(0, STREAMS_MAX) as unknown[]) {
    const entry = entryOf(value);
    if (!entry || typeof entry.name !== 'string' || entry.name === '') continue;
    const tracks = (Array.isArray(entry.tracks) ? entry.tracks : []).map(entryOf);
    const picture = tracks.find((track) => track?.kind === 'video');
    const codec = picture?.codec;
    targets.push({
      name: entry.name,
      live: entry.live === true,
      state: typeof entry.state === 'string' ? entry.state : 'running',
      viewers: number(entry.viewers),
      picture:
        typeof codec === 'string'
          ? { codec, layers: Array.isArray(picture?.layers) ? picture.layers.length : 1 }
          : null,
      sound: tracks.some((track) => track?.kind === 'audio'),
    });
  }
  return targets.sort((a, b) => a.name.localeCompare(b.name));
}

/** Reads the body of `GET /api/v1/streams/NAME/health`, or null. */
export function parseHealth(body: unknown): Health | null {
  const entry = entryOf(body);
  const viewers = number(entry?.viewers);
  if (entry === null || viewers === null) return null;
  return {
    live: entry.live === true,
    viewers,
    reporting: number(entry.reporting) ?? 0,
    loss: number(entry.loss),
    worstLoss: number(entry.worst_loss),
    rttMs: number(entry.rtt_ms),
    jitterMs: number(entry.jitter_ms),
    bitrate: number(entry.bitrate),
  };
}

/** Losses up to here are repaired in time nearly always; a picture is whole. */
const GOOD_LOSS = 0.02;
/** Up to here repairs keep up, at the price of some delay. */
const FAIR_LOSS = 0.08;

/** How viewers fare, in one word. */
export function grade(health: Health): Grade {
  if (health.viewers === 0) return 'nobody';
  if (health.loss === null) return 'unknown';
  if (health.loss > FAIR_LOSS) return 'poor';
  if (health.loss > GOOD_LOSS) return 'fair';
  return (health.worstLoss ?? 0) > FAIR_LOSS ? 'uneven' : 'good';
}
