// The built broadcaster page in Chromium against the fake tree: what people are told when they are
// refused, what becomes of the token, names, sizes, colours. That it broadcasts is shown against a real
// root (tests/tests/broadcast.rs). Needs web/dist (`npm run build` in web/).

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { launchWithDevices, openBroadcaster } from './lib/broadcast.mjs';
import { startFakeTree } from './lib/fake-tree.mjs';

const TOKEN = 'soleil1-publisher.0123.secret';
let tree;
let browser;
let opened;
let normal;

before(async () => {
  tree = await startFakeTree({ width: 320, height: 180, fps: 5 });
  normal = tree.state.whip;
  browser = await launchWithDevices();
});
after(async () => {
  await browser?.close();
  await tree?.stop();
});
beforeEach(() => {
  opened = [];
  tree.state.whip = normal;
  tree.state.offers = [];
});
afterEach(async () => {
  for (const page of opened) await page.close();
});

async function open(path = '/broadcast?stream=demo', options) {
  const page = await openBroadcaster(browser, tree.url + path, options);
  opened.push(page);
  return page;
}
const focused = (page) => page.evaluate(() => document.activeElement.id);
const kept = (page) => page.evaluate(() => ({ ...sessionStorage, ...localStorage }));

test('says what is missing, and leads to it', async () => {
  const { page } = await open('/broadcast?stream=');
  await page.waitForFunction(() => document.querySelector('#stream').value === 'demo');
  assert.match(page.url(), /\?stream=demo$/, 'the only stream is chosen');
  await page.click('[data-control=go]');
  assert.equal(await focused(page), 'token');
  assert.equal(await page.locator('#token').getAttribute('aria-invalid'), 'true');
  await page.fill('#token', TOKEN);
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.source), 'camera');
  assert.match(await page.textContent('.missing'), /camera, screen or file/);
  assert.equal(tree.state.offers.length, 0);
});

test('a refusal is explained, and the token goes nowhere but into the header', async () => {
  const own = await open(`/broadcast?stream=demo#token=${TOKEN}`);
  assert.equal(own.page.url(), `${tree.url}/broadcast?stream=demo`);
  await own.camera();
  await own.go();
  await own.phase('refused');
  assert.match(await own.error(), /token does not open this stream[^]*--stream demo/);
  assert.equal(tree.state.offers[0].token, `Bearer ${TOKEN}`);
  assert.deepEqual(
    own.addresses.filter((a) => a.includes(TOKEN)),
    [],
  );
  assert.deepEqual(await kept(own.page), {});
  assert.ok(!(await own.page.content()).includes(TOKEN));

  tree.state.whip = { demo: [409, {}, 'somebody broadcasts this stream already'] };
  await own.go();
  await own.refusal('Somebody is broadcasting this stream already');
  tree.state.whip = { demo: [422, {}, 'the stream takes AV1'] };
  await own.go();
  await own.refusal('the stream takes AV1');
  assert.deepEqual(own.errors, []);
});

test('keeps the token in the tab if it is asked to, and forgets it again', async () => {
  const own = await open();
  await own.camera();
  await own.page.check('text=Keep it until this tab is closed');
  await own.go(TOKEN);
  await own.phase('refused');
  assert.deepEqual(await kept(own.page), { 'soleil.publish.demo': TOKEN });
  await own.page.reload();
  await own.page.waitForFunction((t) => document.querySelector('#token').value === t, TOKEN);
  await own.camera();
  await own.page.uncheck('text=Keep it until this tab is closed');
  await own.go();
  await own.phase('refused');
  assert.deepEqual(await kept(own.page), {});
});

test('comes back when the server says, not earlier', async () => {
  tree.state.whip = { demo: [503, { 'retry-after': '3' }, 'all places are taken'] };
  const own = await open();
  await own.camera();
  await own.go(TOKEN);
  await own.refusal('No place free');
  await own.page.locator('text=/Trying again in \\d s/').waitFor();
  tree.state.whip = normal;
  await own.phase('refused');
  const [first, second] = tree.state.offers;
  assert.ok(second.at - first.at >= 2_990, `${second.at - first.at} ms`);
});

test('a server without WHIP, and a token in the query', async () => {
  tree.state.whip = null;
  const own = await open('/broadcast?stream=demo&token=x');
  await own.refusal('takes no broadcasts from browsers');
  assert.equal(await own.page.locator('[data-control=go]').isDisabled(), true);
  tree.state.whip = normal;
  const leaked = await open('/broadcast?stream=demo&token=x');
  assert.match(await leaked.error(), /no secret any more/);
  assert.equal(await leaked.page.inputValue('#token'), '');
  assert.ok(!leaked.page.url().includes('token'));
});

