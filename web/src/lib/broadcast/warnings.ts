// What a broadcaster should be warned of. Pure: what is known goes in with the time, and what has stood
// for long enough comes out, so that nothing flickers.

import type { Sent } from './sent';

/** What is known at a moment. */
export interface Facts {
  /** The connection to the root stands. */
  onAir: boolean;
  /** The root says that packets come in; null: it was not asked yet. */
  live: boolean | null;
  sent: Sent | null;
  /** How many layers were asked for. */
  layersWanted: number;
  /** The stream has sound, and so has what is captured. */
  hasSound: boolean;
  soundMuted: boolean;
  pictureHidden: boolean;
  /** For how long there has been no sound, in milliseconds. */
  silentMs: number;
}

/** A warning. */
export interface Warning {
  id: WarningId;
  text: string;
}

/** Which one. */
export type WarningId = 'silent' | 'cpu' | 'bandwidth' | 'frozen' | 'layers' | 'loss' | 'unheard';

/** No sound for so long is worth a word. */
export const SILENT_MS = 8_000;
/** How long something must stand before it is told. Encoders begin low and need seconds to rise. */
const HOLD_MS: Record<WarningId, number> = {
  silent: 0,
  cpu: 6_000,
  bandwidth: 15_000,
  frozen: 5_000,
  layers: 20_000,
  loss: 5_000,
  unheard: 8_000,
};
/** Of packets missed by the root before repair; below this repairs go unnoticed. */
const MUCH_LOSS = 0.05;

const TEXT: Record<WarningId, string> = {
  silent: 'No sound comes in. Is the right microphone chosen, and is it switched on?',
  cpu: 'This computer cannot keep up, so the picture gets smaller or rarer. A lower resolution helps, and so does closing other programs.',
  bandwidth:
    'The connection cannot carry the whole picture, so it gets coarser or smaller. A lower resolution or a cable helps.',
  frozen: 'No new pictures go out. Does the source still give any?',
  layers:
    'Not every quality goes out. Viewers on slow connections may get a picture that is too large for them.',
  loss: 'Much is lost on the way to the server. It is sent again, but the picture may stall.',
  unheard:
    'The connection stands, but the server gets no pictures or sound. A firewall may be in the way.',
};

/** Remembers since when each thing has been so. */
export class Warnings {
  #since = new Map<WarningId, number>();

  /** What to warn of now. */
  look(now: number, facts: Facts): Warning[] {
    const { onAir, sent } = facts;
    const flowing = sent?.layers.filter((layer) => layer.flows) ?? [];
    const limited = (limit: string) => onAir && flowing.some((layer) => layer.limit === limit);
    const picture = onAir && sent !== null && sent.layers.length > 0;
    const holds: Record<WarningId, boolean> = {
      silent: facts.hasSound && !facts.soundMuted && facts.silentMs >= SILENT_MS,
      cpu: limited('cpu'),
      bandwidth: limited('bandwidth'),
      frozen: picture && flowing.length === 0 && !facts.pictureHidden,
      layers: picture && flowing.length > 0 && flowing.length < facts.layersWanted,
      loss: onAir && (sent?.loss ?? 0) > MUCH_LOSS,
      unheard: onAir && facts.live === false,
    };
    const ids = Object.keys(holds) as WarningId[];
    for (const id of ids) {
      if (!holds[id]) this.#since.delete(id);
      else if (!this.#since.has(id)) this.#since.set(id, now);
    }
    return ids
      .filter((id) => now - (this.#since.get(id) ?? Infinity) >= HOLD_MS[id])
      .map((id) => ({ id, text: TEXT[id] }));
  }
}
