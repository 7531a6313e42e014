// One attempt at a session of WHEP or WHIP: a peer connection, the answer to an offer, and the end. What
// is offered, and what a failure means, is up to who attempts (session.ts, broadcast/sender.ts).

import type { LinkState } from './core';

/** The answer to an offer. */
export interface Answer {
  sdp: string;
  /** The session's absolute URL, for DELETE; null if the server named none. */
  location: string | null;
  /** STUN and TURN servers from the Link headers (RFC 9725, 4.6). */
  iceServers: RTCIceServer[];
}

/** What whoever attempts wants to hear. */
export interface AttemptEvents {
  link(state: LinkState): void;
  /** The answer is in; a later attempt may need the servers. */
  answered(iceServers: RTCIceServer[]): void;
}

/** How long a request may take before it counts as failed: far above any healthy round trip. */
export const REQUEST_TIMEOUT_MS = 10_000;

/** A session seen from the browser. */
export abstract class Attempt {
  readonly peer: RTCPeerConnection;
  readonly #events: AttemptEvents;
  #location: string | null = null;
  #abort = new AbortController();
  #closed = false;

  constructor(iceServers: RTCIceServer[], events: AttemptEvents) {
    this.#events = events;
    this.peer = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.peer.onconnectionstatechange = () => {
      if (this.#closed) return;
      const state = this.peer.connectionState;
      if (state === 'connected') events.link('connected');
      else if (state === 'disconnected') events.link('interrupted');
      else if (state === 'failed' || state === 'closed') events.link('broken');
    };
  }

  /** The session's URL at the server, once it is answered. */
  get location(): string | null {
    return this.#location;
  }

  /** Whether it has been ended here. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Ends the session at the server. */
  protected abstract leave(location: string): void;

  /** Has the offer sent, and takes the answer in. `transport` is the one that carries everything. */
  protected async exchange(
    ask: (signal: AbortSignal) => Promise<Answer>,
    transport: () => RTCDtlsTransport | null | undefined,
  ): Promise<void> {
    const signal = AbortSignal.any
      ? AbortSignal.any([this.#abort.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)])
      : this.#abort.signal;
    const answer = await ask(signal);
    this.#location = answer.location;
    if (this.#closed) {
      this.#end();
      return;
    }
    await this.peer.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
    this.#awaitGoodbye(transport());
    if (!this.#closed) this.#events.answered(answer.iceServers);
  }

  /**
   * A server that leaves closes DTLS (close_notify). The connection's state does not tell: closed
   * transports count as connected there (W3C WebRTC, 4.3.3). `failed` it does tell.
   */
  #awaitGoodbye(transport: RTCDtlsTransport | null | undefined): void {
    if (!transport) return;
    const look = () => {
      if (!this.#closed && transport.state === 'closed') this.#events.link('ended');
    };
    transport.addEventListener('statechange', look);
    look();
  }

  /** Ends it here and at the server. May be called more than once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#abort.abort();
    this.peer.close();
    this.#end();
  }

  #end(): void {
    if (this.#location !== null) this.leave(this.#location);
    this.#location = null;
  }
}
