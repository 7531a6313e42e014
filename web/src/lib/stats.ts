// From WebRTC's raw statistics to the few figures that people look at. Pure: reports and times come
// in as arguments. Rates are taken between samples; loss over a longer window, since over one second
// it only flickers.

/** Cumulative figures of one moment. Fields are null where the browser does not tell. */
export interface Sample {
  /** Milliseconds. */
  at: number;
  video: TrackSample | null;
  audio: TrackSample | null;
  rttMs: number | null;
  srtpCipher: string | null;
  /** Local candidate's transport: udp or tcp, and its type. */
  path: string | null;
  /** Sender's clock at its last Sender Report and our clock when that arrived (ms since 1970). */
  report: { remote: number; local: number } | null;
}

/** One inbound track. */
export interface TrackSample {
  codec: string | null;
  bytes: number;
  /** All packets, those that were sent again included. */
  received: number;
  /** Packets that never came, not even when they were sent again. */
  lost: number;
  /** Packets that did not come at first; where there is no RTX, those that never came. */
  missed: number;
  jitterMs: number | null;
  /** Decoded video frames; for audio the samples that were played. */
  frames: number;
  dropped: number;
  freezes: number;
  frozenMs: number;
  width: number;
  height: number;
  fps: number | null;
  /** Sum over `emitted` of the time from arrival to decoded, in seconds. */
  processing: number;
  emitted: number;
  nacks: number;
  plis: number;
  concealed: number;
}

/** Figures for people. */
export interface Figures {
  width: number;
  height: number;
  fps: number | null;
  bitrate: number | null;
  /** Lost packets in percent over the window, after repair. */
  lossPercent: number | null;
  jitterMs: number | null;
  rttMs: number | null;
  /** Average time from a packet's arrival to the decoded frame or sample. */
  bufferMs: number | null;
  videoCodec: string | null;
  audioCodec: string | null;
  framesDropped: number;
  freezes: number;
  frozenMs: number;
  lost: number;
  nacks: number;
  srtpCipher: string | null;
  path: string | null;
}

type Entry = Record<string, unknown>;

const num = (entry: Entry, key: string): number | null =>
  typeof entry[key] === 'number' && Number.isFinite(entry[key]) ? entry[key] : null;
const str = (entry: Entry, key: string): string | null =>
  typeof entry[key] === 'string' ? entry[key] : null;
const ms = (seconds: number | null) => (seconds === null ? null : seconds * 1_000);

// `packetsLost` is what RFC 3550 (6.4.1) reckons from the track's own sequence numbers. What RTX
// brings comes under an SSRC of its own (RFC 4588) and is not taken off there: libwebrtc, which all
// browsers use, leaves recovered packets out of those receive statistics and counts them as
// `retransmittedPacketsReceived`. So what nothing repaired is the difference. Without RTX that entry
// is missing, and what was sent again counts as received anyhow.
function track(entry: Entry, byId: Map<string, Entry>): TrackSample {
  const codec = byId.get(str(entry, 'codecId') ?? '');
  const of = (key: string) => num(entry, key) ?? 0;
  return {
    codec: codec ? (str(codec, 'mimeType')?.split('/')[1] ?? null) : null,
    bytes: of('bytesReceived') + of('headerBytesReceived'),
    received: of('packetsReceived'),
    lost: of('packetsLost') - of('retransmittedPacketsReceived'),
    missed: of('packetsLost'),
    jitterMs: ms(num(entry, 'jitter')),
    frames: of('framesDecoded') || of('totalSamplesReceived'),
    dropped: of('framesDropped'),
    freezes: of('freezeCount'),
    frozenMs: of('totalFreezesDuration') * 1_000,
    width: of('frameWidth'),
    height: of('frameHeight'),
    fps: num(entry, 'framesPerSecond'),
    processing: of('totalProcessingDelay') || of('jitterBufferDelay'),
    emitted: of('framesDecoded') || of('jitterBufferEmittedCount'),
    nacks: of('nackCount'),
    plis: of('pliCount'),
    concealed: of('concealedSamples'),
  };
}

