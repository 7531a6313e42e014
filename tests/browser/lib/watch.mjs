// Opens a watch page as a viewer would and tells what was seen and heard. Used by watch.mjs and
// join.mjs, and by whoever wants several viewers in one browser.

import * as chromium from './chromium.mjs';
import * as firefox from './firefox.mjs';
import { serveForeign } from './foreign.mjs';
import { probeScript } from './probe.mjs';
import { summariseFrames, summariseSound } from './summary.mjs';

/** The browsers, by name. */
const BROWSERS = { chromium, firefox };

/** How long to wait for a first picture before giving up, in milliseconds. */
const FIRST_PICTURE_MS = 30_000;

/**
 * Runs in the page: of a server's candidates only those with `word` among their words get through to
 * the browser, as if its network blocked the rest.
 */
function keepCandidates(word) {
  const { prototype } = RTCPeerConnection;
  const original = prototype.setRemoteDescription;
  prototype.setRemoteDescription = function (description) {
    const blocked = (line) => line.startsWith('a=candidate:') && !line.split(' ').includes(word);
    const lines = description.sdp.split('\r\n').filter((line) => !blocked(line));
    return original.call(this, { type: description.type, sdp: lines.join('\r\n') });
  };
}

/** Opens `url` in a page of its own, with the probe in place. Closing is up to `close()`. */
export async function openViewer(
  browser,
  url,
  { width = 1280, height = 720, candidates = null } = {},
) {
  // A context of its own: nothing is cached, as for somebody who comes for the first time.
  const context = await browser.newContext({ viewport: { width, height } });
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(`page: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(`console: ${message.text()}`);
  });
  page.on('requestfailed', (request) => {
    errors.push(`request: ${request.url()} ${request.failure()?.errorText ?? ''}`);
  });
  await page.addInitScript({ content: probeScript() });
  if (candidates) await page.addInitScript(keepCandidates, candidates);
  await page.goto(url, { waitUntil: 'commit' });

  return {
    page,
    errors,
    /** Waits for the first picture; the times are milliseconds since navigation began. */
    async firstPicture(timeout = FIRST_PICTURE_MS) {
      const handle = await page.waitForFunction(
        () => {
          const { frames, first } = window.__soleilProbe;
          const read = first();
          return read && { first_picture_ms: frames[0].at, first_read_ms: read.at };
        },
        null,
        { timeout, polling: 50 },
      );
      const times = await handle.jsonValue();
      return Object.fromEntries(Object.entries(times).map(([k, v]) => [k, Math.round(v)]));
    },
    /** Clicks Unmute, as a person does, and listens to what then plays. */
    async unmute() {
      await page.click('[data-action="unmute"]', { timeout: 5_000 });
      await page.waitForFunction(() => !document.querySelector('video').muted, null, {
        timeout: 5_000,
      });
      await page.evaluate(() => window.__soleilProbe.listen());
    },
    /** What was noted so far. */
    notes() {
      return page.evaluate(() => {
        const { decoded, onsets, errors, soundPeak, reader, ear, readMs } = window.__soleilProbe;
        const frames = window.__soleilProbe.shown();
        return { frames, decoded, onsets, errors, soundPeak, reader, ear, readMs };
      });
    },
    /** What WebRTC itself says, through the page's documented hook. */
    connection() {
      return page.evaluate(async () => {
        const hook = window.soleil;
        const peer = hook?.peerConnection;
        if (!peer) return null;
        const entries = [...(await peer.getStats()).values()];
        const find = (type, kind) =>
          entries.find((e) => e.type === type && (!kind || e.kind === kind)) ?? {};
        const codec = (track) =>
          entries.find((e) => e.id === track.codecId && e.type === 'codec')?.mimeType ?? null;
        const video = find('inbound-rtp', 'video');
        const audio = find('inbound-rtp', 'audio');
        const playout = find('media-playout');
        const byId = (id) => entries.find((e) => e.id === id) ?? {};
        const pair = byId(find('transport').selectedCandidatePairId);
        const remote = byId(pair.remoteCandidateId);
        return {
          srtpCipher: find('transport').srtpCipher ?? null,
          dtls: find('transport').tlsVersion ?? null,
          video_codec: codec(video),
          audio_codec: codec(audio),
          frames_decoded: video.framesDecoded ?? null,
          frames_dropped: video.framesDropped ?? null,
          key_frames: video.keyFramesDecoded ?? null,
          video_lost: video.packetsLost ?? null,
          audio_lost: audio.packetsLost ?? null,
          retransmitted: video.retransmittedPacketsReceived ?? null,
          nacks: video.nackCount ?? null,
          plis: video.pliCount ?? null,
          remote: remote.protocol ? `${remote.protocol} ${remote.address}:${remote.port}` : null,
          // What the sound waits for after the jitter buffer, as the browser reckons.
          playout_ms: playout.totalSamplesCount
            ? (playout.totalPlayoutDelay * 1000) / playout.totalSamplesCount
            : null,
          concealed_samples: audio.concealedSamples ?? null,
          decoder: video.decoderImplementation ?? null,
          location: hook.location ?? null,
          page_phase: hook.phase,
          page_delay: hook.delay,
          page_figures: hook.figures,
        };
      });
    },
    async close() {
      await context.close();
    },
  };
}

/**
 * Watches `url` for `seconds` and resolves with what was seen. With `foreign`, `url` is a WHEP address
 * and the page that plays it is the one of foreign.mjs. The first `settle` seconds after the
 * first picture are not judged (sound is switched on in them).
 */
export async function watch(url, options = {}) {
  const [seen] = await watchAll([url], options);
  return seen;
}

/** Watches several addresses at the same time, each in a page of its own of one browser. */
export async function watchAll(urls, { browser: name = 'chromium', ...options } = {}) {
  const browser = await BROWSERS[name].launch();
  try {
    return await Promise.all(urls.map((url) => look(browser, url, options)));
  } finally {
    await browser.close();
  }
}

async function look(
  browser,
  url,
  { seconds = 20, settle = 2, sound = true, screenshot = null, foreign = false, ...size },
) {
  const page = foreign ? await serveForeign(url) : { url, stop: () => {} };
  try {
    const viewer = await openViewer(browser, page.url, size);
    let times;
    try {
      times = await viewer.firstPicture();
    } catch (error) {
      const phase = await viewer.page.evaluate(() => window.soleil?.phase ?? null);
      const status = await viewer.page
        .locator('[role=status]')
        .first()
        .textContent({ timeout: 1_000 })
        .catch(() => null);
      return {
        url,
        ok: false,
        reason: error.message.split('\n')[0],
        phase,
        status,
        errors: viewer.errors,
      };
    }
    if (sound)
      await viewer.unmute().catch((error) => viewer.errors.push(`unmute: ${error.message}`));
    const location = await viewer.page.evaluate(() => window.soleil?.location ?? null);
    const opened = await viewer.page.evaluate(() => performance.now());
    const from = Math.max(opened, times.first_picture_ms + settle * 1_000);
    await viewer.page.waitForFunction((end) => performance.now() >= end, from + seconds * 1_000, {
      timeout: (settle + seconds + 30) * 1_000,
      polling: 100,
    });
    const notes = await viewer.notes();
    const connection = await viewer.connection();
    if (screenshot) await viewer.page.screenshot({ path: screenshot });
    if (foreign) await viewer.page.evaluate(() => window.leave());
    await viewer.close();
    const to = from + seconds * 1_000;
    const frames = notes.frames.filter((f) => f.at >= from - 1_000 && f.at <= to + 1_000);
    const onsets = notes.onsets.filter((o) => o.at >= from && o.at <= to);
    return {
      url,
      ok: true,
      seconds,
      location,
      ...times,
      ...summariseFrames(notes.frames, from, to, notes.decoded),
      sound: summariseSound(
        onsets,
        frames,
        notes.soundPeak,
        notes.ear === 'track' ? (connection?.playout_ms ?? 0) : 0,
      ),
      connection,
      probe: {
        reader: notes.reader,
        ear: notes.ear,
        read_ms_per_frame: Math.round((notes.readMs / notes.frames.length) * 100) / 100,
        errors: notes.errors.slice(0, 10),
      },
      errors: viewer.errors,
    };
  } finally {
    page.stop();
  }
}

/** Opens the page `joins` times, each as a newcomer, and resolves with the times to a picture. */
export async function join(url, { joins = 10, timeout = FIRST_PICTURE_MS, ...size } = {}) {
  const browser = await chromium.launch();
  try {
    const times = [];
    const errors = [];
    for (let i = 0; i < joins; i += 1) {
      const viewer = await openViewer(browser, url, size);
      try {
        times.push((await viewer.firstPicture(timeout)).first_read_ms);
      } catch {
        times.push(null);
      }
      errors.push(...viewer.errors);
      await viewer.close();
    }
    const sorted = times.filter((t) => t !== null).sort((a, b) => a - b);
    return {
      url,
      ok: sorted.length === joins,
      joins,
      times_ms: times,
      median_ms: sorted[Math.floor(sorted.length / 2)] ?? null,
      max_ms: sorted.at(-1) ?? null,
      errors,
    };
  } finally {
    await browser.close();
  }
}
