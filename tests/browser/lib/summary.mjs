// From what the probe noted to what a viewer saw. Pure: lists in, one flat object out.

/** The value below which the given part of the sorted list lies (nearest rank). */
function quantile(sorted, part) {
  if (sorted.length === 0) return null;
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(part * sorted.length) - 1))];
}

const round = (value) =>
  value === null || value === undefined ? null : Math.round(value * 10) / 10;
const ascending = (list) => [...list].sort((a, b) => a - b);

function spreadOf(list) {
  const sorted = ascending(list);
  return {
    p50: round(quantile(sorted, 0.5)),
    p95: round(quantile(sorted, 0.95)),
    p99: round(quantile(sorted, 0.99)),
    max: round(sorted.at(-1) ?? null),
  };
}

/** Consecutive numbers as `[first, last]` pairs. */
function runs(numbers) {
  const list = [];
  for (const n of ascending(numbers)) {
    const last = list.at(-1);
    if (last && last[1] === n - 1) last[1] = n;
    else list.push([n, n]);
  }
  return list;
}

/**
 * Judges the frames shown from `from` to `to` (page's performance clock, ms). A frame is noticed if the
 * browser reported its display and its block row could be read. The browser counts every frame that it
 * presents, but reports only the latest where several were presented between two turns of the page's
 * thread; where that count and the decoded frames agree on which those were, they are taken as shown
 * too (`unreported`), but say nothing about delays and freezes.
 */
export function summariseFrames(all, from, to, decoded = []) {
  const shown = all.filter((f) => f.at >= from && f.at <= to);
  const read = shown.filter((f) => f.frame !== null);
  const noticed = new Set();
  const fresh = []; // each frame number when it was first shown
  let repeated = 0;
  let backwards = 0;
  let highest = -1;
  for (const note of read) {
    if (noticed.has(note.frame)) repeated += 1;
    else {
      if (note.frame < highest) backwards += 1;
      noticed.add(note.frame);
      fresh.push(note);
    }
    highest = Math.max(highest, note.frame);
  }
  const known = new Set(decoded.map((d) => d.frame).filter((n) => n !== null));
  const unreported = new Set();
  for (let i = 1; i < shown.length; i += 1) {
    const [a, b] = [shown[i - 1], shown[i]];
    const count = b.presented - a.presented - 1;
    if (count < 1 || a.frame === null || b.frame === null) continue;
    const between = [];
    for (let n = a.frame + 1; n < b.frame && between.length <= count; n += 1) {
      if (known.has(n)) between.push(n);
    }
    if (between.length === count) for (const n of between) unreported.add(n);
  }
  const numbers = ascending(noticed);
  const first = numbers[0] ?? null;
  const last = numbers.at(-1) ?? null;
  const expected = first === null ? 0 : last - first + 1;
  const missing = [];
  for (let n = first ?? 0; first !== null && n <= last; n += 1) {
    if (!noticed.has(n) && !unreported.has(n)) missing.push(n);
  }
  const part = (count) => (expected ? Math.round((count * 10_000) / expected) / 10_000 : 0);

  let freeze = 0;
  let freezeAt = null;
  const edges = fresh.length ? [from, ...fresh.map((f) => f.at), to] : [from, to];
  for (let i = 1; i < edges.length; i += 1) {
    const gap = edges[i] - edges[i - 1];
    if (gap > freeze) [freeze, freezeAt] = [gap, edges[i - 1]];
  }
  const size = shown.at(-1);
  return {
    frames: {
      first,
      last,
      expected,
      seen: expected - missing.length,
      fraction: part(expected - missing.length),
      noticed: noticed.size,
      noticed_fraction: part(noticed.size),
      unreported: unreported.size,
      decoded: [...known].filter((n) => first !== null && n >= first && n <= last).length,
      missed: missing.length,
      missed_runs: runs(missing).slice(0, 50),
      repeated,
      backwards,
      unreadable: shown.length - read.length,
    },
    freeze_ms: round(freeze),
    freeze_at_ms: round(freezeAt),
    delay_ms: spreadOf(fresh.map((f) => f.wall - f.time)),
    resolution: size ? `${size.width}x${size.height}` : null,
  };
}

/**
 * Sound against picture. The tone starts at each whole second of the wall clock that also stamps the
 * frames: the age of an onset when it is heard, less the age of the frames shown around it. Positive:
 * the sound comes late. `playout` is what lies between the onset's noted time and the loudspeaker.
 */
export function summariseSound(onsets, frames, soundPeak, playout = 0) {
  const offsets = [];
  for (const onset of onsets) {
    const near = frames.filter((f) => f.frame !== null && Math.abs(f.at - onset.at) < 500);
    if (near.length === 0) continue;
    const pictureAge = quantile(ascending(near.map((f) => f.expected - f.time)), 0.5);
    // Which second's tone it was: the one that leaves the smallest offset.
    const offset = (((onset.wall + playout - pictureAge) % 1_000) + 1_000) % 1_000;
    offsets.push(offset > 500 ? offset - 1_000 : offset);
  }
  const sorted = ascending(offsets);
  return {
    present: onsets.length > 0,
    onsets: onsets.length,
    peak: Math.round(soundPeak * 1_000) / 1_000,
    playout_ms: round(playout),
    av_offset_ms: round(quantile(sorted, 0.5)),
    av_offset_worst_ms: round(
      sorted.reduce((worst, o) => (Math.abs(o) > Math.abs(worst) ? o : worst), 0),
    ),
  };
}
