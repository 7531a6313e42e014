// Unit tests of the smaller pure parts of the broadcaster page.

import { describe, expect, it } from 'vitest';

import { broadcastPath, readAddress, TokenMemory } from './address';
import { bitrateFor, encodings, planLayers } from './layers';
import { Level, levelWords, onMeter, peakDb } from './level';
import { PLACEHOLDER, quote, recipes } from './recipes';
import { grade, parseHealth, parseTargets, type Health } from './root';
import { readSent, sentFigures, type Sent } from './sent';
import { SILENT_MS, Warnings, type Facts } from './warnings';
import { captureWords, failureWords, formatElapsed, healthWords, wordsFor } from './words';

describe('readAddress', () => {
  it('takes the token out of the fragment, and none out of the query', () => {
    expect(readAddress('http://r/broadcast?stream=a%20b#token=s%2Bx')).toEqual({
      stream: 'a b',
      token: 's+x',
      leaked: false,
      clean: '/broadcast?stream=a+b',
    });
    const leaked = readAddress('http://r/broadcast?token=x&stream=a');
    expect(leaked).toEqual({
      stream: 'a',
      token: null,
      leaked: true,
      clean: '/broadcast?stream=a',
    });
    expect(readAddress('http://r/broadcast')).toMatchObject({ stream: null, token: null });
    expect([broadcastPath(null), broadcastPath('ä')]).toEqual([
      '/broadcast',
      '/broadcast?stream=%C3%A4',
    ]);
  });
});

describe('TokenMemory', () => {
  it('keeps a token for its stream, and bears a browser that keeps nothing', () => {
    const map = new Map<string, string>();
    const memory = new TokenMemory({
      getItem: (key) => map.get(key) ?? null,
      setItem: (key, value) => void map.set(key, value),
      removeItem: (key) => void map.delete(key),
    });
    expect(memory.keep('a', 'x')).toBe(true);
    expect([memory.recall('a'), memory.recall('b')]).toEqual(['x', null]);
    memory.forget('a');
    expect(map.size).toBe(0);
    const refuse = () => {
      throw new DOMException('no', 'SecurityError');
    };
    const none = new TokenMemory({ getItem: refuse, setItem: refuse, removeItem: refuse });
    none.forget('a');
    expect([none.keep('a', 'x'), none.recall('a'), new TokenMemory(null).keep('a', 'x')]).toEqual([
      false,
      null,
      false,
    ]);
  });
});

describe('planLayers', () => {
  const source = { width: 1280, height: 720 };
  it('halves from layer to layer, the best first', () => {
    const plans = planLayers({ codec: 'VP8', layers: 3 }, source, 720);
    expect(plans.map((p) => [p.rid, p.name, p.scale, p.width, p.height])).toEqual([
      ['h', 'High', 1, 1280, 720],
      ['m', 'Middle', 2, 640, 360],
      ['l', 'Low', 4, 320, 180],
    ]);
    expect(plans[0]?.maxBitrate).toBe(2_500_000);
    expect(plans.map((p) => p.maxBitrate)).toEqual(
      [...plans.map((p) => p.maxBitrate)].sort((a, b) => b - a),
    );
  });

  it('sends no more than the stream has, than browsers can, or than can be seen', () => {
    expect(planLayers({ codec: 'H264', layers: 1 }, source, 720)).toMatchObject([
      { rid: null, name: 'Picture', scale: 1 },
    ]);
    expect(planLayers({ codec: 'VP8', layers: 4 }, source, 720)).toHaveLength(3);
    const count = (width: number, height: number) =>
      planLayers({ codec: 'VP8', layers: 3 }, { width, height }, 720).length;
    expect([count(960, 540), count(640, 360), count(480, 270), count(320, 180)]).toEqual([
      3, 2, 2, 1,
    ]);
    expect(planLayers({ codec: 'VP8', layers: 3 }, { width: 8, height: 8 }, 720)).toHaveLength(1);
  });

  it('keeps to the encodings of a session that stands', () => {
    const target = { codec: 'VP8', layers: 3 };
    const rids = (height: number, offered: number) =>
      planLayers(target, { width: (height * 16) / 9, height }, 720, offered).map((p) => p.rid);
    expect([rids(180, 3), rids(720, 1), rids(720, 2)]).toEqual([['h'], [null], ['h', 'm']]);
  });

  it('scales what is too large down to what was chosen, held upright too', () => {
    const upright = planLayers({ codec: 'VP8', layers: 1 }, { width: 1080, height: 1920 }, 720);
    expect(upright).toMatchObject([{ scale: 1.5, width: 720, height: 1280 }]);
    const small = planLayers({ codec: 'VP8', layers: 1 }, { width: 640, height: 360 }, 720);
    expect(small).toMatchObject([{ scale: 1, width: 640 }]);
    expect(bitrateFor(16, 16)).toBe(80_000);
  });

  it('asks Chromium for encodings of VP9 and AV1 instead of spatial layers', () => {
    const three = planLayers({ codec: 'VP9', layers: 3 }, source, 720);
    expect(encodings(three, 'VP9')[0]).toMatchObject({ rid: 'h', scalabilityMode: 'L1T1' });
    expect(encodings(three, 'VP8')[0]).not.toHaveProperty('scalabilityMode');
    const [only] = encodings(planLayers({ codec: 'VP9', layers: 1 }, source, 720), 'VP9');
    expect(only).toEqual({ scaleResolutionDownBy: 1, maxBitrate: 2_500_000 });
  });
});

