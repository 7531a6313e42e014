// Listens to the sound that is captured and tells its level (level.ts says what that means).

import { Level, peakDb } from './level';

/** How often the level is taken. */
const EVERY_MS = 60;
/** How many samples each look has: those since the last one, and some more. */
const WINDOW = 4_096;

/** A meter for one stream. It ends with `stop`. */
export class Meter {
  #context: AudioContext | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  #level = new Level(performance.now());

  /** `changed` gets the level in dB below full scale. A stream without sound has no level. */
  constructor(media: MediaStream, changed: (db: number) => void) {
    const track = media.getAudioTracks()[0];
    if (!track) return;
    const context = new AudioContext();
    this.#context = context;
    const analyser = context.createAnalyser();
    analyser.fftSize = WINDOW;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(WINDOW);
    this.#timer = setInterval(() => {
      // Browsers may hold it back until somebody has touched the page.
      if (context.state === 'suspended') void context.resume();
      analyser.getFloatTimeDomainData(samples);
      this.#level.note(performance.now(), peakDb(samples));
      changed(this.#level.db);
    }, EVERY_MS);
  }

  /** For how long there has been no sound, in milliseconds. */
  get silentMs(): number {
    return this.#level.silentFor(performance.now());
  }

  /** Listens no more. */
  stop(): void {
    clearInterval(this.#timer);
    void this.#context?.close();
    this.#context = null;
  }
}
