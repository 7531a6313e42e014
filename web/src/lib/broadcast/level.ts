// How loud it is, and whether there is any sound at all. Pure: samples and times are arguments.

/** The quiet end of the meter, in dB below full scale. */
export const FLOOR_DB = -60;
/** Below this a microphone counts as silent: even a quiet room's is louder. */
export const SILENT_DB = -65;
/** From here on it is about to distort. */
export const HOT_DB = -3;
/** How fast the shown level falls, in dB a second. */
const FALL_DB = 40;

/** The peak of samples from -1 to 1, in dB below full scale. */
export function peakDb(samples: Float32Array): number {
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  return peak === 0 ? -Infinity : 20 * Math.log10(peak);
}

/** Where a level stands on the meter, from 0 to 1. */
export const onMeter = (db: number) => Math.min(1, Math.max(0, 1 - db / FLOOR_DB));

/** Follows the level over time. */
export class Level {
  #db = -Infinity;
  #at: number | null = null;
  #heardAt: number;

  constructor(now: number) {
    this.#heardAt = now;
  }

  /** A reading in dB. */
  note(now: number, db: number): void {
    const passed = this.#at === null ? 0 : Math.max(0, now - this.#at);
    const fallen = this.#db - (FALL_DB * passed) / 1_000;
    this.#db = Math.max(db, fallen < FLOOR_DB ? -Infinity : fallen);
    this.#at = now;
    if (db > SILENT_DB) this.#heardAt = now;
  }

  /** What to show, in dB: up at once, down slowly. */
  get db(): number {
    return this.#db;
  }

  /** For how long there has been no sound, in milliseconds. */
  silentFor(now: number): number {
    return Math.max(0, now - this.#heardAt);
  }
}

/** `−12 dB`, `silent`. */
export const levelWords = (db: number) =>
  db < FLOOR_DB ? 'silent' : `${Math.round(db) < 0 ? '−' : ''}${Math.abs(Math.round(db))} dB`;