describe('Level', () => {
  it('rises at once, falls slowly, and knows for how long there is nothing', () => {
    expect(peakDb(new Float32Array([0, -0.5, 0.1]))).toBeCloseTo(-6.02, 2);
    expect(peakDb(new Float32Array(4))).toBe(-Infinity);
    const level = new Level(0);
    level.note(0, -10);
    level.note(500, -Infinity);
    expect(level.db).toBe(-30);
    level.note(2_000, -80);
    expect([level.db, level.silentFor(2_000)]).toEqual([-80, 2_000]);
    level.note(2_100, -20);
    expect([level.db, level.silentFor(2_200)]).toEqual([-20, 100]);
    expect([onMeter(-60), onMeter(-30), onMeter(3), onMeter(-Infinity)]).toEqual([0, 0.5, 1, 0]);
    expect([levelWords(-12.4), levelWords(-Infinity), levelWords(0)]).toEqual([
      '−12 dB',
      'silent',
      '0 dB',
    ]);
  });
});

describe('the root', () => {
  it('tells what streams take', () => {
    const video = { name: 'video', kind: 'video', codec: 'VP8', layers: [{}, {}, {}] };
    const streams = [
      { name: 'b', live: true, state: 'running', viewers: 3, tracks: [video] },
      { name: 'a', state: 'stopped', tracks: [{ kind: 'audio', codec: 'opus', layers: [{}] }] },
      { name: '' },
      7,
    ];
    expect(parseTargets({ streams })).toEqual([
      { name: 'a', live: false, state: 'stopped', viewers: null, picture: null, sound: true },
      {
        name: 'b',
        live: true,
        state: 'running',
        viewers: 3,
        picture: { codec: 'VP8', layers: 3 },
        sound: false,
      },
    ]);
    expect([parseTargets('x'), parseHealth({}), parseHealth(null)]).toEqual([[], null, null]);
  });

  const fares = (change: Partial<Health>): Health => ({
    live: true,
    viewers: 9,
    reporting: 9,
    loss: 0,
    worstLoss: 0,
    rttMs: 20,
    jitterMs: 2,
    bitrate: 1,
    ...change,
  });

  it('is told apart by what viewers miss, and the few who suffer are not hidden', () => {
    const of = (change: Partial<Health>) => grade(fares(change));
    expect([
      of({}),
      of({ loss: 0.05 }),
      of({ loss: 0.2 }),
      of({ worstLoss: 0.2 }),
      of({ loss: null }),
      of({ viewers: 0, loss: 0.5 }),
    ]).toEqual(['good', 'fair', 'poor', 'uneven', 'unknown', 'nobody']);
    const body = { viewers: 2, loss: 0.01, worst_loss: 0.5, rtt_ms: 12, jitter_ms: null };
    const health = parseHealth(body);
    expect(health && healthWords(health)).toEqual({
      title: 'Good for most, poor for some',
      text: '1.0 % lost before repair · round trip 12 ms',
    });
  });
});

