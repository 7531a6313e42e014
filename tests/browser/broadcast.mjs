#!/usr/bin/env node
// Broadcasts with the broadcaster page of a root, with Chromium's fake devices, and watches itself in a
// second page. A JSON line for each step; between `on air` and `back` somebody takes the root away and
// brings it again. See README.md.

import { parseArgs } from 'node:util';

import { launchWithDevices, openBroadcaster } from './lib/broadcast.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { token: { type: 'string' }, layers: { type: 'string', default: '1' } },
});
if (positionals.length !== 1 || !values.token) {
  console.error('usage: broadcast.mjs URL-OF-THE-ROOT --token TOKEN [--layers 1]');
  process.exit(64);
}
const root = positionals[0];
const { token } = values;
const layers = Number(values.layers);
const say = (step, more = {}) => console.log(JSON.stringify({ ok: true, step, ...more }));
/** Pictures of the watch page that must differ for the picture to move. */
const LOOKS = 5;
const PATIENCE_MS = 60_000;

/** Opens the watch page and waits until what it shows has changed several times. It goes on watching. */
async function sees(browser) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${root}/watch/demo`);
  await page.waitForFunction(
    (looks) => {
      const video = document.querySelector('video');
      if (!video || video.readyState < 2 || !video.videoWidth) return false;
      const canvas = document.createElement('canvas');
      canvas.width = canvas.height = 64;
      const drawn = canvas.getContext('2d');
      drawn.drawImage(video, 0, 0, 64, 64);
      window.seen ??= new Set();
      window.seen.add(drawn.getImageData(0, 0, 64, 64).data.join());
      return window.seen.size >= looks;
    },
    LOOKS,
    { timeout: PATIENCE_MS, polling: 200 },
  );
  return context;
}

const browser = await launchWithDevices();
let code = 0;
try {
  const own = await openBroadcaster(browser, `${root}/broadcast?stream=demo`);
  const { page } = own;
  await own.camera();
  await own.go(`${token}-but-wrong`);
  await own.phase('refused');
  say('refused', { error: await own.error() });

  await own.go(token);
  await own.phase('on-air');
  await page.waitForFunction(
    (n) => document.querySelectorAll('[data-layer][data-flows=true]').length === n,
    layers,
    { timeout: PATIENCE_MS, polling: 100 },
  );
  const names = await page
    .locator('[data-layer] th')
    .evaluateAll((cells) => cells.map((cell) => cell.firstChild.textContent.trim()));
  const title = await page.title();
  // A second broadcaster is refused while this one sends.
  const other = await openBroadcaster(browser, `${root}/broadcast?stream=demo#token=${token}`);
  await other.camera();
  await other.go();
  await other.phase('refused');
  const second = await other.error();
  const told = [...own.addresses, ...other.addresses].filter((a) => a.includes(token));
  const address = other.page.url();
  await other.close();
  // Viewers are counted every other second: who went at once would not be.
  const watching = await sees(browser);
  await page.waitForFunction(
    () => Number(document.querySelector('[data-figure=viewers]').textContent) === 1,
    null,
    { timeout: PATIENCE_MS, polling: 200 },
  );
  await watching.close();
  say('on air', { names, title, second, told, address });

  await own.phase('reconnecting', PATIENCE_MS);
  await own.phase('on-air', PATIENCE_MS);
  await (await sees(browser)).close();
  say('back');

  await page.click('[data-control=stop]');
  await own.phase('idle');
  const focus = await page.evaluate(() => document.activeElement.dataset.control);
  say('stopped', { focus, errors: own.errors.filter((e) => !/net::ERR|Failed to load/.test(e)) });
} catch (error) {
  console.log(JSON.stringify({ ok: false, reason: String(error) }));
  code = 1;
}
await browser.close();
process.exitCode = code;
