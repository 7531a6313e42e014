// Which key does what on the watch page. Pure: the page tells what was pressed and where.
//
// Letters work only while the player has the focus or the pointer (WCAG 2.1.4): who speaks to a
// computer, or types for something else on a page, must not switch things by accident.

/** What a key asks for. */
export type KeyAction = 'mute' | 'fullscreen' | 'stats' | 'close-stats' | 'pause';

/** A key press, as a `KeyboardEvent` has it. */
export interface KeyPress {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
  readonly repeat: boolean;
}

/** Where it was pressed. */
export interface KeyPlace {
  /** The player has the focus or the pointer, or is all there is. */
  player: boolean;
  /** What has the focus: something to write or slide in, something to press, or nothing such. */
  focus: 'field' | 'button' | null;
  statsOpen: boolean;
}

const LETTERS = new Map<string, KeyAction>([
  ['m', 'mute'],
  ['f', 'fullscreen'],
  ['s', 'stats'],
]);

/** What to do, or null. */
export function keyAction(press: KeyPress, place: KeyPlace): KeyAction | null {
  if (press.ctrlKey || press.metaKey || press.altKey || press.repeat) return null;
  if (press.key === 'Escape') return place.statsOpen ? 'close-stats' : null;
  if (place.focus === 'field') return null;
  // A focused button or link takes the space for itself.
  if (press.key === ' ') return place.focus === null ? 'pause' : null;
  return place.player ? (LETTERS.get(press.key) ?? null) : null;
}

/** What kind of thing has the focus. */
export function focusKind(target: EventTarget | null): KeyPlace['focus'] {
  if (!(target instanceof Element)) return null;
  if (target.closest('input, textarea, select')) return 'field';
  return target.closest('button, a') ? 'button' : null;
}
