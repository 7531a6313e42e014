// What the broadcaster page says in each state. One place, so that the tone stays one.

import { formatMs, formatPercent } from '../format';
import type { BroadcastView } from './core';
import { grade, type Grade, type Health } from './root';
import type { Failure } from './whip';

/** The words for a state. */
export interface Words {
  title: string;
  text: string;
}

const TOKEN_HELP =
  'Whoever runs the server makes one with “root-node token create --role publisher --stream NAME”, or sets publish_token for the stream.';

/** A 409 for another reason than somebody who broadcasts already: the stream is stopped, say. */
const isResting = ({ kind, detail }: Failure) =>
  kind === 'taken' && detail !== '' && !detail.includes('already');

/** What is said of a "no". */
export function failureWords(failure: Failure, stream: string): Words {
  const { kind, detail } = failure;
  const said = detail ? ` The server says: ${detail}.` : '';
  switch (kind) {
    case 'token':
      return {
        title: 'The token does not open this stream',
        text: `Look whether it was copied whole, is meant for “${stream}”, and has not run out or been revoked. ${TOKEN_HELP.replace('NAME', stream)}${said}`,
      };
    case 'unknown':
      return {
        title: 'No such stream',
        text: `The server has no stream called “${stream}”. Choose another one; it may have been removed.`,
      };
    case 'taken':
      if (isResting(failure)) {
        return { title: 'The stream cannot be sent at the moment', text: said.trim() };
      }
      return {
        title: 'Somebody is broadcasting this stream already',
        text: `“${stream}” takes one broadcaster at a time. If that was you a moment ago, on a page that was closed or lost its network, it is free again in some ten seconds.`,
      };
    case 'busy':
      return {
        title: 'No place free',
        text: 'The server takes no more broadcasters at the moment. It is tried again by itself.',
      };
    case 'refused':
      return { title: 'The server does not take this broadcast', text: said.trim() };
    case 'browser':
      return { title: 'This browser cannot send it', text: detail };
    case 'network':
      return {
        title: 'The server does not answer',
        text: 'It is tried again and again; nothing to do for you but to look at the network.',
      };
    case 'trouble':
      return { title: 'The server has trouble', text: `It is tried again by itself.${said}` };
  }
}

/** The words for what the broadcaster does now; `offline` is the browser's opinion of the network. */
export function wordsFor(view: BroadcastView, stream: string, offline: boolean): Words {
  const why = view.failure && failureWords(view.failure, stream);
  switch (view.phase) {
    case 'idle':
      return { title: 'Not on air', text: '' };
    case 'connecting':
      if (why) return { title: 'Not on air yet', text: `${why.title}. ${why.text}` };
      return { title: 'Connecting…', text: '' };
    case 'on-air':
      return { title: 'On air', text: '' };
    case 'reconnecting': {
      if (offline) return { title: 'Reconnecting…', text: 'Your device seems to be offline.' };
      if (view.failure?.kind === 'taken' && !isResting(view.failure)) {
        const text = 'The server still holds the lost connection. It lets it go in some seconds.';
        return { title: 'Reconnecting…', text };
      }
      if (why) return { title: 'Reconnecting…', text: `${why.title}. ${why.text}` };
      return { title: 'Reconnecting…', text: 'The connection to the server was lost.' };
    }
    case 'refused':
      return why ?? { title: 'Not on air', text: '' };
  }
}

const GRADES: Record<Grade, string> = {
  nobody: 'Nobody watches yet',
  unknown: 'No reports yet',
  good: 'Good',
  uneven: 'Good for most, poor for some',
  fair: 'Fair',
  poor: 'Poor',
};

/** How viewers fare, in a few words. */
export function healthWords(health: Health): Words {
  const figures = [
    health.loss === null ? '' : `${formatPercent(health.loss * 100)} lost before repair`,
    health.rttMs === null ? '' : `round trip ${formatMs(health.rttMs)}`,
    health.jitterMs === null ? '' : `jitter ${formatMs(health.jitterMs)}`,
  ];
  return { title: GRADES[grade(health)], text: figures.filter(Boolean).join(' · ') };
}

/** Why a camera, a screen or a file could not be had. */
export function captureWords(name: string, message: string, what: 'camera' | 'screen'): Words {
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return what === 'screen'
        ? {
            title: 'No screen was chosen',
            text: 'Choose a screen, a window or a tab when the browser asks.',
          }
        : {
            title: 'The browser gives no camera',
            text: 'It, or the system, does not allow it for this page. The symbol beside the address changes that.',
          };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return {
        title: 'No camera or microphone was found',
        text: 'Plug one in, or send a screen or a file instead.',
      };
    case 'NotReadableError':
    case 'AbortError':
      return {
        title: 'The camera or the microphone cannot be used',
        text: 'Another program may hold it. Close that one and try again.',
      };
    default:
      return { title: 'That did not work', text: message };
  }
}

/** `0:07`, `12:34`, `1:02:03`. */
export function formatElapsed(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const two = (value: number) => String(value).padStart(2, '0');
  const [h, m, s] = [
    Math.floor(seconds / 3_600),
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ] as const;
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