/** Reads a report of `RTCPeerConnection.getStats()`. */
export function readSample(report: Iterable<[string, unknown]>, at: number): Sample {
  const byId = new Map<string, Entry>();
  for (const [id, entry] of report) {
    if (typeof entry === 'object' && entry !== null) byId.set(id, entry as Entry);
  }
  const sample: Sample = {
    at,
    video: null,
    audio: null,
    rttMs: null,
    srtpCipher: null,
    path: null,
    report: null,
  };
  let selected: string | null = null;
  for (const entry of byId.values()) {
    const kind = str(entry, 'kind');
    if (entry.type === 'inbound-rtp' && kind === 'video') sample.video ??= track(entry, byId);
    else if (entry.type === 'inbound-rtp' && kind === 'audio') sample.audio ??= track(entry, byId);
    else if (entry.type === 'transport') {
      sample.srtpCipher = str(entry, 'srtpCipher');
      selected = str(entry, 'selectedCandidatePairId') ?? selected;
    } else if (entry.type === 'remote-outbound-rtp') {
      const remote = num(entry, 'remoteTimestamp');
      const local = num(entry, 'timestamp');
      if (remote !== null && local !== null && local > (sample.report?.local ?? 0)) {
        sample.report = { remote, local };
      }
    }
  }
  // Firefox has no transport entry, but marks the pair itself.
  const pair =
    byId.get(selected ?? '') ??
    [...byId.values()].find((e) => e.type === 'candidate-pair' && (e.selected ?? e.nominated));
  if (pair) {
    sample.rttMs = ms(num(pair, 'currentRoundTripTime'));
    const local = byId.get(str(pair, 'localCandidateId') ?? '');
    const remote = byId.get(str(pair, 'remoteCandidateId') ?? '');
    const relay = local && str(local, 'candidateType') === 'relay' ? ', relayed' : '';
    const protocol = (local && str(local, 'protocol')) ?? (remote && str(remote, 'protocol'));
    sample.path = protocol ? `${protocol.toUpperCase()}${relay}` : null;
  }
  return sample;
}

/** How far back loss is looked at. */
export const LOSS_WINDOW_MS = 10_000;
/** How far back rates are taken. */
export const RATE_WINDOW_MS = 2_000;

const rise = (now: number | undefined, then: number | undefined) => (now ?? 0) - (then ?? 0);

/** Figures from samples in order of time; the last is the present. Null without two samples. */
export function figures(samples: readonly Sample[]): Figures | null {
  const last = samples.at(-1);
  const back = (window: number) =>
    samples.find((s) => last !== undefined && s !== last && last.at - s.at <= window);
  const recent = back(RATE_WINDOW_MS) ?? samples.at(-2);
  const earlier = back(LOSS_WINDOW_MS) ?? recent;
  if (!last || !recent || !earlier || last.at <= recent.at) return null;

  const total = (key: 'bytes' | 'received', from: Sample) =>
    rise(last.video?.[key], from.video?.[key]) + rise(last.audio?.[key], from.audio?.[key]);
  // Never below zero, track by track: a repair may come after its window's loss, or twice.
  const lost =
    Math.max(0, rise(last.video?.lost, earlier.video?.lost)) +
    Math.max(0, rise(last.audio?.lost, earlier.audio?.lost));
  const received = total('received', earlier);
  const main = last.video ?? last.audio;
  const before = last.video ? recent.video : recent.audio;
  const emitted = rise(main?.emitted, before?.emitted);
  return {
    width: last.video?.width ?? 0,
    height: last.video?.height ?? 0,
    fps:
      last.video?.fps ??
      (last.video
        ? Math.round(
            (rise(last.video.frames, recent.video?.frames) * 1_000) / (last.at - recent.at),
          )
        : null),
    bitrate: Math.max(0, (total('bytes', recent) * 8_000) / (last.at - recent.at)),
    lossPercent: received + lost > 0 ? (lost * 100) / (received + lost) : null,
    jitterMs: main?.jitterMs ?? null,
    rttMs: last.rttMs,
    bufferMs: emitted > 0 ? (rise(main?.processing, before?.processing) * 1_000) / emitted : null,
    videoCodec: last.video?.codec ?? null,
    audioCodec: last.audio?.codec ?? null,
    framesDropped: last.video?.dropped ?? 0,
    freezes: last.video?.freezes ?? 0,
    frozenMs: last.video?.frozenMs ?? 0,
    lost: Math.max(0, last.video?.lost ?? 0) + Math.max(0, last.audio?.lost ?? 0),
    nacks: (last.video?.nacks ?? 0) + (last.audio?.nacks ?? 0),
    srtpCipher: last.srtpCipher,
    path: last.path,
  };
}
