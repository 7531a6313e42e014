import { expect, it } from 'vitest';

import { formatBitrate, formatDelay, formatMs, formatPercent, formatViewers } from './format';

it('rounds to what can be read at a glance', () => {
  expect([0, 4, 183, 994, 999, 1_240].map(formatDelay)).toEqual([
    '0 ms',
    '0 ms',
    '180 ms',
    '990 ms',
    '1.0 s',
    '1.2 s',
  ]);
  expect([0, 850_400, 999_600, 2_440_000].map(formatBitrate)).toEqual([
    '0 kb/s',
    '850 kb/s',
    '1.0 Mb/s',
    '2.4 Mb/s',
  ]);
  expect([0, 0.04, 0.42, 9.94, 12.3].map(formatPercent)).toEqual([
    '0 %',
    '0.0 %',
    '0.4 %',
    '9.9 %',
    '12 %',
  ]);
  expect([0.4, 12.3].map(formatMs)).toEqual(['0.4 ms', '12 ms']);
  expect([0, 1, 1_280].map(formatViewers)).toEqual(['0 viewers', '1 viewer', '1,280 viewers']);
});
