// What the watch page's address may ask for, for pages that embed it.

/** How the watch page looks and starts. */
export interface WatchOptions {
  /** `?embed=1`: only the picture, without the page around it. */
  embed: boolean;
  /** `?controls=0`: no control bar (keys and the unmute button stay). */
  controls: boolean;
  /** `?muted=0`: try with sound first; browsers refuse it without a gesture, then it is muted. */
  muted: boolean;
  /** `?stats=1`: the statistics are open from the start. */
  stats: boolean;
}

/** Reads the query part of an address. */
export function parseOptions(query: string): WatchOptions {
  const params = new URLSearchParams(query);
  const flag = (name: string, otherwise: boolean) => {
    const value = params.get(name)?.toLowerCase();
    if (value === undefined) return otherwise;
    return !['0', 'false', 'no', 'off'].includes(value);
  };
  return {
    embed: flag('embed', false),
    controls: flag('controls', true),
    muted: flag('muted', true),
    stats: flag('stats', false),
  };
}
