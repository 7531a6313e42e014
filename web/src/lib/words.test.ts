import { describe, expect, it } from 'vitest';

import type { Phase, PlayerView } from './core';
import type { FailureKind } from './whep';
import { DELAY_WORDS, isStill, spoken, wordsFor } from './words';

const view = (phase: Phase, change: Partial<PlayerView> = {}): PlayerView => ({
  phase,
  attempt: 0,
  retryAt: null,
  failure: null,
  everPlayed: false,
  ...change,
});
const failed = (kind: FailureKind) => ({ kind, detail: '', retryAfter: null });

describe('words', () => {
  it('tell a broadcast that stopped from one that has not begun', () => {
    const before = wordsFor(view('waiting'), 'demo', false);
    expect(spoken(before)).toMatch(/^Not on air yet\. .*start here by itself/);
    const after = wordsFor(view('waiting', { everPlayed: true }), 'demo', false);
    expect([isStill(view('waiting')), isStill(view('waiting', { everPlayed: true }))]).toEqual([
      false,
      true,
    ]);
    expect(isStill(view('busy', { everPlayed: true }))).toBe(false);
    expect(spoken(after)).toMatch(/^The broadcast has stopped\. .*goes on here by itself/);
    expect(spoken(after)).not.toMatch(/yet/);
  });

  it('blame the server only for what it did', () => {
    const say = (kind: FailureKind | null, attempt = 2, offline = false) =>
      spoken(
        wordsFor(
          view('reconnecting', {
            attempt,
            everPlayed: true,
            failure: kind === null ? null : failed(kind),
          }),
          'demo',
          offline,
        ),
      );
    expect(say('network')).toMatch(/^Reconnecting… The server does not answer\./);
    expect(say('trouble')).toMatch(/The server has trouble\./);
    expect(say('trouble')).not.toMatch(/not answer/);
    // Lost, or found out at this moment: nobody knows whether the server answers.
    expect(say(null)).not.toMatch(/server/);
    expect(say('network', 1)).toBe('Reconnecting…');
    expect(say('network', 2, true)).toMatch(/offline/);
  });

  it('say nothing of other viewers where perhaps there is no leaf', () => {
    const busy = spoken(wordsFor(view('busy', { failure: failed('busy') }), 'demo', false));
    expect(busy).toMatch(/^Nobody can be let in at the moment\./);
    expect(busy).not.toMatch(/full|viewer/i);
  });

  it('pass on why a server refuses', () => {
    const failure = { ...failed('incompatible'), detail: 'No codec in common.' };
    expect(wordsFor(view('refused', { failure }), 'demo', false).text).toBe('No codec in common.');
    expect(wordsFor(view('refused', { failure: failed('forbidden') }), 'demo', false).title).toBe(
      'Not for everyone',
    );
  });

  it('do not promise a delay from the camera where the broadcaster may not tell the time', () => {
    expect(DELAY_WORDS.capture).toMatch(/if the broadcaster tells it, else since the server/);
    expect(DELAY_WORDS.estimate).toMatch(/last hop/);
  });
});
