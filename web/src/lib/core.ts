// The player's decisions as a pure state machine: when to connect, when a picture counts as lost,
// when to try again, what to tell people. No clock, no randomness, no browser objects: time and
// random numbers are arguments, `handle` returns what to do. player.ts drives it.
//
// Two links at most exist at a time: `current`, whose picture is shown (or frozen), and `next`, a
// fresh attempt beside it. So a stalled picture stays until a better one is there, and where the
// old link comes back first (a source that paused), the attempt is dropped instead.

import { backoffDelay, RECONNECT, SENT_AWAY, spread, UNKNOWN_STREAM } from './backoff';
import type { Failure } from './whep';

/** What the page says. */
export type Phase =
  | 'connecting' // the first attempts, nothing seen yet
  | 'playing'
  | 'waiting' // the stream is not on air; it will start by itself
  | 'busy' // no leaf has room; trying again
  | 'unknown' // no such stream
  | 'refused' // trying again by itself would be pointless
  | 'reconnecting' // something was lost or does not answer
  | 'stopped'; // by the viewer, or the page went away

/** State of ICE and DTLS together, as far as it matters here. */
export type LinkState =
  | 'connected'
  | 'interrupted' // ICE hears nothing; that may pass
  | 'broken' // for good
  | 'ended'; // the server said goodbye: it is well, and sends its viewers elsewhere

export type PlayerEvent =
  | { type: 'start' }
  | { type: 'stop' }
  | { type: 'retry' } // a person or a returning network asks for it: now
  | { type: 'tick' }
  | { type: 'failed'; id: number; failure: Failure }
  | { type: 'link'; id: number; state: LinkState }
  // `count` rises while media arrives: decoded frames where somebody can see them, else packets.
  | { type: 'progress'; id: number; count: number };

export type PlayerAction =
  { type: 'open'; id: number } | { type: 'show'; id: number } | { type: 'close'; id: number };

/** What views need to know. */
export interface PlayerView {
  phase: Phase;
  /** Failed attempts since it last played. */
  attempt: number;
  /** When the next attempt starts (same clock as `now`), or null. */
  retryAt: number | null;
  /** Why the last attempt failed, or null. */
  failure: Failure | null;
  /** Whether a picture was ever shown. */
  everPlayed: boolean;
}

/** An offer that is answered and connected takes well under a second; this is for bad networks. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** ICE may call itself disconnected for a moment (a lost consent check); longer than this is real. */
export const INTERRUPTED_MS = 2_500;
/** No new picture for this long while connected is a stall. */
export const STALL_MS = 3_000;
/** An attempt younger than this is not replaced when somebody asks for a new one. */
export const PATIENCE_MS = 1_000;
/** After this long without trouble the back-off starts from the beginning again. */
export const STABLE_MS = 10_000;

interface Link {
  id: number;
  openedAt: number;
  connectedAt: number | null;
  interruptedAt: number | null;
  /** The count last seen and when it last rose. */
  count: number;
  progressAt: number | null;
  /** Broken for good, or given up on. */
  dead: boolean;
}

/** The state machine. */
export class PlayerCore {
  #running = false;
  #lastId = 0;
  #current: Link | null = null;
  #next: Link | null = null;
  /** When the current picture was lost; null while it plays. */
  #troubleSince: number | null = null;
  #playingSince: number | null = null;
  #everPlayed = false;
  #attempt = 0;
  #retryAt: number | null = null;
  #failure: Failure | null = null;
  #actions: PlayerAction[] = [];

  /** Takes an event in; `random` is from [0, 1). Returns what to do, in order. */
  handle(now: number, event: PlayerEvent, random: number): PlayerAction[] {
    this.#actions = [];
    switch (event.type) {
      case 'start':
        if (!this.#running) {
          this.#running = true;
          this.#attempt = 0;
          this.#failure = null;
          this.#open(now);
        }
        break;
      case 'stop':
        this.#stop();
        break;
      case 'retry':
        if (this.#running) this.#retry(now, random);
        break;
      case 'tick':
        if (this.#running) this.#tick(now, random);
        break;
      case 'failed':
        this.#failed(now, event.id, event.failure, random);
        break;
      case 'link':
        this.#link(now, event.id, event.state, random);
        break;
      case 'progress':
        this.#progress(now, event.id, event.count);
        break;
    }
    return this.#actions;
  }

  /** What to tell people. */
  view(): PlayerView {
    return {
      phase: this.#phase(),
      attempt: this.#attempt,
      retryAt: this.#retryAt,
      failure: this.#failure,
      everPlayed: this.#everPlayed,
    };
  }

  #phase(): Phase {
    if (!this.#running) return 'stopped';
    if (this.#plays()) return 'playing';
    switch (this.#failure?.kind) {
      case 'off-air':
        return 'waiting';
      case 'busy':
        return 'busy';
      case 'unknown':
        return 'unknown';
      case 'forbidden':
      case 'incompatible':
        return 'refused';
      default:
        return this.#attempt > 0 ? 'reconnecting' : 'connecting';
    }
  }

  #plays(): boolean {
    return this.#current?.progressAt != null && this.#troubleSince === null;
  }

  /** Whether an attempt is under way that may still succeed. */
  #attempting(): boolean {
    if (this.#next !== null) return true;
    return this.#current !== null && this.#troubleSince === null;
  }

  #find(id: number): Link | null {
    if (this.#current?.id === id) return this.#current;
    return this.#next?.id === id ? this.#next : null;
  }

  #open(now: number): void {
    this.#retryAt = null;
    this.#lastId += 1;
    const link: Link = {
      id: this.#lastId,
      openedAt: now,
      connectedAt: null,
      interruptedAt: null,
      count: 0,
      progressAt: null,
      dead: false,
    };
    this.#dropNext();
    this.#actions.push({ type: 'open', id: link.id });
    if (this.#current === null) {
      this.#current = link;
      // Nothing is shown that could be lost, and waiting would only cost time.
      this.#actions.push({ type: 'show', id: link.id });
    } else {
      this.#next = link;
    }
  }

  #retry(now: number, random: number): void {
    // The network is back: what was interrupted or still hangs belongs to the old one.
    const old = (link: Link) =>
      link.connectedAt === null
        ? now - link.openedAt >= PATIENCE_MS
        : link.interruptedAt !== null && this.#troubleSince === null;
    for (const link of [this.#next, this.#current]) {
      if (link && !link.dead && old(link)) this.#lost(now, link, random);
    }
    if (!this.#plays() && !this.#attempting()) this.#open(now);
  }

  #close(link: Link): void {
    this.#actions.push({ type: 'close', id: link.id });
  }

  #dropNext(): void {
    if (this.#next) this.#close(this.#next);
    this.#next = null;
  }

  #dropCurrent(): void {
    if (this.#current) this.#close(this.#current);
    this.#current = null;
    this.#troubleSince = null;
    this.#playingSince = null;
  }

  #stop(): void {
    this.#dropNext();
    this.#dropCurrent();
    this.#running = false;
    this.#retryAt = null;
    this.#failure = null;
  }

