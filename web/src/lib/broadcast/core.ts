// The broadcaster's decisions as a pure state machine: when to connect, when a connection counts as
// lost, when to try again and when that would be pointless. No clock, no randomness, no browser
// objects: time and random numbers are arguments, `handle` returns what to do. broadcaster.ts
// drives it.
//
// One attempt exists at a time: the root lets one source send a stream, so the old session has to go
// before a new one is asked for.

import { backoffDelay, RECONNECT, spread } from '../backoff';
import type { LinkState } from '../core';
import type { Failure } from './whip';

/** What the page says. */
export type Phase =
  | 'idle' // not broadcasting
  | 'connecting' // asked for, not there yet
  | 'on-air' // connected: what is captured goes out
  | 'reconnecting' // was on air, the connection is lost
  | 'refused'; // trying again by itself would be pointless

/** What happens. */
export type BroadcastEvent =
  | { type: 'start' }
  | { type: 'stop' }
  | { type: 'retry' }
  | { type: 'tick' }
  | { type: 'link'; id: number; state: LinkState }
  | { type: 'failed'; id: number; failure: Failure };

/** What to do. */
export type BroadcastAction = { type: 'open'; id: number } | { type: 'close'; id: number };

/** What is to be told. */
export interface BroadcastView {
  phase: Phase;
  /** Attempts that failed since the last one that held. */
  attempt: number;
  /** When the next attempt begins, or null. */
  retryAt: number | null;
  /** Why the last attempt failed, or null. */
  failure: Failure | null;
  /** When this broadcast first came on air, or null. A lost connection does not end it. */
  onAirSince: number | null;
}

/** An attempt that is not connected after so long has failed. */
export const CONNECT_TIMEOUT_MS = 15_000;
/** ICE that hears nothing for so long is lost. Browsers take some five seconds to say so. */
export const INTERRUPTED_MS = 3_000;
/** After this long without trouble the back-off starts from the beginning again. */
export const STABLE_MS = 10_000;
/**
 * For so long "somebody broadcasts this stream" may mean ourselves: the root lets a session go that
 * brings no media for ten seconds. After that it is somebody else, and nobody is pushed off the air.
 */
export const TAKEN_PATIENCE_MS = 30_000;

interface Link {
  id: number;
  openedAt: number;
  connectedAt: number | null;
  interruptedAt: number | null;
}

/** The state machine. */
export class BroadcastCore {
  #running = false;
  #lastId = 0;
  #link: Link | null = null;
  #onAirSince: number | null = null;
  #takenSince: number | null = null;
  #attempt = 0;
  #retryAt: number | null = null;
  #failure: Failure | null = null;
  #actions: BroadcastAction[] = [];

  /** Takes an event in; `random` is from [0, 1). Returns what to do, in order. */
  handle(now: number, event: BroadcastEvent, random: number): BroadcastAction[] {
    this.#actions = [];
    switch (event.type) {
      case 'start':
        if (!this.#running) this.#start(now);
        break;
      case 'stop':
        this.#stop(null);
        break;
      case 'retry':
        // A wait is cut short; an attempt that hangs or is interrupted is given up.
        if (this.#running && this.#link === null) this.#open(now);
        else if (this.#link?.interruptedAt != null) this.#lost(now, 0);
        break;
      case 'tick':
        if (this.#running) this.#tick(now, random);
        break;
      case 'link':
        if (event.id === this.#link?.id) this.#heard(now, this.#link, event.state, random);
        break;
      case 'failed':
        if (event.id === this.#link?.id) this.#failed(now, event.failure, random);
        break;
    }
    return this.#actions;
  }

  /** What to tell people. */
  view(): BroadcastView {
    return {
      phase: this.#phase(),
      attempt: this.#attempt,
      retryAt: this.#retryAt,
      failure: this.#failure,
      onAirSince: this.#onAirSince,
    };
  }

  #phase(): Phase {
    if (!this.#running) return this.#failure === null ? 'idle' : 'refused';
    if (this.#link?.connectedAt != null) return 'on-air';
    return this.#onAirSince === null ? 'connecting' : 'reconnecting';
  }

  #start(now: number): void {
    this.#running = true;
    this.#attempt = 0;
    this.#failure = null;
    this.#takenSince = null;
    this.#onAirSince = null;
    this.#open(now);
  }

  #stop(failure: Failure | null): void {
    this.#close();
    this.#running = false;
    this.#retryAt = null;
    this.#failure = failure;
    if (failure === null) this.#onAirSince = null;
  }

  #open(now: number): void {
    this.#close();
    this.#retryAt = null;
    this.#lastId += 1;
    this.#link = { id: this.#lastId, openedAt: now, connectedAt: null, interruptedAt: null };
    this.#actions.push({ type: 'open', id: this.#lastId });
  }

  #close(): void {
    if (this.#link) this.#actions.push({ type: 'close', id: this.#link.id });
    this.#link = null;
  }

  #tick(now: number, random: number): void {
    const link = this.#link;
    if (link === null) {
      if (this.#retryAt !== null && now >= this.#retryAt) this.#open(now);
      return;
    }
    const silent = link.interruptedAt !== null && now - link.interruptedAt >= INTERRUPTED_MS;
    const late = link.connectedAt === null && now - link.openedAt >= CONNECT_TIMEOUT_MS;
    if (silent || late) this.#lost(now, random);
    else if (link.connectedAt !== null && now - link.connectedAt >= STABLE_MS) this.#attempt = 0;
  }

  #heard(now: number, link: Link, state: LinkState, random: number): void {
    if (state === 'connected') {
      link.connectedAt ??= now;
      link.interruptedAt = null;
      this.#onAirSince ??= now;
      this.#takenSince = null;
      this.#failure = null;
    } else if (state === 'interrupted') {
      link.interruptedAt ??= now;
    } else {
      this.#lost(now, random);
    }
  }

  #lost(now: number, random: number): void {
    this.#close();
    this.#failure = null;
    this.#plan(now, backoffDelay(RECONNECT, this.#attempt, random));
  }

  #plan(now: number, wait: number): void {
    this.#retryAt = now + wait;
    this.#attempt += 1;
  }

  #failed(now: number, failure: Failure, random: number): void {
    if (failure.kind === 'taken') this.#takenSince ??= now;
    else this.#takenSince = null;
    if (!this.#mayPass(now, failure)) {
      this.#stop(failure);
      return;
    }
    this.#close();
    this.#failure = failure;
    const named = failure.retryAfter === null ? null : spread(failure.retryAfter, random);
    this.#plan(now, named ?? backoffDelay(RECONNECT, this.#attempt, random));
  }

  /** Whether the same question may get another answer later. */
  #mayPass(now: number, failure: Failure): boolean {
    switch (failure.kind) {
      case 'network':
      case 'trouble':
      case 'busy':
        return true;
      case 'taken':
        return (
          this.#onAirSince !== null &&
          this.#takenSince !== null &&
          now - this.#takenSince < TAKEN_PATIENCE_MS
        );
      default:
        return false;
    }
  }
}
