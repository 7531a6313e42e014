// Numbers as people read them.

/** `180 ms`, `1.2 s`. */
export function formatDelay(ms: number): string {
  return ms < 995 ? `${Math.round(ms / 10) * 10} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

/** `850 kb/s`, `2.4 Mb/s`. */
export function formatBitrate(bitsPerSecond: number): string {
  return bitsPerSecond < 999_500
    ? `${Math.round(bitsPerSecond / 1_000)} kb/s`
    : `${(bitsPerSecond / 1_000_000).toFixed(1)} Mb/s`;
}

/** `0 %`, `0.4 %`, `12 %`. */
export function formatPercent(percent: number): string {
  return percent === 0 || percent >= 9.95 ? `${Math.round(percent)} %` : `${percent.toFixed(1)} %`;
}

/** `12 ms`. */
export function formatMs(ms: number): string {
  return `${ms < 9.5 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** `1 viewer`, `1,280 viewers`. */
export function formatViewers(count: number): string {
  return `${count.toLocaleString('en')} ${count === 1 ? 'viewer' : 'viewers'}`;
}

/** Keeps numbers and their units on one line. */
export const together = (text: string) => text.replace(/(\d) (?=\S)/g, '$1\u00a0');
