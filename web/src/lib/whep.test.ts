import { describe, expect, it } from 'vitest';

import { deleteSession, failureKind, parseIceServers, postOffer, WhepError } from './whep';

const signal = new AbortController().signal;

function answering(status: number, headers: Record<string, string>, body = ''): typeof fetch {
  return async () => new Response(body, { status, headers });
}

async function failure(fetcher: typeof fetch) {
  try {
    await postOffer('http://root/whep/demo', 'v=0', signal, fetcher);
  } catch (error) {
    if (error instanceof WhepError) return error.failure;
  }
  throw new Error('it should have failed with a WhepError');
}

describe('postOffer', () => {
  it('sends the offer and returns the answer with an absolute location', async () => {
    let sent: RequestInit | undefined;
    const answer = await postOffer(
      'http://root/whep/demo',
      'v=0 offer',
      signal,
      async (_, init) => {
        sent = init;
        const response = new Response('v=0 answer', {
          status: 201,
          headers: { location: '/whep/session/1', link: '<stun:a.example:3478>; rel="ice-server"' },
        });
        Object.defineProperty(response, 'url', { value: 'http://leaf:8091/whep/demo?ticket=x' });
        return response;
      },
    );
    expect(sent?.method).toBe('POST');
    expect(sent?.body).toBe('v=0 offer');
    expect(new Headers(sent?.headers).get('content-type')).toBe('application/sdp');
    expect(answer).toEqual({
      sdp: 'v=0 answer',
      location: 'http://leaf:8091/whep/session/1',
      iceServers: [{ urls: 'stun:a.example:3478' }],
    });
  });

  it('tells the kinds of refusal apart and honours Retry-After', async () => {
    expect(await failure(answering(409, { 'retry-after': '4' }, 'not on air'))).toEqual({
      kind: 'off-air',
      detail: 'not on air',
      retryAfter: 4_000,
    });
    expect((await failure(answering(404, {}))).kind).toBe('unknown');
    expect((await failure(answering(503, {}))).kind).toBe('busy');
    expect((await failure(answering(502, {}))).kind).toBe('trouble');
  });

  it('shows a reason from JSON or SDP, and never a page of HTML', async () => {
    const json = { 'content-type': 'application/problem+json' };
    expect((await failure(answering(406, json, '{"detail":"no codec"}'))).detail).toBe('no codec');
    const sdp = { 'content-type': 'application/sdp' };
    const counter = 'v=0\r\ns=-\r\ni=no codec\r\nt=0 0\r\n';
    expect((await failure(answering(406, sdp, counter))).detail).toBe('no codec');
    expect((await failure(answering(406, sdp, 'v=0\r\n'))).detail).toBe('');
    expect((await failure(answering(500, {}, '<html>oops'))).detail).toBe('');
    expect((await failure(answering(500, {}, 'x'.repeat(9_999)))).detail).toHaveLength(200);
    expect((await failure(answering(500, json, '{broken'))).detail).toBe('');
  });

  it('calls a request without an answer a network failure', async () => {
    const broken = async () => {
      throw new TypeError('Failed to fetch');
    };
    expect((await failure(broken)).kind).toBe('network');
  });
});

describe('failureKind', () => {
  it('has a kind for every status', () => {
    const kinds = [400, 401, 403, 404, 406, 408, 409, 410, 422, 429, 500, 503].map(failureKind);
    expect(kinds).toEqual([
      'incompatible',
      'forbidden',
      'forbidden',
      'unknown',
      'incompatible',
      'trouble',
      'off-air',
      'unknown',
      'incompatible',
      'busy',
      'trouble',
      'busy',
    ]);
  });
});

describe('parseIceServers', () => {
  it('reads several servers with credentials and skips other links', () => {
    const link =
      '<stun:a:3478>; rel="ice-server", ' +
      '<turn:b:3478?transport=udp>; rel="ice-server"; username="u,1"; credential="p w"; ' +
      'credential-type="password", <http://c/>; rel="next", <stun:d>; rel="other"';
    expect(parseIceServers(link)).toEqual([
      { urls: 'stun:a:3478' },
      { urls: 'turn:b:3478?transport=udp', username: 'u,1', credential: 'p w' },
    ]);
    expect(parseIceServers(null)).toEqual([]);
  });
});

describe('deleteSession', () => {
  it('outlives the page and swallows failures', async () => {
    let sent: RequestInit | undefined;
    deleteSession('http://leaf/s/1', async (_, init) => {
      sent = init;
      throw new TypeError('gone');
    });
    await Promise.resolve();
    expect(sent).toMatchObject({ method: 'DELETE', keepalive: true });
  });
});
