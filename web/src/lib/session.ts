// One attempt at playing: a peer connection, the offer, the answer, and the end. It decides nothing:
// it tells the player what became of it.

import { soundWait } from './buffer';
import type { LinkState } from './core';
import { preferStereo } from './sdp';
import { readSample, type Sample } from './stats';
import { deleteSession, postOffer, REQUEST_TIMEOUT_MS, WhepError, type Failure } from './whep';

const ABS_CAPTURE_TIME = 'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time';

/** What the player wants to hear. */
export interface SessionEvents {
  link(state: LinkState): void;
  failed(failure: Failure): void;
  /** The answer is in and the stream has its tracks; a later session may need the servers. */
  answered(iceServers: RTCIceServer[]): void;
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
export class Session {
  readonly peer: RTCPeerConnection;
  /** The tracks as they arrive. Made here: an answer need not name a stream for them. */
  readonly stream = new MediaStream();
  /** Samples of the last seconds, oldest first; the player keeps them here. */
  readonly samples: Sample[] = [];
  #location: string | null = null;
  #abort = new AbortController();
  #closed = false;

  constructor(
    readonly id: number,
    private readonly url: string,
    iceServers: RTCIceServer[],
    /** How long the picture waits in the jitter buffer, in milliseconds (see buffer.ts). */
    private bufferMs: number,
    private readonly events: SessionEvents,
  ) {
    this.peer = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.peer.ontrack = ({ track }) => this.stream.addTrack(track);
    this.peer.onconnectionstatechange = () => {
      if (this.#closed) return;
      const state = this.peer.connectionState;
      if (state === 'connected') events.link('connected');
      else if (state === 'disconnected') events.link('interrupted');
      else if (state === 'failed' || state === 'closed') events.link('broken');
    };
  }

  /** The session's URL at the leaf, once it is answered. */
  get location(): string | null {
    return this.#location;
  }

  /** Offers and takes the answer in; failures go to `events.failed`. */
  async start(): Promise<void> {
    try {
      const sdp = await this.#offer();
      const signal = AbortSignal.any
        ? AbortSignal.any([this.#abort.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)])
        : this.#abort.signal;
      const answer = await postOffer(this.url, sdp, signal);
      this.#location = answer.location;
      if (this.#closed) {
        this.#delete();
        return;
      }
      await this.peer.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
      this.#awaitGoodbye();
      if (!this.#closed) this.events.answered(answer.iceServers);
    } catch (error) {
      if (this.#closed) return;
      this.events.failed(
        error instanceof WhepError
          ? error.failure
          : { kind: 'incompatible', detail: String(error), retryAfter: null },
      );
    }
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

  /**
   * A server that leaves closes DTLS (close_notify). The connection's state does not tell: closed
   * transports count as connected there (W3C WebRTC, 4.3.3). `failed` it does tell.
   */
  #awaitGoodbye(): void {
    // One transport carries everything (max-bundle).
    const transport = this.peer.getReceivers()[0]?.transport;
    if (!transport) return;
    const look = () => {
      if (!this.#closed && transport.state === 'closed') this.events.link('ended');
    };
    transport.addEventListener('statechange', look);
    look();
  }

  /** Lets the picture wait so long in the jitter buffer from now on. */
  setBuffer(ms: number): void {
    if (ms === this.bufferMs) return;
    this.bufferMs = ms;
    if (!this.#closed) this.#tune();
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

  /** Ends it here and at the leaf. May be called more than once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#abort.abort();
    this.peer.close();
    this.#delete();
  }

  #delete(): void {
    if (this.#location !== null) deleteSession(this.#location);
    this.#location = null;
  }
}
