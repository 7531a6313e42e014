// The HTTP side of WHIP (RFC 9725): one POST that carries the offer and the publish token, one DELETE
// at the end, and OPTIONS to see whether the root takes broadcasters at all. No WebRTC in here, and no
// retrying: the core decides about that. The token goes into the Authorization header, nowhere else.

import type { Answer } from '../attempt';
import { parseRetryAfter } from '../backoff';
import { parseIceServers, readReason } from '../whep';

/** What kind of "no" it was. Each is a different thing to say to a person. */
export type FailureKind =
  | 'token' // 401, 403: no token, or not this stream's
  | 'unknown' // 404: there is no such stream
  | 'taken' // 409: somebody broadcasts it already, or it does not run
  | 'busy' // 503, 429: no place for another broadcaster
  | 'refused' // other 4xx: for example a codec that the stream does not have
  | 'trouble' // the rest, 5xx above all: the server answers, but something is wrong there
  | 'network' // no answer
  | 'browser'; // it failed on this side

/** A refused or failed attempt. */
export interface Failure {
  kind: FailureKind;
  /** A short reason from the server, or what went wrong here. May be empty. */
  detail: string;
  /** How long the server asked us to wait, in milliseconds. */
  retryAfter: number | null;
}

/** Thrown by `publish`. */
export class WhipError extends Error {
  constructor(readonly failure: Failure) {
    super(failure.detail || failure.kind);
    this.name = 'WhipError';
  }
}

/** Maps a status code to the kind of failure. */
export function failureKind(status: number): FailureKind {
  if (status === 401 || status === 403) return 'token';
  if (status === 404 || status === 410) return 'unknown';
  if (status === 409) return 'taken';
  if (status === 503 || status === 429) return 'busy';
  if (status >= 400 && status < 500 && status !== 408) return 'refused';
  return 'trouble';
}

/** The WHIP address of a stream at this root. */
export const whipUrl = (origin: string, stream: string) =>
  `${origin}/whip/${encodeURIComponent(stream)}`;

/**
 * A session's URL as this page may call it. The root names itself as its configuration has it, which
 * may be another name than the page came by; it is the same root, and the page calls no other origin.
 */
export function sessionUrl(location: string, endpoint: string): string {
  const url = new URL(location, endpoint);
  return new URL(`${url.pathname}${url.search}`, endpoint).href;
}

/**
 * A token is one word of printable ASCII (RFC 6750 has fewer characters still); with anything else
 * the browser would refuse to send the header.
 */
export const isToken = (text: string) => /^[\x21-\x7e]+$/.test(text);

/** Sends the offer. Resolves with the answer, or throws a `WhipError`. */
export async function publish(
  url: string,
  token: string,
  sdp: string,
  signal: AbortSignal,
  fetcher: typeof fetch = fetch,
): Promise<Answer> {
  if (!isToken(token)) {
    const detail = token === '' ? 'a publish token is needed' : 'a token is one word';
    throw new WhipError({ kind: 'token', detail, retryAfter: null });
  }
  let response: Response;
  try {
    response = await fetcher(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/sdp',
        accept: 'application/sdp',
        authorization: `Bearer ${token}`,
      },
      body: sdp,
      cache: 'no-store',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      signal,
    });
    if (response.status === 201) {
      const location = response.headers.get('location');
      return {
        sdp: await response.text(),
        location: location === null ? null : sessionUrl(location, url),
        iceServers: parseIceServers(response.headers.get('link')),
      };
    }
  } catch (error) {
    const detail = error instanceof Error && error.name === 'TimeoutError' ? 'no answer' : '';
    throw new WhipError({ kind: 'network', detail, retryAfter: null });
  }
  throw new WhipError({
    kind: failureKind(response.status),
    detail: await readReason(response),
    retryAfter: parseRetryAfter(response.headers.get('retry-after'), Date.now()),
  });
}

/**
 * Ends a session, with the token as in every request (section 4.7.1). Works while the page goes away
 * (`keepalive`); failing is harmless.
 */
export function endSession(location: string, token: string, fetcher: typeof fetch = fetch): void {
  fetcher(location, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${token}` },
    keepalive: true,
    cache: 'no-store',
    credentials: 'omit',
    referrerPolicy: 'no-referrer',
  }).catch(() => {
    // The root ends sessions by itself that bring no media.
  });
}

/** Whether the root takes broadcasters over WHIP (section 4.2: Accept-Post); null: it does not say. */
export async function takesWhip(
  url: string,
  fetcher: typeof fetch = fetch,
): Promise<boolean | null> {
  try {
    const response = await fetcher(url, { method: 'OPTIONS', cache: 'no-store' });
    if (response.ok) return response.headers.has('accept-post');
    return response.status === 404 || response.status === 405 ? false : null;
  } catch {
    return null;
  }
}
