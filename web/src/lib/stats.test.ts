import { describe, expect, it } from 'vitest';

import { figures, readSample, type Sample } from './stats';

const report = (change: Record<string, Record<string, unknown>> = {}): [string, unknown][] => {
  const base: Record<string, Record<string, unknown>> = {
    V: {
      type: 'inbound-rtp',
      kind: 'video',
      codecId: 'C',
      bytesReceived: 100_000,
      headerBytesReceived: 0,
      packetsReceived: 100,
      packetsLost: 0,
      framesDecoded: 30,
      frameWidth: 1280,
      frameHeight: 720,
      framesPerSecond: 30,
      totalProcessingDelay: 1.5,
      jitter: 0.004,
    },
    A: { type: 'inbound-rtp', kind: 'audio', codecId: 'D', bytesReceived: 0, packetsReceived: 50 },
    C: { type: 'codec', mimeType: 'video/H264' },
    D: { type: 'codec', mimeType: 'audio/opus' },
    T: { type: 'transport', selectedCandidatePairId: 'P', srtpCipher: 'AEAD_AES_128_GCM' },
    P: { type: 'candidate-pair', localCandidateId: 'L', currentRoundTripTime: 0.02 },
    Q: { type: 'candidate-pair', localCandidateId: 'L', currentRoundTripTime: 9, nominated: true },
    L: { type: 'local-candidate', protocol: 'udp', candidateType: 'prflx' },
    R: { type: 'remote-outbound-rtp', timestamp: 1_000, remoteTimestamp: 990 },
    S: { type: 'remote-outbound-rtp', timestamp: 2_000, remoteTimestamp: 1_991 },
  };
  for (const [id, entry] of Object.entries(change)) base[id] = { ...base[id], ...entry };
  return Object.entries(base);
};

describe('readSample', () => {
  it('finds the tracks, the chosen pair, the cipher and the newest report', () => {
    const sample = readSample(report(), 5);
    expect(sample.video).toMatchObject({ codec: 'H264', width: 1280, frames: 30, jitterMs: 4 });
    expect(sample.audio).toMatchObject({ codec: 'opus', received: 50 });
    expect(sample).toMatchObject({ rttMs: 20, srtpCipher: 'AEAD_AES_128_GCM', path: 'UDP' });
    expect(sample.report).toEqual({ remote: 1_991, local: 2_000 });
  });

  it('bears an empty report and strange entries', () => {
    const empty = readSample([['x', null]], 0);
    expect(empty.video).toBeNull();
    expect(figures([empty])).toBeNull();
    expect(figures([])).toBeNull();
  });
});

describe('figures', () => {
  const second = (n: number, lost = 0): Sample =>
    readSample(
      report({
        V: {
          bytesReceived: 100_000 + n * 250_000,
          packetsReceived: 100 + n * 250,
          packetsLost: lost,
          framesDecoded: 30 + n * 30,
          totalProcessingDelay: 1.5 + n * 1.8,
        },
      }),
      n * 1_000,
    );

  it('takes rates between samples', () => {
    const view = figures([second(0), second(1), second(2)]);
    expect(view).toMatchObject({ width: 1280, height: 720, fps: 30, rttMs: 20, lossPercent: 0 });
    expect(view?.bitrate).toBeCloseTo(2_000_000);
    expect(view?.bufferMs).toBeCloseTo(60);
  });

  it('looks at loss over a longer window, and never below zero', () => {
    const samples = [...Array(20).keys()].map((n) => second(n, n < 15 ? 0 : 25));
    expect(figures(samples)?.lossPercent).toBeCloseTo((25 * 100) / (10 * 250 + 25));
    // Duplicates can make the cumulative loss fall (RFC 3550, A.3).
    expect(figures([second(0, 5), second(1, 0)])?.lossPercent).toBe(0);
  });

  it('counts as lost only what was not repaired', () => {
    const repaired = (n: number, lost: number, again: number, sound = 0): Sample =>
      readSample(
        report({
          V: {
            packetsReceived: 100 + n * 250 + again,
            packetsLost: lost,
            retransmittedPacketsReceived: again,
          },
          A: { packetsLost: sound },
        }),
        n * 1_000,
      );
    const all = figures([repaired(0, 10, 10), repaired(1, 35, 35)]);
    expect(all).toMatchObject({ lossPercent: 0, lost: 0 });
    const some = figures([repaired(0, 0, 0), repaired(1, 25, 20)]);
    expect(some?.lossPercent).toBeCloseTo((5 * 100) / (250 + 25));
    expect(some?.lost).toBe(5);
    // Repaired twice or late: not below zero, and it does not hide what the other track lost.
    expect(figures([repaired(0, 5, 0), repaired(1, 5, 9)])).toMatchObject({
      lossPercent: 0,
      lost: 0,
    });
    const sound = figures([repaired(0, 5, 0), repaired(1, 5, 9, 3)]);
    expect(sound?.lossPercent).toBeGreaterThan(0);
    expect(sound?.lost).toBe(3);
  });

  it('works for sound alone', () => {
    const sound = (n: number): Sample => ({ ...second(n), video: null });
    expect(figures([sound(0), sound(1)])).toMatchObject({ width: 0, fps: null, bitrate: 0 });
  });
});
