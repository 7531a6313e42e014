// The built pages in Chromium against the fake tree: what people are told in each state, that the
// page finds back by itself, keys, leaving, small screens. Needs web/dist (`npm run build` in web/).

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { launch } from './lib/chromium.mjs';
import { startFakeTree } from './lib/fake-tree.mjs';
import { openViewer } from './lib/watch.mjs';

let tree;
let browser;
let viewers;

before(async () => {
  tree = await startFakeTree({ width: 640, height: 360, fps: 15 });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await tree?.stop();
});
beforeEach(() => {
  viewers = [];
  tree.state.live = true;
});
afterEach(async () => {
  for (const viewer of viewers) await viewer.close();
});

async function open(path, options) {
  const viewer = await openViewer(browser, tree.url + path, options);
  viewers.push(viewer);
  return viewer;
}

const phase = (viewer, wanted, timeout = 15_000) =>
  viewer.page.waitForFunction((p) => window.soleil?.phase === p, wanted, { timeout, polling: 50 });
const location = (viewer) => viewer.page.evaluate(() => window.soleil.location);
const status = (viewer) => viewer.page.locator('[role=status]').textContent();
/** Waits until `check` holds. */
async function until(check, what) {
  const deadline = Date.now() + 10_000;
  while (!check()) {
    if (Date.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('plays, muted first, and tells its figures', async () => {
  const viewer = await open('/watch/demo');
  await viewer.firstPicture();
  await phase(viewer, 'playing');
  assert.equal(await viewer.page.title(), 'demo · live · Soleil');
  const muted = () => viewer.page.evaluate(() => document.querySelector('video').muted);
  assert.equal(await muted(), true);
  await viewer.unmute();
  assert.equal(await muted(), false);
  assert.equal(await viewer.page.locator('[data-action=unmute]').count(), 0);
  await viewer.page.waitForFunction(
    () =>
      /^\d+ ms$/.test(document.querySelector('[data-figure=delay]').textContent.trim()) &&
      /^\d+ × \d+$/.test(document.querySelector('[data-figure=picture]').textContent.trim()) &&
      /b\/s/.test(document.querySelector('[data-figure=bitrate]').textContent) &&
      /%/.test(document.querySelector('[data-figure=loss]').textContent),
    null,
    { timeout: 10_000 },
  );
  assert.equal(await status(viewer), 'Live');
  assert.deepEqual(viewer.errors, []);
});

test('the delay that it tells is the true one', async () => {
  const viewer = await open('/watch/demo');
  await phase(viewer, 'playing');
  await viewer.page.waitForFunction(
    () => window.soleil.delay?.source === 'capture' && window.__soleilProbe.frames.length > 60,
    null,
    { timeout: 15_000 },
  );
  const told = await viewer.page.evaluate(() => window.soleil.delay.ms);
  const { frames } = await viewer.notes();
  const ages = frames
    .slice(-45)
    .filter((f) => f.frame !== null)
    .map((f) => f.expected - f.time)
    .sort((a, b) => a - b);
  const seen = ages[Math.floor(ages.length / 2)];
  assert.ok(Math.abs(told - seen) < 40, `told ${told}, seen ${seen}`);
});

test('asks for stereo and for capture times', async () => {
  const viewer = await open('/watch/demo');
  await phase(viewer, 'playing');
  const sdp = await viewer.page.evaluate(() => window.soleil.peerConnection.localDescription.sdp);
  assert.match(sdp, /a=fmtp:111 [^\r\n]*;stereo=1/);
  assert.match(sdp, /abs-capture-time/);
});

test('an unknown stream: says so and shows the way back', async () => {
  const viewer = await open('/watch/nothing');
  await phase(viewer, 'unknown');
  assert.match(await status(viewer), /^No such stream/);
  await viewer.page.click('text=All streams');
  await viewer.page.waitForURL(`${tree.url}/`);
});

test('waits for a stream that is not on air, and starts by itself', async () => {
  tree.state.live = false;
  const viewer = await open('/watch/demo');
  await phase(viewer, 'waiting');
  assert.match(await status(viewer), /^Not on air yet/);
  tree.state.live = true;
  await phase(viewer, 'playing');
});

test('no room, and no codec in common', async () => {
  const busy = await open('/watch/busy');
  await phase(busy, 'busy');
  assert.match(await status(busy), /^Nobody can be let in at the moment/);
  const foreign = await open('/watch/foreign');
  await phase(foreign, 'refused');
  assert.match(await status(foreign), /No codec in common/);
});

test('a server in trouble is tried again', async () => {
  const viewer = await open('/watch/broken', { width: 390, height: 844 });
  await phase(viewer, 'reconnecting');
  const button = viewer.page.locator('button', { hasText: 'Try now' });
  await button.waitFor({ timeout: 10_000 });
  const box = await button.boundingBox();
  const frame = await viewer.page.locator('[role=group]').boundingBox();
  assert.ok(box.y + box.height <= frame.y + frame.height, 'the button is not cut off');
  assert.match(await status(viewer), /^No picture yet\. The server has trouble/);
});

test('says that it plays only once there is a picture to be seen', async () => {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    // Frames are decoded, but none has come to the element, and no callback tells of any.
    await page.addInitScript(() => {
      const { prototype } = HTMLVideoElement;
      delete prototype.requestVideoFrameCallback;
      const { get } = Object.getOwnPropertyDescriptor(prototype, 'videoWidth');
      window.blind = true;
      Object.defineProperty(prototype, 'videoWidth', {
        get() {
          return window.blind ? 0 : get.call(this);
        },
      });
    });
    await page.goto(`${tree.url}/watch/demo`);
    const decoded = () =>
      page.evaluate(async () => {
        const report = (await window.soleil?.peerConnection?.getStats()) ?? new Map();
        return [...report.values()].some((entry) => entry.framesDecoded > 5);
      });
    const deadline = Date.now() + 10_000;
    while (!(await decoded())) assert.ok(Date.now() < deadline, 'frames are decoded');
    assert.equal(await page.evaluate(() => window.soleil.phase), 'connecting');
    await page.evaluate(() => (window.blind = false));
    await phase({ page }, 'playing');
  } finally {
    await context.close();
  }
});

test('a source that pauses is waited for on the same session', async () => {
  const viewer = await open('/watch/demo');
  await phase(viewer, 'playing');
  const before = await location(viewer);
  tree.state.live = false;
  await tree.source.freeze(true);
  try {
    const said = await viewer.page.waitForFunction(() => {
      window.said ??= new Set();
      window.said.add(document.querySelector('[role=status]').textContent);
      return window.soleil.phase === 'waiting' && [...window.said];
    });
    assert.ok(!(await said.jsonValue()).some((s) => /not answer/.test(s)), 'the server answers');
    assert.match(await status(viewer), /^The broadcast has stopped/);
    const still = viewer.page.getByLabel('Last picture of demo');
    assert.ok(await still.evaluate((video) => video.videoWidth > 0), 'a picture under the words');
  } finally {
    await tree.source.freeze(false);
  }
  await phase(viewer, 'playing');
  assert.equal(await location(viewer), before);
});

test('a lost session is replaced, and the old one deleted', async () => {
  const viewer = await open('/watch/demo');
  await phase(viewer, 'playing');
  const old = await location(viewer);
  await tree.source.close(old.split('/').pop());
  await viewer.page.waitForFunction(
    (before) =>
      window.soleil.phase === 'playing' &&
      window.soleil.location !== null &&
      window.soleil.location !== before,
    old,
    { timeout: 20_000, polling: 100 },
  );
  await until(
    () => tree.state.deletes.includes(new URL(old).pathname),
    'the old session is deleted',
  );
});

test('a goodbye is followed at once, and the old picture stays until the new one is there', async () => {
  const viewer = await open('/watch/demo');
  await phase(viewer, 'playing');
  const old = await location(viewer);
  const posts = tree.state.posts;
  await viewer.page.evaluate((before) => {
    const video = document.querySelector('video');
    window.dark = 0;
    setInterval(() => {
      if (window.soleil.location === before && video.readyState < 2) window.dark += 1;
    }, 10);
  }, old);
  const began = performance.now();
  await tree.source.close(old.split('/').pop());
  await until(() => tree.state.posts > posts, 'a new offer');
  const took = performance.now() - began;
  assert.ok(took < 2_000, `a new offer after ${Math.round(took)} ms`);
  await viewer.page.waitForFunction(
    (before) => window.soleil.phase === 'playing' && window.soleil.location !== before,
    old,
    { timeout: 10_000, polling: 50 },
  );
  assert.equal(await viewer.page.evaluate(() => window.dark), 0, 'the old picture stays');
});

test('a server that is gone without a word is noticed by the picture that stalls', async () => {
  const doomed = await startFakeTree({ width: 320, height: 180, fps: 15 });
  try {
    const viewer = await openViewer(browser, `${doomed.url}/watch/demo`);
    viewers.push(viewer);
    await phase(viewer, 'playing');
    const began = performance.now();
    await doomed.source.kill();
    await until(() => doomed.state.posts > 1, 'a new offer');
    const took = performance.now() - began;
    assert.ok(took > 1_500, `a new offer after ${Math.round(took)} ms`);
    const state = () =>
      viewer.page.evaluate(() => window.soleil.peerConnection.getReceivers()[0].transport.state);
    assert.equal(await state(), 'connected');
    assert.equal(await viewer.page.evaluate(() => window.soleil.phase), 'reconnecting');
  } finally {
    await doomed.stop();
  }
});

test('leaving ends the session', async () => {
  const viewer = await open('/watch/demo');
  await phase(viewer, 'playing');
  const session = new URL(await location(viewer)).pathname;
  await viewer.page.goto(`${tree.url}/`);
  await until(() => tree.state.deletes.includes(session), 'the session is deleted');
});

test('keys: m, space, s, f', async () => {
  const viewer = await open('/watch/demo');
  await phase(viewer, 'playing');
  const video = (key) => viewer.page.evaluate((k) => document.querySelector('video')[k], key);
  const { keyboard } = viewer.page;
  // Letters: only in the player.
  await keyboard.press('m');
  assert.equal(await video('muted'), true);
  await viewer.page.mouse.move(500, 250);
  await keyboard.press('m');
  assert.equal(await video('muted'), false);
  await keyboard.press('m');
  assert.equal(await video('muted'), true);
  await keyboard.press(' ');
  assert.equal(await video('paused'), true);
  assert.equal(await status(viewer), 'Paused');
  await keyboard.press(' ');
  await viewer.page.waitForFunction(() => !document.querySelector('video').paused);
  await keyboard.press('s');
  await viewer.page.locator('section[aria-label=Statistics]').waitFor({ timeout: 2_000 });
  await keyboard.press('f');
  await viewer.page.waitForFunction(() => document.fullscreenElement !== null);
  await keyboard.press('f');
  await viewer.page.waitForFunction(() => document.fullscreenElement === null);
});

test('the focus has a place when what had it goes away', async () => {
  const viewer = await open('/watch/demo');
  const { page } = viewer;
  const focused = () =>
    page.evaluate(() => document.activeElement.dataset.control ?? document.activeElement.ariaLabel);
  const panel = page.locator('section[aria-label=Statistics]');
  await page.locator('[data-action=unmute]').press('Enter');
  await page.locator('[data-action=unmute]').waitFor({ state: 'detached' });
  assert.equal(await focused(), 'mute');
  await page.keyboard.press('s'); // the focus is in the player
  await panel.locator('button').press('Enter');
  await panel.waitFor({ state: 'detached' });
  assert.equal(await focused(), 'stats');
  await page.keyboard.press('Enter');
  await panel.locator('button').press('Escape');
  await panel.waitFor({ state: 'detached' });
  assert.equal(await focused(), 'stats');
  await page.keyboard.press('Enter');
  await page.locator('[data-control=pause]').press('Escape');
  await panel.waitFor({ state: 'detached' });
  assert.equal(await focused(), 'pause');

  const bare = await open('/watch/demo?controls=0');
  await bare.page.locator('[data-action=unmute]').press('Enter');
  await bare.page.locator('[data-action=unmute]').waitFor({ state: 'detached' });
  assert.equal(await bare.page.evaluate(() => document.activeElement.ariaLabel), 'Player');
  await bare.page.keyboard.press('m');
  await bare.page.locator('[data-action=unmute]').waitFor();
});

test('text and focus rings can be told from their ground, in light and in dark', async () => {
  const viewer = await open('/watch/demo');
  await phase(viewer, 'playing');
  const { page } = viewer;
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.locator('header a').focus();
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Tab');
    const ratios = await page.evaluate(() => {
      const light = (colour) => {
        const [r, g, b] = colour.match(/[\d.]+/g).map((v) => {
          const c = v / 255;
          return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      const against = (colour) => {
        const [low, high] = [light(colour), paper].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
      };
      const link = getComputedStyle(document.querySelector('header a'));
      return {
        live: against(getComputedStyle(document.querySelector('p.live')).color),
        figure: against(getComputedStyle(document.querySelector('dt')).color),
        shown: link.outlineStyle,
        ring: against(link.outlineColor),
      };
    });
    assert.equal(ratios.shown, 'solid');
    assert.ok(ratios.live >= 4.5, `${colorScheme}: Live ${ratios.live}`);
    assert.ok(ratios.figure >= 4.5, `${colorScheme}: figures ${ratios.figure}`);
    assert.ok(ratios.ring >= 3, `${colorScheme}: ring ${ratios.ring}`);
  }
});

test('needs no inline scripts or styles', async () => {
  for (const path of ['/', '/watch/demo?stats=1', '/watch/nothing', '/watch/busy']) {
    const viewer = await open(path);
    const policy = await viewer.page.evaluate(async () =>
      (await fetch(location.href)).headers.get('content-security-policy'),
    );
    assert.match(policy, /script-src 'self'; style-src 'self';/);
    if (path.startsWith('/watch/demo')) {
      await viewer.page.locator('section[aria-label=Statistics] dt').first().waitFor();
    } else await viewer.page.locator('h1:visible, h2:visible').first().waitFor();
    assert.deepEqual(
      viewer.errors.filter((e) => /Content Security Policy/i.test(e)),
      [],
      path,
    );
  }
});

test('every control has a name', async () => {
  const viewer = await open('/watch/demo?stats=1');
  await phase(viewer, 'playing');
  await viewer.page.locator('[data-action=unmute]').waitFor();
  const nameless = await viewer.page.evaluate(() =>
    [...document.querySelectorAll('button, a, input, video')]
      .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim()))
      .map((e) => e.outerHTML),
  );
  assert.deepEqual(nameless, []);
});

test('fits on small screens, and keeps fingers in mind', async () => {
  for (const [width, height] of [
    [320, 568],
    [390, 844],
    [844, 390],
  ]) {
    for (const path of ['/', '/watch/demo', '/watch/nothing', '/watch/demo?embed=1']) {
      const viewer = await open(path, { width, height });
      if (path.startsWith('/watch/demo')) {
        await viewer.page.locator('[data-action=unmute]').waitFor({ timeout: 15_000 });
      } else await viewer.page.locator('h1:visible, h2:visible').first().waitFor();
      const { overflow, small } = await viewer.page.evaluate(() => ({
        overflow: document.documentElement.scrollWidth - window.innerWidth,
        small: [...document.querySelectorAll('button, a')]
          .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 44)
          .map((e) => e.outerHTML),
      }));
      assert.ok(overflow <= 0, `${path} at ${width} is ${overflow} px too wide`);
      assert.deepEqual(small, [], `${path} at ${width}`);
      await viewer.close();
    }
  }
});

test('the list: what is on air, and help where nothing is', async () => {
  const all = tree.state.streams;
  const list = await open('/');
  await list.page.locator('a[href="/watch/demo"]').waitFor();
  assert.match(await list.page.locator('a[href="/watch/demo"]').textContent(), /128 viewers/);
  tree.state.streams = [];
  try {
    const empty = await open('/');
    await empty.page.locator('h1', { hasText: 'Nothing is on air' }).waitFor();
    assert.match(await empty.page.textContent('main'), /make demo/);
  } finally {
    tree.state.streams = all;
  }
  assert.deepEqual(list.errors, []);
});
