import { describe, expect, it } from 'vitest';

import {
  endSession,
  failureKind,
  publish,
  sessionUrl,
  takesWhip,
  WhipError,
  whipUrl,
} from './whip';

const signal = new AbortController().signal;
const URL_ = 'http://root:8080/whip/demo';

async function failure(token: string, fetcher: typeof fetch) {
  try {
    await publish(URL_, token, 'v=0', signal, fetcher);
  } catch (error) {
    if (error instanceof WhipError) return error.failure;
  }
  throw new Error('it should have failed with a WhipError');
}

describe('publish', () => {
  it('sends the token in one header and nowhere else', async () => {
    let sent: [string, RequestInit] | null = null;
    const answer = await publish(URL_, 'se.cret', 'v=0 offer', signal, async (url, init) => {
      sent = [String(url), init ?? {}];
      const headers = {
        location: 'https://live.example.org/whip/demo/0123',
        link: '<stun:a:3478>; rel="ice-server"',
      };
      return new Response('v=0 answer', { status: 201, headers });
    });
    const [url, init] = sent as unknown as [string, RequestInit];
    expect(new Headers(init.headers).get('authorization')).toBe('Bearer se.cret');
    expect([url.includes('se.cret'), String(init.body)]).toEqual([false, 'v=0 offer']);
    expect(init.referrerPolicy).toBe('no-referrer');
    expect(answer).toEqual({
      sdp: 'v=0 answer',
      location: 'http://root:8080/whip/demo/0123',
      iceServers: [{ urls: 'stun:a:3478' }],
    });
  });

  it('tells refusals apart, with the reason and the time to come back', async () => {
    const said = (status: number, headers: Record<string, string> = {}) =>
      failure('t', async () => {
        const type = { 'content-type': 'application/problem+json' };
        return new Response('{"detail":"why"}', { status, headers: { ...type, ...headers } });
      });
    expect(await said(409)).toEqual({ kind: 'taken', detail: 'why', retryAfter: null });
    expect(await said(503, { 'retry-after': '10' })).toMatchObject({
      kind: 'busy',
      retryAfter: 10_000,
    });
    const kinds = [401, 403, 404, 422, 413, 429, 408, 500].map(failureKind);
    expect(kinds).toEqual([
      'token',
      'token',
      'unknown',
      'refused',
      'refused',
      'busy',
      'trouble',
      'trouble',
    ]);
  });

  it('asks nobody with what cannot be a token', async () => {
    const never: typeof fetch = async () => {
      throw new Error('it was asked');
    };
    for (const token of ['', 'two words', 'schlüssel']) {
      expect((await failure(token, never)).kind).toBe('token');
    }
    expect((await failure('fine', never)).kind).toBe('network');
  });
});

describe('endSession', () => {
  it('outlives the page, has the token, and swallows failures', async () => {
    let sent: RequestInit | undefined;
    endSession('http://root/whip/demo/1', 'se.cret', async (_, init) => {
      sent = init;
      throw new TypeError('gone');
    });
    await Promise.resolve();
    expect(sent).toMatchObject({ method: 'DELETE', keepalive: true });
    expect(new Headers(sent?.headers).get('authorization')).toBe('Bearer se.cret');
  });
});

describe('addresses', () => {
  it('stay with the root that the page came from', () => {
    expect(whipUrl('http://root', 'a b')).toBe('http://root/whip/a%20b');
    expect(sessionUrl('/whip/demo/1', URL_)).toBe('http://root:8080/whip/demo/1');
    expect(sessionUrl('https://evil.example/x?y=1', URL_)).toBe('http://root:8080/x?y=1');
  });
});

describe('takesWhip', () => {
  it('knows a root without WHIP from one that does not answer', async () => {
    const ask = (status: number, headers: Record<string, string>) =>
      takesWhip(URL_, async (_, init) => {
        expect(init?.method).toBe('OPTIONS');
        return new Response(null, { status, headers });
      });
    expect(await ask(200, { 'accept-post': 'application/sdp' })).toBe(true);
    expect(await ask(404, {})).toBe(false);
    expect(await ask(405, {})).toBe(false);
    expect(await ask(502, {})).toBeNull();
    expect(
      await takesWhip(URL_, async () => {
        throw new TypeError('gone');
      }),
    ).toBeNull();
  });
});
