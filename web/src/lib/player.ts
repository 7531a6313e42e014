// Drives the player's core (core.ts) with real sessions, the clock, and a video element, and gathers
// what the page shows. No markup in here: the page gets snapshots.

import { BufferAim } from './buffer';
import { PlayerCore, type PlayerEvent, type PlayerView } from './core';
import {
  estimateDelay,
  frameDelay,
  median,
  SenderClock,
  type CaptureMark,
  type Delay,
} from './delay';
import { Session } from './session';
import { figures, LOSS_WINDOW_MS, type Figures, type Sample } from './stats';

/** What the page shows. */
export interface Snapshot {
  view: PlayerView;
  figures: Figures | null;
  delay: Delay | null;
  /** The browser refuses to play without a click. */
  needsClick: boolean;
  hasAudio: boolean;
}

/** How often the core looks at the time. */
const TICK_MS = 250;
/** Statistics are taken each so many ticks while all is well. */
const CALM_TICKS = 4;
/** A new session is looked at in each tick for so long: what its link is like shows at once. */
const YOUNG_MS = 5_000;
/** At most one delay is taken per this time, and the median of so many is shown. */
const DELAY_EVERY_MS = 200;
const DELAYS_KEPT = 15;

interface FrameMetadata {
  expectedDisplayTime: number;
  rtpTimestamp?: number;
  captureTime?: number;
}

interface SourceEntry {
  rtpTimestamp: number;
  captureTimestamp?: number;
  senderCaptureTimeOffset?: number;
}

/** The player. */
export class Player {
  #core = new PlayerCore();
  #sessions = new Map<number, Session>();
  #shown: Session | null = null;
  #shownAt = 0;
  #iceServers: RTCIceServer[] = [];
  #timer: ReturnType<typeof setInterval> | null = null;
  #ticks = 0;
  #clock = new SenderClock();
  #buffer = new BufferAim();
  #delays: Delay[] = [];
  #delayAt = 0;
  #needsClick = false;

  constructor(
    private readonly url: string,
    private readonly video: HTMLVideoElement,
    private readonly changed: (snapshot: Snapshot) => void,
  ) {
    this.#watchFrames();
  }

  /** The session whose picture is shown. */
  get session(): Session | null {
    return this.#shown;
  }

  /** What the page shows at this moment. */
  snapshot(): Snapshot {
    const now = this.#shown ? figures(this.#shown.samples) : null;
    const measured = this.#delays.filter((d) => d.source === this.#delays.at(-1)?.source);
    const ms = median(measured.map((d) => d.ms));
    const source = measured[0]?.source;
    return {
      view: this.#core.view(),
      figures: now,
      delay:
        ms !== null && source !== undefined
          ? { ms, source }
          : now && estimateDelay(now.rttMs, now.bufferMs),
      needsClick: this.#needsClick,
      hasAudio: this.#shown?.samples.at(-1)?.audio != null,
    };
  }

  /** Connects and stays connected until `stop`. */
  start(): void {
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
    this.#feed({ type: 'start' });
  }

