// What the watch page says in each phase. One place, so that the tone stays one.

import type { PlayerView } from './core';
import type { Delay } from './delay';

/** The words for a phase. */
export interface Words {
  title: string;
  text: string;
  /** Whether something is under way (the sun turns). */
  busy: boolean;
  /** Whether to offer the way back to the list. */
  home: boolean;
  /** Whether to offer trying at once. */
  retry: boolean;
}

/** What is known of why there is no picture; no more than that. */
function cause(view: PlayerView): string {
  switch (view.failure?.kind) {
    case 'network':
      return 'The server does not answer.';
    case 'trouble':
      return 'The server has trouble.';
    default:
      return 'No picture comes through at the moment.';
  }
}

/** Whether a small note over the frozen picture will do: it may move again in a moment. */
export function isNote(view: PlayerView): boolean {
  return view.phase === 'reconnecting' && view.everPlayed && view.attempt < 4;
}

/** Whether the last picture stands still under the words, and is worth being seen: it is off air. */
export function isStill(view: PlayerView): boolean {
  return view.phase === 'waiting' && view.everPlayed;
}

/** What is said aloud of them, as one sentence or two. */
export function spoken({ title, text }: Words): string {
  return text ? `${title}${title.endsWith('…') ? '' : '.'} ${text}` : title;
}

/** The words for what the player does now; `offline` is the browser's opinion of the network. */
export function wordsFor(view: PlayerView, stream: string, offline: boolean): Words {
  const detail = view.failure?.detail ?? '';
  switch (view.phase) {
    case 'connecting':
      return { title: 'Connecting…', text: '', busy: true, home: false, retry: false };
    case 'playing':
      return { title: 'Live', text: '', busy: false, home: false, retry: false };
    case 'waiting':
      // Whether it is over or only pauses, the server cannot tell either.
      return {
        title: view.everPlayed ? 'The broadcast has stopped' : 'Not on air yet',
        text: view.everPlayed
          ? `“${stream}” has ended or pauses. It goes on here by itself when it is back.`
          : `“${stream}” will start here by itself as soon as it is on air.`,
        busy: true,
        home: true,
        retry: false,
      };
    case 'busy':
      // No place, or no server that gives one: the reason is the server's, the outcome the same.
      return {
        title: 'Nobody can be let in at the moment',
        text: 'You are let in as soon as that changes; nothing to do for you.',
        busy: true,
        home: false,
        retry: true,
      };
    case 'unknown':
      return {
        title: 'No such stream',
        text: `There is no stream called “${stream}”. Perhaps the address has a typing error, or the stream was removed.`,
        busy: false,
        home: true,
        retry: true,
      };
    case 'refused':
      return view.failure?.kind === 'forbidden'
        ? {
            title: 'Not for everyone',
            text: detail || 'You may not watch this stream.',
            busy: false,
            home: true,
            retry: true,
          }
        : {
            title: 'This browser cannot play it',
            text: detail || 'The stream’s format and what this browser plays do not go together.',
            busy: false,
            home: true,
            retry: true,
          };
    case 'reconnecting':
      return {
        title: view.everPlayed ? 'Reconnecting…' : 'No picture yet',
        text: offline
          ? 'Your device seems to be offline.'
          : view.attempt > 1
            ? `${cause(view)} It is tried again and again; nothing to do for you.`
            : '',
        busy: true,
        home: false,
        retry: view.attempt > 1,
      };
    case 'stopped':
      return { title: 'Paused', text: '', busy: false, home: false, retry: false };
  }
}

/**
 * What a delay is. The root's packets carry the broadcaster's time of capture if it sends Sender
 * Reports, else the time of their arrival at the root; they do not tell which of the two it is.
 */
export const DELAY_WORDS: Record<Delay['source'], string> = {
  capture: 'since capture if the broadcaster tells it, else since the server got it',
  reports: 'as the browser reckons from the server’s reports',
  estimate: 'of the last hop only, estimated',
};