describe('recipes', () => {
  const input = { url: 'https://r/whip/demo', token: null, codec: 'H264', sound: true };
  it('have the address, and a placeholder where nobody wants the token in', () => {
    for (const recipe of recipes(input)) {
      const text = recipe.lines.map((line) => line.text).join('\n');
      expect(text).toContain(input.url);
      expect(text).toContain(PLACEHOLDER);
    }
  });

  it('put the token into what is copied, not onto the screen', () => {
    for (const recipe of recipes({ ...input, token: "it's-a-secret" })) {
      const copied = recipe.lines.map((line) => line.text).join('\n');
      const shown = recipe.lines.map((line) => line.shown).join('\n');
      expect(copied).toMatch(/it('|'\\'')s-a-secret/);
      expect(shown).not.toContain('secret');
    }
    expect(quote("it's")).toBe(`'it'\\''s'`);
  });

  it('say which program cannot send the codec, and leave out what the stream has not', () => {
    const notes = recipes({ ...input, codec: 'VP8', sound: false });
    expect(notes[0]?.notes[0]).toMatch(/OBS sends H264 or AV1.*takes VP8/);
    expect(notes[1]?.lines[0]?.text).toContain('-an');
    expect(notes[2]?.lines[0]?.text).toContain('video-caps=video/x-vp8');
    expect(notes[2]?.lines[0]?.text).not.toContain('audiotestsrc');
  });
});

function report(rids: (string | undefined)[], at: number, limit = 'none'): [string, unknown][] {
  return [
    ...rids.map((rid, index): [string, unknown] => [
      `v${index}`,
      {
        type: 'outbound-rtp',
        kind: 'video',
        codecId: 'c',
        rid,
        bytesSent: at * 200 * (index + 1),
        retransmittedBytesSent: at * 75 * (index + 1),
        framesSent: rid === 'h' ? 0 : at / 33,
        frameWidth: 320 * 2 ** index,
        frameHeight: 180,
        qualityLimitationReason: limit,
      },
    ]),
    ['a', { type: 'outbound-rtp', kind: 'audio', codecId: 'o', bytesSent: at * 4 }],
    ['c', { mimeType: 'video/VP8' }],
    ['o', { mimeType: 'audio/opus' }],
    ['r', { type: 'remote-inbound-rtp', kind: 'video', fractionLost: 0.25 }],
    ['t', { type: 'transport', selectedCandidatePairId: 'p', bytesSent: at * 1_000 }],
    ['p', { type: 'candidate-pair', currentRoundTripTime: 0.02, localCandidateId: 'l' }],
    ['l', { protocol: 'udp' }],
  ];
}

describe('sent', () => {
  it('is told layer by layer, the best first', () => {
    const samples = [1_000, 2_000, 3_000].map((at) =>
      readSent(report(['l', 'm', 'h'], at, 'cpu'), at),
    );
    const sent = sentFigures(samples, ['h', 'm', 'l']);
    expect(sent?.layers.map((l) => [l.rid, l.bitrate, l.flows, l.limit])).toEqual([
      ['h', 3_000_000, false, 'cpu'],
      ['m', 2_000_000, true, 'cpu'],
      ['l', 1_000_000, true, 'cpu'],
    ]);
    expect(sent).toMatchObject({
      codec: 'VP8',
      soundCodec: 'opus',
      soundBitrate: 32_000,
      bitrate: 8_000_000,
      rttMs: 20,
      loss: 0.25,
      path: 'UDP',
    });
    expect(sentFigures(samples.slice(0, 1), [])).toBeNull();
  });

  it('leaves out with what Chromium fills the link up', () => {
    const samples = [1_000, 2_000].map((at) => readSent(report(['h', 'l'], at), at));
    for (const { layers } of samples) for (const l of layers.slice(1)) l.target = 200_000;
    const sent = sentFigures(samples, ['h', 'l']);
    expect(sent?.layers.map((layer) => layer.bitrate)).toEqual([1_000_000, 200_000]);
    expect(sent?.bitrate).toBe(8_000_000);
  });

  it('has no rid where there is one encoding', () => {
    const samples = [1_000, 2_000].map((at) => readSent(report([undefined], at, 'new'), at));
    expect(sentFigures(samples, [])?.layers).toMatchObject([
      { rid: null, flows: true, limit: 'other' },
    ]);
  });
});

