import { describe, expect, it } from 'vitest';

import { preferStereo } from './sdp';

const lines = (...all: string[]) => all.map((line) => `${line}\r\n`).join('');

describe('preferStereo', () => {
  it('adds to the existing parameters of every Opus payload type, and only there', () => {
    const sdp = lines(
      'a=rtpmap:111 opus/48000/2',
      'a=fmtp:111 minptime=10;useinbandfec=1',
      'a=rtpmap:63 red/48000/2',
      'a=fmtp:63 111/111',
      'a=rtpmap:109 OPUS/48000/2',
      'a=fmtp:109 minptime=10',
    );
    expect(preferStereo(sdp)).toBe(
      lines(
        'a=rtpmap:111 opus/48000/2',
        'a=fmtp:111 minptime=10;useinbandfec=1;stereo=1',
        'a=rtpmap:63 red/48000/2',
        'a=fmtp:63 111/111',
        'a=rtpmap:109 OPUS/48000/2',
        'a=fmtp:109 minptime=10;stereo=1',
      ),
    );
  });

  it('adds a line where there is none', () => {
    expect(preferStereo(lines('a=rtpmap:111 opus/48000/2', 'a=sendrecv'))).toBe(
      lines('a=rtpmap:111 opus/48000/2', 'a=fmtp:111 stereo=1', 'a=sendrecv'),
    );
  });

  it('leaves alone what already says so, and what has no Opus', () => {
    const said = lines('a=rtpmap:111 opus/48000/2', 'a=fmtp:111 stereo=1;maxplaybackrate=48000');
    expect(preferStereo(said)).toBe(said);
    const video = lines('a=rtpmap:96 VP8/90000');
    expect(preferStereo(video)).toBe(video);
  });

  it('is not misled by sprop-stereo', () => {
    const sdp = lines('a=rtpmap:111 opus/48000/2', 'a=fmtp:111 sprop-stereo=1');
    expect(preferStereo(sdp)).toContain('sprop-stereo=1;stereo=1');
  });
});
