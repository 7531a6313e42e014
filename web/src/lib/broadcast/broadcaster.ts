// Drives the broadcaster's core (core.ts) with real sessions and the clock, and gathers what the page
// shows. No markup in here: the page gets snapshots.

import { BroadcastCore, type BroadcastEvent, type BroadcastView } from './core';
import type { LayerPlan } from './layers';
import { Sender, type Job } from './sender';
import { RATE_WINDOW_MS, sentFigures, type Sent } from './sent';

/** What the page shows. */
export interface Snapshot {
  view: BroadcastView;
  sent: Sent | null;
}

/** How often the core looks at the time. */
const TICK_MS = 250;
/** Statistics are taken each so many ticks. */
const SAMPLE_TICKS = 4;

/** The broadcaster. */
export class Broadcaster {
  #core = new BroadcastCore();
  #job: Job | null = null;
  #sender: Sender | null = null;
  #iceServers: RTCIceServer[] = [];
  #timer: ReturnType<typeof setInterval> | null = null;
  #ticks = 0;

  constructor(private readonly changed: (snapshot: Snapshot) => void) {}

  /** The session of now, if there is one. */
  get sender(): Sender | null {
    return this.#sender;
  }

  /** What the page shows at this moment. */
  snapshot(): Snapshot {
    const rids = this.#job?.plans.flatMap(({ rid }) => rid ?? []) ?? [];
    return {
      view: this.#core.view(),
      sent: this.#sender && sentFigures(this.#sender.samples, rids),
    };
  }

  /** Goes on air and stays there until `stop`. */
  start(job: Job): void {
    this.#job = job;
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
    this.#feed({ type: 'start' });
  }

  /** Ends it, here and at the root. */
  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#feed({ type: 'stop' });
    this.#job = null;
  }

  /** Tries now. */
  retry(): void {
    this.#feed({ type: 'retry' });
  }

  /** Sends something else from now on. */
  async replace(media: MediaStream, plans: readonly LayerPlan[]): Promise<void> {
    if (!this.#job) return;
    this.#job = { ...this.#job, media, plans };
    await this.#sender?.replace(media, plans);
  }

  #feed(event: BroadcastEvent): void {
    for (const action of this.#core.handle(performance.now(), event, Math.random())) {
      if (action.type === 'open') this.#open(action.id);
      else this.#close(action.id);
    }
    this.changed(this.snapshot());
  }

  #open(id: number): void {
    if (!this.#job) return;
    const sender = new Sender(id, this.#job, this.#iceServers, {
      link: (state) => this.#feed({ type: 'link', id, state }),
      failed: (failure) => this.#feed({ type: 'failed', id, failure }),
      answered: (iceServers) => (this.#iceServers = iceServers),
    });
    this.#sender = sender;
    void sender.start();
  }

  #close(id: number): void {
    if (this.#sender?.id !== id) return;
    this.#sender.close();
    this.#sender = null;
  }

  #tick(): void {
    this.#ticks += 1;
    if (this.#sender && this.#ticks % SAMPLE_TICKS === 0) void this.#sample(this.#sender);
    this.#feed({ type: 'tick' });
  }

  async #sample(sender: Sender): Promise<void> {
    const sample = await sender.sample();
    sender.samples.push(sample);
    while (sample.at - (sender.samples[0]?.at ?? sample.at) > RATE_WINDOW_MS) {
      sender.samples.shift();
    }
  }
}
