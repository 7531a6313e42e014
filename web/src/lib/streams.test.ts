import { describe, expect, it } from 'vitest';

import { parseStreams, STREAMS_MAX, streamOfPath, watchPath } from './streams';

describe('parseStreams', () => {
  it('reads what the API says, live ones first', () => {
    const list = [
      { name: 'b', live: false },
      { name: 'c', live: true, viewers: 3, tracks: [{ name: 'v', codec: 'H264' }] },
      { name: 'a', live: true, viewers: -1, tracks: [null, { codec: 'opus' }, { codec: 'opus' }] },
    ];
    expect(parseStreams(list)).toEqual([
      { name: 'a', live: true, viewers: null, codecs: ['opus'] },
      { name: 'c', live: true, viewers: 3, codecs: ['H264'] },
      { name: 'b', live: false, viewers: null, codecs: [] },
    ]);
    expect(parseStreams({ streams: list })).toHaveLength(3);
  });

  it('bears anything', () => {
    for (const body of [null, 3, 'x', {}, { streams: 1 }, [null, 1, {}, { name: '' }]]) {
      expect(parseStreams(body)).toEqual([]);
    }
    const many = Array.from({ length: 2_000 }, (_, i) => ({ name: `s${i}` }));
    expect(parseStreams(many)).toHaveLength(STREAMS_MAX);
  });
});

describe('addresses', () => {
  it('survive strange names', () => {
    for (const name of ['demo', 'a b', 'ü/ö?', '100%']) {
      expect(streamOfPath(watchPath(name))).toBe(name);
    }
  });

  it('refuse what is no stream', () => {
    for (const path of ['/', '/watch/', '/watch/a/b', '/watch/%E0%A4%A']) {
      expect(streamOfPath(path)).toBeNull();
    }
  });
});
