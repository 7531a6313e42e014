// The list of streams as the root's API gives it. Read leniently: the page should outlive additions
// and omissions in the API.

/** A stream on the index page. */
export interface Stream {
  name: string;
  live: boolean;
  viewers: number | null;
  /** Codec names, for example `H264`, `opus`. */
  codecs: string[];
}

/** More than this are not drawn; an API that sends more needs paging first. */
export const STREAMS_MAX = 500;

/** Reads the body of `GET /api/v1/streams`: an array, or an object with one in `streams`. */
export function parseStreams(body: unknown): Stream[] {
  const list = Array.isArray(body) ? body : (body as { streams?: unknown } | null)?.streams;
  if (!Array.isArray(list)) return [];
  const streams: Stream[] = [];
  for (const entry of list.slice(0, STREAMS_MAX) as unknown[]) {
    if (typeof entry !== 'object' || entry === null) continue;
    const { name, live, viewers, tracks } = entry as Record<string, unknown>;
    if (typeof name !== 'string' || name === '') continue;
    const codecs = (Array.isArray(tracks) ? (tracks as unknown[]) : [])
      .map((track) => (track as { codec?: unknown } | null)?.codec)
      .filter((codec): codec is string => typeof codec === 'string');
    streams.push({
      name,
      live: live === true,
      viewers: typeof viewers === 'number' && viewers >= 0 ? viewers : null,
      codecs: [...new Set(codecs)],
    });
  }
  return streams.sort((a, b) => Number(b.live) - Number(a.live) || a.name.localeCompare(b.name));
}

/** The page on which a stream is watched. */
export const watchPath = (name: string) => `/watch/${encodeURIComponent(name)}`;

/** The stream's name in the address `/watch/{stream}`, or null. */
export function streamOfPath(path: string): string | null {
  const part = /^\/watch\/([^/]+)\/?$/.exec(path)?.[1];
  if (part === undefined) return null;
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}
