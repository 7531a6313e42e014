// What is really sent, layer by layer, from WebRTC's raw statistics. Pure: reports and times come in as
// arguments; rates are taken between samples.

/** Why an encoder sends less than it might, as browsers say it (W3C webrtc-stats). */
export type Limit = 'none' | 'cpu' | 'bandwidth' | 'other';

/** Cumulative figures of one layer. */
export interface LayerSample {
  /** Null where there is only one encoding. */
  rid: string | null;
  codec: string | null;
  /** Without headers and resends. */
  bytes: number;
  /** What the encoder is told to make, in bit/s, where the browser tells. */
  target: number | null;
  frames: number;
  width: number;
  height: number;
  fps: number | null;
  active: boolean;
  limit: Limit;
}

/** Cumulative figures of one moment. Fields are null where the browser does not tell. */
export interface SentSample {
  /** Milliseconds. */
  at: number;
  layers: LayerSample[];
  /** Everything that went out, where the browser tells. */
  bytes: number | null;
  sound: { codec: string | null; bytes: number } | null;
  rttMs: number | null;
  /** Share of packets that the root missed lately, from 0 to 1, before repair. */
  loss: number | null;
  /** What the browser reckons that the link can carry, in bit/s. */
  available: number | null;
  /** UDP or TCP. */
  path: string | null;
}

/** A layer for people. */
export interface SentLayer {
  rid: string | null;
  width: number;
  height: number;
  fps: number | null;
  bitrate: number;
  /** Whether pictures of it went out since the sample before. */
  flows: boolean;
  limit: Limit;
}

/** Figures for people. */
export interface Sent {
  /** The best first. */
  layers: SentLayer[];
  codec: string | null;
  soundCodec: string | null;
  soundBitrate: number | null;
  /** All that goes out, with headers, resends and probes, in bit/s. */
  bitrate: number;
  rttMs: number | null;
  loss: number | null;
  available: number | null;
  path: string | null;
}

type Entry = Record<string, unknown>;

const num = (entry: Entry | undefined, key: string): number | null =>
  typeof entry?.[key] === 'number' && Number.isFinite(entry[key]) ? entry[key] : null;
const str = (entry: Entry | undefined, key: string): string | null =>
  typeof entry?.[key] === 'string' ? entry[key] : null;

const LIMITS: readonly string[] = ['none', 'cpu', 'bandwidth', 'other'];

/** Reads a report of `RTCPeerConnection.getStats()`. */
export function readSent(report: Iterable<[string, unknown]>, at: number): SentSample {
  const byId = new Map<string, Entry>();
  for (const [id, entry] of report) {
    if (typeof entry === 'object' && entry !== null) byId.set(id, entry as Entry);
  }
  const codec = (entry: Entry) =>
    str(byId.get(str(entry, 'codecId') ?? ''), 'mimeType')?.split('/')[1] ?? null;
  const bytes = (entry: Entry) =>
    (num(entry, 'bytesSent') ?? 0) - (num(entry, 'retransmittedBytesSent') ?? 0);
  const sample: SentSample = {
    at,
    layers: [],
    bytes: null,
    sound: null,
    rttMs: null,
    loss: null,
    available: null,
    path: null,
  };
  let selected: string | null = null;
  for (const entry of byId.values()) {
    const kind = str(entry, 'kind');
    if (entry.type === 'outbound-rtp' && kind === 'video') {
      const limit = str(entry, 'qualityLimitationReason') ?? 'none';
      sample.layers.push({
        rid: str(entry, 'rid'),
        codec: codec(entry),
        bytes: bytes(entry),
        target: num(entry, 'targetBitrate'),
        frames: num(entry, 'framesSent') ?? num(entry, 'framesEncoded') ?? 0,
        width: num(entry, 'frameWidth') ?? 0,
        height: num(entry, 'frameHeight') ?? 0,
        fps: num(entry, 'framesPerSecond'),
        active: entry.active !== false,
        limit: (LIMITS.includes(limit) ? limit : 'other') as Limit,
      });
    } else if (entry.type === 'outbound-rtp' && kind === 'audio') {
      sample.sound = { codec: codec(entry), bytes: bytes(entry) };
    } else if (entry.type === 'remote-inbound-rtp' && kind === 'video') {
      const lost = num(entry, 'fractionLost');
      if (lost !== null) sample.loss = Math.max(sample.loss ?? 0, lost);
    } else if (entry.type === 'transport') {
      selected = str(entry, 'selectedCandidatePairId') ?? selected;
      sample.bytes = num(entry, 'bytesSent') ?? sample.bytes;
    }
  }
  // Firefox has no transport entry, but marks the pair itself.
  const pair =
    byId.get(selected ?? '') ??
    [...byId.values()].find((e) => e.type === 'candidate-pair' && (e.selected ?? e.nominated));
  const rtt = num(pair, 'currentRoundTripTime');
  sample.rttMs = rtt === null ? null : rtt * 1_000;
  sample.available = num(pair, 'availableOutgoingBitrate');
  sample.path =
    str(byId.get(str(pair, 'localCandidateId') ?? ''), 'protocol')?.toUpperCase() ?? null;
  return sample;
}

/** How far back rates are taken. */
export const RATE_WINDOW_MS = 3_000;
/** An encoder may go over its target by so much, for a key frame. */
const OVER_TARGET = 1.5;

/** Figures from samples in order of time; the last is the present. Null without two samples. */
export function sentFigures(samples: readonly SentSample[], rids: readonly string[]): Sent | null {
  const last = samples.at(-1);
  if (!last) return null;
  const from = samples.find((s) => s !== last && last.at - s.at <= RATE_WINDOW_MS);
  const before = samples.at(-2);
  if (!from || !before || last.at <= from.at) return null;
  const rate = (now: number, then: number) =>
    Math.max(0, ((now - then) * 8_000) / (last.at - from.at));
  // Chromium fills up what the link has to spare with packets that it sends once more, and counts them
  // as the lowest layer's own. An encoder does not go so far over what it is told to make.
  const picture = (measured: number, target: number | null) =>
    target !== null && measured > OVER_TARGET * target ? target : measured;
  const find = (sample: SentSample, rid: string | null) =>
    sample.layers.find((layer) => layer.rid === rid);
  const place = (layer: SentLayer) => {
    const index = rids.indexOf(layer.rid ?? '');
    return index < 0 ? rids.length : index;
  };
  const layers = last.layers
    .map((layer): SentLayer => ({
      rid: layer.rid,
      width: layer.width,
      height: layer.height,
      fps: layer.fps,
      bitrate: picture(
        rate(layer.bytes, find(from, layer.rid)?.bytes ?? layer.bytes),
        layer.target,
      ),
      flows: layer.active && layer.frames > (find(from, layer.rid)?.frames ?? 0),
      limit: layer.limit,
    }))
    .sort((a, b) => place(a) - place(b));
  const soundBitrate = last.sound && rate(last.sound.bytes, from.sound?.bytes ?? last.sound.bytes);
  return {
    layers,
    codec: last.layers[0]?.codec ?? null,
    soundCodec: last.sound?.codec ?? null,
    soundBitrate,
    bitrate:
      last.bytes !== null && from.bytes !== null
        ? rate(last.bytes, from.bytes)
        : layers.reduce((sum, layer) => sum + layer.bitrate, soundBitrate ?? 0),
    rttMs: last.rttMs,
    loss: last.loss,
    available: last.available,
    path: last.path,
  };
}