describe('Warnings', () => {
  const sent = (limit: 'none' | 'cpu' | 'bandwidth', flows = 3): Sent => ({
    layers: [0, 1, 2].map((index) => ({
      rid: 'hml'.charAt(index),
      width: 1,
      height: 1,
      fps: 30,
      bitrate: 1,
      flows: index < flows,
      limit,
    })),
    codec: null,
    soundCodec: null,
    soundBitrate: null,
    bitrate: 1,
    rttMs: null,
    loss: 0,
    available: null,
    path: null,
  });
  const facts = (change: Partial<Facts>): Facts => ({
    onAir: true,
    live: true,
    sent: sent('none'),
    layersWanted: 3,
    hasSound: true,
    soundMuted: false,
    pictureHidden: false,
    silentMs: 0,
    ...change,
  });
  /** What is warned of after these facts have stood for a minute. */
  const after = (change: Partial<Facts>) => {
    const warnings = new Warnings();
    expect(warnings.look(0, facts(change)).filter((w) => w.id !== 'silent')).toEqual([]);
    return warnings.look(60_000, facts(change)).map((w) => w.id);
  };

  it('tell what stands for a while', () => {
    expect(after({})).toEqual([]);
    expect(after({ sent: sent('cpu') })).toEqual(['cpu']);
    expect(after({ sent: sent('bandwidth') })).toEqual(['bandwidth']);
    expect(after({ sent: sent('none', 2) })).toEqual(['layers']);
    expect(after({ sent: sent('none', 0) })).toEqual(['frozen']);
    expect(after({ sent: sent('none', 0), pictureHidden: true })).toEqual([]);
    expect(after({ sent: { ...sent('none'), loss: 0.2 } })).toEqual(['loss']);
    expect(after({ live: false })).toEqual(['unheard']);
    expect(after({ live: false, onAir: false })).toEqual([]);
    expect(after({ silentMs: SILENT_MS })).toEqual(['silent']);
    expect(after({ silentMs: SILENT_MS, soundMuted: true })).toEqual([]);
    expect(after({ silentMs: SILENT_MS, hasSound: false })).toEqual([]);
  });

  it('do not flicker', () => {
    const warnings = new Warnings();
    warnings.look(0, facts({ sent: sent('cpu') }));
    warnings.look(5_000, facts({}));
    expect(warnings.look(7_000, facts({ sent: sent('cpu') }))).toEqual([]);
  });
});

describe('words', () => {
  const view = {
    phase: 'idle',
    attempt: 0,
    retryAt: null,
    failure: null,
    onAirSince: null,
  } as const;
  const failure = (kind: Parameters<typeof failureWords>[0]['kind'], detail = '') => ({
    kind,
    detail,
    retryAfter: null,
  });

  it('help with each refusal', () => {
    expect(failureWords(failure('token'), 'demo').text).toContain('--stream demo');
    expect(failureWords(failure('taken'), 'demo').title).toMatch(/already/);
    const rests = failureWords(failure('taken', 'the stream is stopped'), 'demo');
    expect([rests.title, rests.text]).toEqual([
      'The stream cannot be sent at the moment',
      'The server says: the stream is stopped.',
    ]);
    expect(failureWords(failure('refused', 'no H264'), 'demo').text).toContain('no H264');
    const unknown = { ...view, phase: 'refused', failure: failure('unknown') } as const;
    expect(wordsFor(unknown, 'x', false).title).toBe('No such stream');
  });

  it('do not blame somebody else for one’s own lost session', () => {
    const lost = { ...view, phase: 'reconnecting', failure: failure('taken') } as const;
    expect(wordsFor(lost, 'x', false).text).toMatch(/still holds the lost connection/);
    expect(wordsFor(lost, 'x', true).text).toMatch(/offline/);
    expect(wordsFor({ ...view, phase: 'on-air' }, 'x', false)).toEqual({
      title: 'On air',
      text: '',
    });
  });

  it('tell why there is no camera', () => {
    expect(captureWords('NotAllowedError', '', 'camera').title).toMatch(/no camera/);
    expect(captureWords('NotAllowedError', '', 'screen').title).toMatch(/No screen/);
    expect(captureWords('NotReadableError', '', 'camera').text).toMatch(/Another program/);
    expect(captureWords('Strange', 'as it says', 'camera').text).toBe('as it says');
  });

  it('tell the time on air', () => {
    expect([7_900, 754_000, 3_723_000].map(formatElapsed)).toEqual(['0:07', '12:34', '1:02:03']);
  });
});