  #tick(now: number, random: number): void {
    for (const link of [this.#next, this.#current]) {
      if (!link || link.dead || (link === this.#current && this.#troubleSince !== null)) continue;
      if (this.#isLost(link, now)) this.#lost(now, link, random);
    }
    if (this.#playingSince !== null && now - this.#playingSince >= STABLE_MS) this.#attempt = 0;
    if (this.#retryAt !== null && now >= this.#retryAt) this.#open(now);
  }

  #isLost(link: Link, now: number): boolean {
    if (link.connectedAt === null) return now - link.openedAt >= CONNECT_TIMEOUT_MS;
    const sign = link.progressAt ?? link.connectedAt;
    if (link.interruptedAt !== null) {
      // Media that still arrives says more than a missed consent check.
      return now - Math.max(link.interruptedAt, sign) >= INTERRUPTED_MS;
    }
    return now - sign >= STALL_MS;
  }

  /** A link is of no use now: keep its last picture if there is one, and plan an attempt. */
  #lost(now: number, link: Link, random: number, shape = RECONNECT): void {
    this.#failure = null;
    if (link === this.#next) {
      this.#dropNext();
    } else if (link.progressAt === null) {
      this.#dropCurrent();
    } else if (this.#troubleSince === null) {
      this.#troubleSince = now;
      this.#playingSince = null;
    }
    if (this.#next === null) this.#plan(now, backoffDelay(shape, this.#attempt, random));
  }

  #plan(now: number, wait: number): void {
    if (this.#retryAt !== null) return;
    this.#retryAt = now + wait;
    this.#attempt += 1;
  }

  #failed(now: number, id: number, failure: Failure, random: number): void {
    const link = this.#find(id);
    if (!link) return;
    if (link === this.#next) this.#dropNext();
    else this.#dropCurrent();
    this.#failure = failure;
    const named = failure.retryAfter === null ? null : spread(failure.retryAfter, random);
    switch (failure.kind) {
      case 'forbidden':
      case 'incompatible':
        // The same offer would get the same answer. What may still play is dropped with it.
        this.#dropCurrent();
        this.#retryAt = null;
        this.#attempt += 1;
        break;
      case 'unknown':
        this.#dropCurrent();
        this.#plan(now, named ?? backoffDelay(UNKNOWN_STREAM, this.#attempt, random));
        break;
      default:
        this.#plan(now, named ?? backoffDelay(RECONNECT, this.#attempt, random));
    }
  }

  #link(now: number, id: number, state: LinkState, random: number): void {
    const link = this.#find(id);
    if (!link || link.dead) return;
    if (state === 'connected') {
      link.connectedAt ??= now;
      link.interruptedAt = null;
    } else if (state === 'interrupted') {
      link.interruptedAt ??= now;
    } else {
      link.dead = true;
      // Where the picture was lost before, an attempt is under way or planned, and what was found
      // out since (for example that the stream is off air) stays true.
      if (link === this.#current && this.#troubleSince !== null) return;
      this.#lost(now, link, random, state === 'ended' ? SENT_AWAY : RECONNECT);
    }
  }

  #progress(now: number, id: number, count: number): void {
    const link = this.#find(id);
    if (!link || link.dead || count === link.count) return;
    // A count that fell is another kind of count (packets instead of frames): only a new start.
    const rose = count > link.count;
    link.count = count;
    if (!rose) return;
    link.connectedAt ??= now;
    link.progressAt = now;
    if (link === this.#next) {
      this.#actions.push({ type: 'show', id });
      this.#dropCurrent();
      this.#current = link;
      this.#next = null;
    } else if (this.#playingSince === null) {
      this.#dropNext();
    }
    this.#troubleSince = null;
    this.#retryAt = null;
    this.#failure = null;
    this.#everPlayed = true;
    this.#playingSince ??= now;
  }
}
