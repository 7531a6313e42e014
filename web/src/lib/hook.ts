// `window.soleil`: a small, read-only view of the player for tests and for curious people with a
// console. Documented in web/README.md; change it only together with the tests that use it.

import type { Delay } from './delay';
import type { Player } from './player';
import type { Figures } from './stats';

/** What `window.soleil` has. */
export interface SoleilHook {
  /** Raised when something is removed or changes its meaning. */
  readonly version: 1;
  /** The player's phase (see core.ts). */
  readonly phase: string;
  /** The connection whose picture is shown, or null. */
  readonly peerConnection: RTCPeerConnection | null;
  /** The session's URL at the leaf, or null. */
  readonly location: string | null;
  readonly figures: Figures | null;
  readonly delay: Delay | null;
  readonly video: HTMLVideoElement;
}

declare global {
  interface Window {
    soleil?: SoleilHook;
  }
}

/** Puts the hook on the window. */
export function exposeHook(player: Player, video: HTMLVideoElement): void {
  window.soleil = {
    version: 1,
    get phase() {
      return player.snapshot().view.phase;
    },
    get peerConnection() {
      return player.session?.peer ?? null;
    },
    get location() {
      return player.session?.location ?? null;
    },
    get figures() {
      return player.snapshot().figures;
    },
    get delay() {
      return player.snapshot().delay;
    },
    video,
  };
}
