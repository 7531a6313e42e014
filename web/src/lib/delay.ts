// How old the picture is: from its capture to its display here. Pure. The capture time is the
// broadcaster's where it sends Sender Reports; else it is when the packet came to the root.
//
// The honest way needs two things: the frame's capture time (absolute-capture-time header extension,
// which the leaf passes on from the root; or the browser's own reckoning from Sender Reports), and
// how far the sender's clock is from ours (its Sender Reports and the round trip). Where either is
// missing, the page shows an estimate of the last mile only, and says so.

/** Seconds between the epochs of NTP (1900) and Unix (1970), in milliseconds. */
export const NTP_TO_UNIX_MS = 2_208_988_800_000;

/** A delay for people, and where it comes from. */
export interface Delay {
  ms: number;
  /**
   * `capture`: from the capture times in the stream. `reports`: from Sender Reports, as the browser
   * reckons. `estimate`: only the way from the leaf: half a round trip and the buffer.
   */
  source: 'capture' | 'reports' | 'estimate';
}

/** What is known of a frame on display. */
export interface ShownFrame {
  /** When it is displayed, local wall clock, milliseconds since 1970. */
  shownAt: number;
  /** Its RTP timestamp (90 kHz), if known. */
  rtp: number | null;
  /** Its capture time in the local wall clock as the browser reckons, if known. */
  captureAt: number | null;
  /** The track's newest source entry with a capture time, if known. */
  mark: CaptureMark | null;
}

/** A capture time for an RTP timestamp (from `getSynchronizationSources`). */
export interface CaptureMark {
  rtp: number;
  /** Capturer's clock, milliseconds since 1900. */
  captureNtp: number;
  /** Capturer's clock minus the sender's clock in milliseconds, 0 if unknown. */
  senderOffset: number;
}

/** A figure outside this is a wrong clock, not a delay. */
const PLAUSIBLE_MS = 30_000;
const RTP_TICKS_PER_MS = 90;

const plausible = (ms: number) => Number.isFinite(ms) && ms >= 0 && ms <= PLAUSIBLE_MS;

/**
 * The frame's age by its capture time. `clock` is the sender's clock minus ours. Null if something
 * is missing or the clocks contradict it.
 */
export function frameDelay(frame: ShownFrame, clock: number | null): Delay | null {
  if (frame.mark !== null && frame.rtp !== null && clock !== null) {
    const ticks = (frame.rtp - frame.mark.rtp) | 0; // RTP timestamps wrap at 32 bits
    const captured = frame.mark.captureNtp - NTP_TO_UNIX_MS + ticks / RTP_TICKS_PER_MS;
    const ms = frame.shownAt + clock + frame.mark.senderOffset - captured;
    if (plausible(ms)) return { ms, source: 'capture' };
  }
  if (frame.captureAt !== null) {
    const ms = frame.shownAt - frame.captureAt;
    if (plausible(ms)) return { ms, source: 'reports' };
  }
  return null;
}

/** The last mile only: half the round trip and the time in buffer and decoder. */
export function estimateDelay(rttMs: number | null, bufferMs: number | null): Delay | null {
  if (bufferMs === null) return null;
  return { ms: bufferMs + (rttMs ?? 0) / 2, source: 'estimate' };
}

/** How many reports the sender's clock is reckoned from. */
const REPORTS_KEPT = 16;

/** Reckons the sender's clock from its Sender Reports. */
export class SenderClock {
  #offsets: number[] = [];
  #last = 0;

  /** Takes a report in: the sender's clock in it, our clock at its arrival, the round trip. */
  note(report: { remote: number; local: number } | null, rttMs: number | null): void {
    if (report === null || report.local === this.#last) return;
    this.#last = report.local;
    this.#offsets.push(report.remote - report.local + (rttMs ?? 0) / 2);
    if (this.#offsets.length > REPORTS_KEPT) this.#offsets.shift();
  }

  /** The sender's clock minus ours: by the report that waited least on its way. */
  offset(): number | null {
    return this.#offsets.length === 0 ? null : Math.max(...this.#offsets);
  }
}

/** The middle value, or null of none. */
export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? null;
}
