// How long the picture waits in the browser's jitter buffer before it is shown. Pure: samples of the
// statistics come in, the time to aim for comes out.
//
// On a clean link the wait is short. On one that loses packets it must be long enough for what is
// sent again, or the browser decodes repaired frames too late to show them: of a link with 5% loss
// and a round trip of 60 ms one frame in five went unseen with a wait of 50 ms. A repair takes the time
// until the loss shows (the next packet, a frame later at worst), and a round trip for each try. With
// a part `p` of all packets lost, a try fails if the request or the repair is lost, so with
// q = 1 - (1 - p)². A frame of n packets is late after k tries with a probability of about n·p·q^k,
// and a late frame takes those along that came in time behind it and now have its moment of the
// display. The buffer has room for as many tries as it takes to keep what is lost that way below
// MAX_UNSEEN.

import { LOSS_WINDOW_MS, type Sample } from './stats';

/**
 * The wait on a clean link, in milliseconds. The browser's own choice starts lower and grows after
 * each late packet, which shows as jerks; a little room from the start costs less than it gives. The
 * buffer still grows beyond the aim where the network demands it.
 */
export const LOW_MS = 50;

/** Never more: who watches live would rather miss a frame than see everything half a second later. */
export const HIGH_MS = 450;

/** Part of the frames that late repairs may cost. */
const MAX_UNSEEN = 0.005;

/**
 * The browser asks again after so long at least: libwebrtc takes a round trip that it does not know
 * (it would need reports that a viewer has not) for 100 ms.
 */
const ASK_AGAIN_MS = 100;
/** And looks at what to ask for so often. */
const ASK_EVERY_MS = 20;

/** Decoding, and what the browser keeps for the display. */
const MARGIN_MS = 20;

/** So much longer is the sound's way behind its buffer than the picture's. */
const SOUND_AHEAD_MS = 55;

/** With more tries than this the link is beyond repair. */
const MAX_TRIES = 4;

/** Fewer packets say nothing of the loss. */
const MIN_PACKETS = 100;

/** Loss counts from this on: below, a frame in a thousand is late, if any. */
const MIN_LOSS = 0.0005;

/** After the last sign of loss the aim stays for so long, then it comes down by so much a second. */
const HOLD_MS = 10_000;
const DOWN_MS_PER_S = 10;

/** How far back loss, packets and frames are counted: over less, one in twenty looks like one in ten. */
const WINDOW_MS = LOSS_WINDOW_MS;

/** What the aim is reckoned from. */
export interface Link {
  /** Part of the packets that was lost before repair, 0 to 1. */
  loss: number;
  /** Packets a frame. */
  packets: number;
  /** From frame to frame. */
  frameMs: number;
  rttMs: number;
  jitterMs: number;
}

/** How many tries a repair should have time for; 0 if nothing is lost. */
export function tries(link: Link): number {
  const { loss, packets } = link;
  if (loss < MIN_LOSS) return 0;
  const failing = 1 - (1 - loss) ** 2;
  const again = Math.max(link.rttMs, ASK_AGAIN_MS) + ASK_EVERY_MS;
  let late = Math.min(1, packets * loss);
  for (let k = 1; k < MAX_TRIES; k += 1) {
    late *= failing;
    if (late * (1 + again / link.frameMs) <= MAX_UNSEEN) return k;
  }
  return MAX_TRIES;
}

/**
 * How long the sound should wait where the picture waits so long; null: as long as the browser likes.
 * On a clean link its own choice adapts without being heard. Otherwise the browser would take half a
 * minute to let it follow the picture. On its way to the loudspeaker it has longer to go than the
 * picture to the display.
 */
export function soundWait(ms: number): number | null {
  return ms > LOW_MS ? Math.max(0, ms - SOUND_AHEAD_MS) : null;
}

/** The wait that this link asks for, in milliseconds. */
export function wait(link: Link): number {
  const k = tries(link);
  if (k === 0) return LOW_MS;
  const again = Math.max(link.rttMs, ASK_AGAIN_MS) + ASK_EVERY_MS;
  const ms = link.frameMs + (k - 1) * again + link.rttMs + link.jitterMs + MARGIN_MS;
  return Math.min(HIGH_MS, Math.max(LOW_MS, ms));
}

/** What samples say of the link; null without a picture or with too little of it. */
export function linkOf(samples: readonly Sample[]): Link | null {
  const last = samples.at(-1);
  const first = samples.find((s) => last !== undefined && last.at - s.at <= WINDOW_MS && s.video);
  if (!last?.video || !first?.video || first === last) return null;
  const rise = (key: 'missed' | 'received' | 'frames') =>
    (last.video?.[key] ?? 0) - (first.video?.[key] ?? 0);
  const [missed, received, frames] = [
    Math.max(0, rise('missed')),
    rise('received'),
    rise('frames'),
  ];
  if (received + missed < MIN_PACKETS || frames <= 0) return null;
  return {
    loss: Math.min(1, missed / (received + missed)),
    packets: received / frames,
    frameMs: (last.at - first.at) / frames,
    rttMs: last.rttMs ?? ASK_AGAIN_MS,
    jitterMs: last.video.jitterMs ?? 0,
  };
}

/** The aim over time: up at once, down slowly. It outlives a session: the link stays the same. */
export class BufferAim {
  #ms = LOW_MS;
  #at: number | null = null;
  #lossAt = -Infinity;

  /** The wait to aim for, in milliseconds. */
  get ms(): number {
    return Math.round(this.#ms);
  }

  /** Takes a session's samples in, in order of time; the last is the present. */
  note(samples: readonly Sample[]): void {
    const now = samples.at(-1)?.at;
    if (now === undefined) return;
    const passed = this.#at === null ? 0 : Math.max(0, now - this.#at);
    this.#at = now;
    const link = linkOf(samples);
    const wanted = link ? wait(link) : LOW_MS;
    if (wanted >= this.#ms) {
      this.#ms = wanted;
      this.#lossAt = now;
    } else if (now - this.#lossAt >= HOLD_MS) {
      this.#ms = Math.max(wanted, this.#ms - (passed * DOWN_MS_PER_S) / 1_000);
    }
  }
}
