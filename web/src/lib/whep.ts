// The HTTP side of WHEP (draft-ietf-wish-whep): one POST that carries the offer, one DELETE at the
// end. The root answers the POST with a 307 to a leaf, which fetch follows by itself. No WebRTC in
// here, and no retrying: the player decides about that.

import type { Answer } from './attempt';
import { parseRetryAfter } from './backoff';

/** What kind of "no" it was. Each is a different thing to say to a person. */
export type FailureKind =
  | 'unknown' // 404: there is no such stream
  | 'off-air' // 409: the stream exists but does not send
  | 'busy' // 503, 429: no room
  | 'forbidden' // 401, 403: not for this viewer
  | 'incompatible' // other 4xx: for example no codec in common
  | 'trouble' // the rest, 5xx above all: the server answers, but something is wrong there
  | 'network'; // no answer

/** A refused or failed attempt. */
export interface Failure {
  kind: FailureKind;
  /** A short reason from the server, or what went wrong here. May be empty. */
  detail: string;
  /** How long the server asked us to wait, in milliseconds. */
  retryAfter: number | null;
}

/** Thrown by `postOffer`. */
export class WhepError extends Error {
  constructor(readonly failure: Failure) {
    super(failure.detail || failure.kind);
    this.name = 'WhepError';
  }
}

/** What a reason from a server is cut to before a page shows it. */
const DETAIL_MAX = 200;

/** Maps a status code to the kind of failure. */
export function failureKind(status: number): FailureKind {
  if (status === 404 || status === 410) return 'unknown';
  if (status === 409) return 'off-air';
  if (status === 503 || status === 429) return 'busy';
  if (status === 401 || status === 403) return 'forbidden';
  if (status >= 400 && status < 500 && status !== 408) return 'incompatible';
  return 'trouble';
}

/** Reads `<stun:a:3478>; rel="ice-server"; username="u"; credential="c"`, several by commas. */
export function parseIceServers(link: string | null): RTCIceServer[] {
  const servers: RTCIceServer[] = [];
  for (const [, url, params] of (link ?? '').matchAll(/<((?:stun|turn)s?:[^>\s]+)>([^<]*)/g)) {
    const value = (name: string) => {
      const found = new RegExp(`;\\s*${name}=(?:"([^"]*)"|([^";,\\s]*))`, 'i').exec(params ?? '');
      return found?.[1] ?? found?.[2];
    };
    if (value('rel') !== 'ice-server' || !url) continue;
    const server: RTCIceServer = { urls: url };
    const username = value('username');
    const credential = value('credential');
    if (username !== undefined) server.username = username;
    if (credential !== undefined) server.credential = credential;
    servers.push(server);
  }
  return servers;
}

/** A short reason from a refusal, or an empty text. */
export async function readReason(response: Response): Promise<string> {
  try {
    const text = (await response.text()).trim();
    const type = response.headers.get('content-type') ?? '';
    // A counter-offer says in its i= line why there is one; we offer all codecs that we have.
    if (type.startsWith('application/sdp')) {
      return (/^i=(.*?)\r?$/m.exec(text)?.[1] ?? '').slice(0, DETAIL_MAX);
    }
    if (/json/.test(type)) {
      const json: unknown = JSON.parse(text);
      if (typeof json === 'object' && json !== null) {
        for (const key of ['detail', 'message', 'error', 'title']) {
          const value = (json as Record<string, unknown>)[key];
          if (typeof value === 'string') return value.slice(0, DETAIL_MAX);
        }
      }
      return '';
    }
    return text.startsWith('<') ? '' : text.slice(0, DETAIL_MAX);
  } catch {
    return '';
  }
}

/** Sends the offer. Resolves with the answer, or throws a `WhepError`. */
export async function postOffer(
  url: string,
  sdp: string,
  signal: AbortSignal,
  fetcher: typeof fetch = fetch,
): Promise<Answer> {
  let response: Response;
  try {
    response = await fetcher(url, {
      method: 'POST',
      headers: { 'content-type': 'application/sdp', accept: 'application/sdp' },
      body: sdp,
      cache: 'no-store',
      signal,
    });
    if (response.status === 201 || response.status === 200) {
      const location = response.headers.get('location');
      return {
        sdp: await response.text(),
        location: location === null ? null : new URL(location, response.url || url).href,
        iceServers: parseIceServers(response.headers.get('link')),
      };
    }
  } catch (error) {
    const detail = error instanceof Error && error.name === 'TimeoutError' ? 'no answer' : '';
    throw new WhepError({ kind: 'network', detail, retryAfter: null });
  }
  throw new WhepError({
    kind: failureKind(response.status),
    detail: await readReason(response),
    retryAfter: parseRetryAfter(response.headers.get('retry-after'), Date.now()),
  });
}

/** Ends a session. Works while the page goes away (`keepalive`); failing is harmless. */
export function deleteSession(location: string, fetcher: typeof fetch = fetch): void {
  fetcher(location, { method: 'DELETE', keepalive: true, cache: 'no-store' }).catch(() => {
    // The leaf ends silent sessions by itself when ICE consent is lost (RFC 7675).
  });
}
