// One attempt at playing: what is offered, and how the picture waits. It decides nothing: it tells the
// player what became of it.

import { Attempt, type AttemptEvents } from './attempt';
import { soundWait } from './buffer';
import { preferStereo } from './sdp';
import { readSample, type Sample } from './stats';
import { deleteSession, postOffer, WhepError, type Failure } from './whep';

const ABS_CAPTURE_TIME = 'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time';

/** What the player wants to hear. */
export interface SessionEvents extends AttemptEvents {
  failed(failure: Failure): void;
}

interface HeaderExtension {
  uri: string;
  direction: string;
}

// Newer than TypeScript's library.
interface ExtensibleTransceiver {
  getHeaderExtensionsToNegotiate?(): HeaderExtension[];
  setHeaderExtensionsToNegotiate?(extensions: HeaderExtension[]): void;
}

interface TunableReceiver {
  jitterBufferTarget?: number | null;
  playoutDelayHint?: number | null;
}

/** Asks for the capture time in each packet, so that the page can tell the true delay. */
function askForCaptureTime(transceiver: RTCRtpTransceiver): void {
  const extensible = transceiver as unknown as ExtensibleTransceiver;
  try {
    const all = extensible.getHeaderExtensionsToNegotiate?.();
    if (!all) return;
    extensible.setHeaderExtensionsToNegotiate?.(
      all.map((e) => (e.uri === ABS_CAPTURE_TIME ? { ...e, direction: 'sendrecv' } : e)),
    );
  } catch {
    // The delay is then reckoned another way.
  }
}

/** Tells the browser how long to wait in a jitter buffer; null: its own choice. */
function tune(receiver: RTCRtpReceiver, ms: number | null): void {
  const tunable = receiver as unknown as TunableReceiver;
  try {
    if ('jitterBufferTarget' in receiver) tunable.jitterBufferTarget = ms;
    else if ('playoutDelayHint' in receiver) {
      tunable.playoutDelayHint = ms === null ? null : ms / 1_000;
    }
  } catch {
    // The browser's own choice, then.
  }
}

/** A WHEP session seen from the browser. */
export class Session extends Attempt {
  /** The tracks as they arrive. Made here: an answer need not name a stream for them. */
  readonly stream = new MediaStream();
  /** Samples of the last seconds, oldest first; the player keeps them here. */
  readonly samples: Sample[] = [];

  constructor(
    readonly id: number,
    private readonly url: string,
    iceServers: RTCIceServer[],
    /** How long the picture waits in the jitter buffer, in milliseconds (see buffer.ts). */
    private bufferMs: number,
    private readonly events: SessionEvents,
  ) {
    super(iceServers, events);
    this.peer.ontrack = ({ track }) => this.stream.addTrack(track);
  }

  /** Offers and takes the answer in; failures go to `events.failed`. */
  async start(): Promise<void> {
    try {
      const sdp = await this.#offer();
      await this.exchange(
        (signal) => postOffer(this.url, sdp, signal),
        () => this.peer.getReceivers()[0]?.transport,
      );
    } catch (error) {
      if (this.closed) return;
      this.events.failed(
        error instanceof WhepError
          ? error.failure
          : { kind: 'incompatible', detail: String(error), retryAfter: null },
      );
    }
  }

  protected leave(location: string): void {
    deleteSession(location);
  }

  async #offer(): Promise<string> {
    for (const kind of ['video', 'audio'] as const) {
      const transceiver = this.peer.addTransceiver(kind, { direction: 'recvonly' });
      askForCaptureTime(transceiver);
    }
    this.#tune();
    const offer = await this.peer.createOffer();
    const sdp = preferStereo(offer.sdp ?? '');
    try {
      await this.peer.setLocalDescription({ type: 'offer', sdp });
      // Candidates are not waited for: the leaf is ICE-lite on a public address and learns ours
      // from the first check (RFC 8445, 7.3.1.3).
      return sdp;
    } catch {
      // A browser that takes no change to its own words: stereo is not worth failing for.
      await this.peer.setLocalDescription(offer);
      return offer.sdp ?? '';
    }
  }

  /** Lets the picture wait so long in the jitter buffer from now on. */
  setBuffer(ms: number): void {
    if (ms === this.bufferMs) return;
    this.bufferMs = ms;
    if (!this.closed) this.#tune();
  }

  #tune(): void {
    for (const receiver of this.peer.getReceivers()) {
      const ms = this.bufferMs;
      tune(receiver, receiver.track.kind === 'video' ? ms : soundWait(ms));
    }
  }

  /** Takes a sample of the statistics. */
  async sample(): Promise<Sample> {
    const report = await this.peer.getStats();
    return readSample(report as unknown as Iterable<[string, unknown]>, performance.now());
  }
}
