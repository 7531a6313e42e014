// `window.soleil` of the broadcaster page: a small, read-only view for tests and for curious people with
// a console. The token is not in it. Documented in web/README.md.

import type { Broadcaster } from './broadcaster';
import type { Sent } from './sent';

/** What `window.soleil` has on this page. */
export interface BroadcastHook {
  /** Raised when something is removed or changes its meaning. */
  readonly version: 1;
  /** The broadcaster's phase (see core.ts). */
  readonly phase: string;
  readonly peerConnection: RTCPeerConnection | null;
  /** The session's URL at the root, or null. */
  readonly location: string | null;
  readonly sent: Sent | null;
}

/** Puts the hook on the window. */
export function exposeBroadcastHook(broadcaster: Broadcaster): void {
  const hook: BroadcastHook = {
    version: 1,
    get phase() {
      return broadcaster.snapshot().view.phase;
    },
    get peerConnection() {
      return broadcaster.sender?.peer ?? null;
    },
    get location() {
      return broadcaster.sender?.location ?? null;
    },
    get sent() {
      return broadcaster.snapshot().sent;
    },
  };
  Object.defineProperty(window, 'soleil', { value: hook });
}
