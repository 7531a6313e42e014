// What the page's address says: which stream, and perhaps its publish token. The token may stand in the
// fragment only, which browsers send to nobody, and it is taken out of the address at once, so that it
// stays neither in the history nor on a screen that is shown.

/** What an address says. */
export interface Address {
  stream: string | null;
  token: string | null;
  /** A token stood in the query: servers and their logs have seen it. It is not used. */
  leaked: boolean;
  /** The address without any token, to be put in its place. */
  clean: string;
}

/** Reads `/broadcast?stream=NAME#token=TOKEN`. */
export function readAddress(href: string): Address {
  const url = new URL(href);
  const fragment = new URLSearchParams(url.hash.slice(1));
  const token = fragment.get('token')?.trim();
  const leaked = url.searchParams.has('token');
  url.searchParams.delete('token');
  return {
    stream: url.searchParams.get('stream')?.trim() || null,
    token: token || null,
    leaked,
    clean: `${url.pathname}${url.search}`,
  };
}

/** The page's address for a stream. */
export const broadcastPath = (stream: string | null) =>
  stream === null ? '/broadcast' : `/broadcast?stream=${encodeURIComponent(stream)}`;

/** What of `sessionStorage` is used. */
export type Memory = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

const key = (stream: string) => `soleil.publish.${stream}`;

/** The tokens that somebody wanted kept, for as long as the tab lives. */
export class TokenMemory {
  /** `memory` is null where the browser has none to give (it may refuse). */
  constructor(private readonly memory: Memory | null) {}

  /** The token of a stream, or null. */
  recall(stream: string): string | null {
    try {
      return this.memory?.getItem(key(stream)) ?? null;
    } catch {
      return null;
    }
  }

  /** Keeps it; false if the browser would not. */
  keep(stream: string, token: string): boolean {
    try {
      this.memory?.setItem(key(stream), token);
      return this.memory !== null;
    } catch {
      return false;
    }
  }

  /** Forgets it. */
  forget(stream: string): void {
    try {
      this.memory?.removeItem(key(stream));
    } catch {
      // Nothing was kept, then.
    }
  }
}
