import { describe, expect, it } from 'vitest';

import { keyAction, type KeyPlace, type KeyPress } from './keys';

const press = (key: string, change: Partial<KeyPress> = {}): KeyPress => ({
  key,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  repeat: false,
  ...change,
});
const at = (change: Partial<KeyPlace> = {}): KeyPlace => ({
  player: true,
  focus: null,
  statsOpen: false,
  ...change,
});

describe('keyAction', () => {
  it('knows its keys', () => {
    const keys = ['m', 'f', 's', ' ', 'x', 'constructor'].map((k) => keyAction(press(k), at()));
    expect(keys).toEqual(['mute', 'fullscreen', 'stats', 'pause', null, null]);
  });

  it('heeds letters only in the player, the space everywhere', () => {
    const away = at({ player: false });
    expect(['m', 'f', 's'].map((k) => keyAction(press(k), away))).toEqual([null, null, null]);
    expect(keyAction(press(' '), away)).toBe('pause');
  });

  it('leaves fields alone, and the space to a focused button', () => {
    expect(keyAction(press('m'), at({ focus: 'field' }))).toBeNull();
    expect(keyAction(press(' '), at({ focus: 'field' }))).toBeNull();
    expect(keyAction(press(' '), at({ focus: 'button' }))).toBeNull();
    expect(keyAction(press('m'), at({ focus: 'button' }))).toBe('mute');
  });

  it('closes the statistics with escape, from anywhere', () => {
    const open = at({ player: false, focus: 'field', statsOpen: true });
    expect(keyAction(press('Escape'), open)).toBe('close-stats');
    expect(keyAction(press('Escape'), at())).toBeNull();
  });

  it('leaves combinations and held keys alone', () => {
    for (const change of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }, { repeat: true }])
      expect(keyAction(press('m', change), at())).toBeNull();
  });
});