test('a file is shown and heard', async () => {
  const own = await open();
  const { page } = own;
  // A moment of the fake devices, as a file.
  const bytes = await page.evaluate(async () => {
    const media = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
    const recorder = new MediaRecorder(media, { mimeType: 'video/webm;codecs=vp8,opus' });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const done = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    setTimeout(() => recorder.stop(), 2_500);
    await done;
    media.getTracks().forEach((track) => track.stop());
    return [...new Uint8Array(await new Blob(parts).arrayBuffer())];
  });
  await page.setInputFiles('input[type=file]', {
    name: 'clip.webm',
    mimeType: 'video/webm',
    buffer: Buffer.from(bytes),
  });
  await page.waitForFunction(() => document.querySelector('video').videoWidth > 0);
  await page.waitForFunction(
    () => /^−\d+ dB$/.test(document.querySelector('[role=meter]').ariaValueText),
    null,
    { timeout: 15_000 },
  );
  await page.click('[data-control=mute]');
  await page.waitForFunction(
    () => document.querySelector('[role=meter]').ariaValueText === 'muted',
  );
  assert.equal(await page.locator('[data-control=mute]').getAttribute('aria-pressed'), 'true');
  await page.setInputFiles('input[type=file]', {
    name: 'notes.txt',
    mimeType: 'text/plain',
    buffer: Buffer.from('no video'),
  });
  await own.refusal('This file cannot be played here');
});

test('lines for other programs can be copied, with the token or without', async () => {
  const own = await open(undefined, { permissions: ['clipboard-read', 'clipboard-write'] });
  const { page } = own;
  await page.fill('#token', TOKEN);
  await page.click('[data-recipe=ffmpeg] summary');
  const copy = async () => {
    await page.click('[data-recipe=ffmpeg] button');
    await page.locator('[data-recipe=ffmpeg] button', { hasText: 'Copied' }).waitFor();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  const plain = await copy();
  assert.ok(plain.includes(`'TOKEN' '${tree.url}/whip/demo'`), plain);
  await page.check('text=Copy with the token');
  assert.ok((await copy()).includes(`'${TOKEN}'`));
  assert.ok(!(await page.textContent('main')).includes(TOKEN));
  // The policy lets nothing inline in.
  assert.deepEqual(own.errors, []);
});

test('everything has a name, a finger’s size, and room on small screens; text can be read', async () => {
  for (const [width, height] of [
    [320, 568],
    [390, 844],
    [1280, 800],
  ]) {
    for (const colorScheme of ['light', 'dark']) {
      const own = await open(undefined, { viewport: { width, height }, colorScheme });
      await own.camera();
      await own.go(TOKEN);
      await own.phase('refused');
      const found = await own.page.evaluate(() => {
        const light = (colour) => {
          const [r, g, b] = colour.match(/[\d.]+/g).map((v) => {
            const c = v / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          });
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = (e) => {
          for (let at = e; at; at = at.parentElement) {
            const { backgroundColor } = getComputedStyle(at);
            if (/^rgb\(/.test(backgroundColor)) return backgroundColor;
          }
          return 'rgb(255, 255, 255)';
        };
        const contrast = (e) => {
          const [low, high] = [light(getComputedStyle(e).color), light(ground(e))].sort(
            (a, b) => a - b,
          );
          return (high + 0.05) / (low + 0.05);
        };
        const seen = (selector) =>
          [...document.querySelectorAll(selector)].filter(
            (e) => e.checkVisibility() && !e.closest('.sr-only'),
          );
        return {
          overflow: document.documentElement.scrollWidth - window.innerWidth,
          nameless: [...document.querySelectorAll('button, a, input, select, video, [role=meter]')]
            .filter(
              (e) =>
                !(
                  e.labels?.length ||
                  e.getAttribute('aria-label') ||
                  e.getAttribute('aria-labelledby') ||
                  e.textContent.trim()
                ) ||
                (e.tagName === 'SELECT' && !e.labels.length),
            )
            .map((e) => e.outerHTML),
          small: seen('button, a, select, summary')
            .filter((e) => e.getBoundingClientRect().height < 44)
            .map((e) => e.outerHTML),
          pale: seen('h1, h2, p, label, button, summary, span, a')
            .filter((e) => e.textContent.trim() && !e.matches(':disabled') && !e.closest('.frame'))
            .filter((e) => contrast(e) < 4.5)
            .map((e) => `${contrast(e).toFixed(2)} ${e.outerHTML.slice(0, 120)}`),
          headings: document.querySelectorAll('h1').length,
        };
      });
      const where = `${width} ${colorScheme}`;
      assert.ok(found.overflow <= 0, `${where}: ${found.overflow} px too wide`);
      assert.deepEqual(found.nameless, [], where);
      assert.deepEqual(found.small, [], where);
      assert.deepEqual(found.pale, [], where);
      assert.equal(found.headings, 1);
      await own.close();
      opened.pop();
    }
  }
});
