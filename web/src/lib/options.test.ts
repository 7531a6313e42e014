import { expect, it } from 'vitest';

import { parseOptions } from './options';

it('reads flags, and has defaults', () => {
  expect(parseOptions('')).toEqual({ embed: false, controls: true, muted: true, stats: false });
  expect(parseOptions('?embed&controls=0&muted=false&stats=1')).toEqual({
    embed: true,
    controls: false,
    muted: false,
    stats: true,
  });
});