  /** Ends all sessions, here and at the leaf. */
  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#feed({ type: 'stop' });
  }

  /** Tries now. */
  retry(): void {
    this.#feed({ type: 'retry' });
  }

  /** Starts the video element; a browser that wants a click first is noted. */
  async play(): Promise<void> {
    try {
      await this.video.play();
      this.#needsClick = false;
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== 'NotAllowedError') return;
      if (this.video.muted) this.#needsClick = true;
      else {
        // Sound without a gesture is refused, a silent picture is not.
        this.video.muted = true;
        await this.play();
      }
    }
    this.changed(this.snapshot());
  }

  #feed(event: PlayerEvent): void {
    for (const action of this.#core.handle(performance.now(), event, Math.random())) {
      if (action.type === 'open') this.#open(action.id);
      else if (action.type === 'show') this.#show(action.id);
      else this.#close(action.id);
    }
    this.changed(this.snapshot());
  }

  #open(id: number): void {
    const session = new Session(id, this.url, this.#iceServers, this.#buffer.ms, {
      link: (state) => this.#feed({ type: 'link', id, state }),
      failed: (failure) => this.#feed({ type: 'failed', id, failure }),
      answered: (iceServers) => {
        this.#iceServers = iceServers;
        if (this.#shown === session) this.#attach(session);
      },
    });
    this.#sessions.set(id, session);
    void session.start();
  }

  #show(id: number): void {
    const session = this.#sessions.get(id);
    if (!session) return;
    this.#shown = session;
    this.#shownAt = performance.now();
    this.#clock = new SenderClock();
    this.#delays = [];
    this.#attach(session);
  }

  #attach(session: Session): void {
    // A stream without tracks would keep the page "loading" for as long as it has none.
    if (session.stream.getTracks().length === 0) return;
    this.video.srcObject = session.stream;
    if (!this.video.paused || this.video.autoplay) void this.play();
  }

  #close(id: number): void {
    const session = this.#sessions.get(id);
    session?.close();
    this.#sessions.delete(id);
    if (this.#shown === session) {
      this.#shown = null;
      this.#delays = [];
    }
  }

  #tick(): void {
    this.#ticks += 1;
    const calm = this.#core.view().phase === 'playing' && this.#sessions.size === 1;
    const young = performance.now() - this.#shownAt < YOUNG_MS;
    if (!calm || young || this.#ticks % CALM_TICKS === 0) {
      for (const session of this.#sessions.values()) void this.#sample(session);
    }
    this.#feed({ type: 'tick' });
  }

  async #sample(session: Session): Promise<void> {
    const sample = await session.sample();
    if (!this.#sessions.has(session.id)) return;
    session.samples.push(sample);
    while (sample.at - (session.samples[0]?.at ?? sample.at) > LOSS_WINDOW_MS) {
      session.samples.shift();
    }
    if (session === this.#shown) {
      this.#clock.note(sample.report, sample.rttMs);
      this.#buffer.note(session.samples);
      session.setBuffer(this.#buffer.ms);
    }
    const count = this.#count(session, sample);
    this.#feed({ type: 'progress', id: session.id, count });
  }

  /** What rises while all is well (see `PlayerEvent`). */
  #count(session: Session, { video, audio }: Sample): number {
    // A page that nobody sees may decode nothing; then packets tell that all is well. Where there is
    // a picture to be seen, sound alone is not enough.
    if (document.visibilityState !== 'visible' || session.stream.getVideoTracks().length === 0) {
      return (video?.received ?? 0) + (audio?.received ?? 0);
    }
    // A frame is decoded some time before it is shown, and the first may miss the element.
    // (Without a click it may show none at all.)
    if (session === this.#shown && !this.#needsClick && this.video.videoWidth === 0) return 0;
    return video?.frames ?? 0;
  }

  /** Notes the first frame at once, and how old frames are. */
  #watchFrames(): void {
    const video = this.video;
    if (!('requestVideoFrameCallback' in video)) return;
    let first: Session | null = null;
    const step = (now: number, frame: FrameMetadata) => {
      const session = this.#shown;
      if (session && session !== first) {
        first = session;
        if (this.#core.view().phase !== 'playing') {
          this.#feed({ type: 'progress', id: session.id, count: 1 });
        }
      }
      if (session && now - this.#delayAt >= DELAY_EVERY_MS) {
        this.#delayAt = now;
        this.#noteDelay(session, frame);
      }
      video.requestVideoFrameCallback(step);
    };
    video.requestVideoFrameCallback(step);
  }

  #noteDelay(session: Session, frame: FrameMetadata): void {
    const wall = Date.now() - performance.now();
    const delay = frameDelay(
      {
        shownAt: wall + frame.expectedDisplayTime,
        rtp: frame.rtpTimestamp ?? null,
        captureAt: frame.captureTime === undefined ? null : wall + frame.captureTime,
        mark: captureMark(session.peer),
      },
      this.#clock.offset(),
    );
    if (delay === null) return;
    this.#delays.push(delay);
    if (this.#delays.length > DELAYS_KEPT) this.#delays.shift();
  }
}

function captureMark(peer: RTCPeerConnection): CaptureMark | null {
  const video = peer.getReceivers().find((receiver) => receiver.track.kind === 'video');
  const entry = video?.getSynchronizationSources()[0] as SourceEntry | undefined;
  if (entry?.captureTimestamp === undefined) return null;
  return {
    rtp: entry.rtpTimestamp,
    captureNtp: entry.captureTimestamp,
    senderOffset: entry.senderCaptureTimeOffset ?? 0,
  };
}
