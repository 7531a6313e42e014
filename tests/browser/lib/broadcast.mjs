// Works the broadcaster page as a person does, with Chromium's fake camera and microphone. Used by
// broadcast.mjs and pages.test.mjs.

import { launch } from './chromium.mjs';

/** A Chromium with devices that are not there, which it gives without asking. */
export const launchWithDevices = (more = {}) =>
  launch({
    args: [
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      '--autoplay-policy=no-user-gesture-required',
    ],
    ...more,
  });

/** Opens the page; what goes wrong in it, and every address that it asks, are noted. */
export async function openBroadcaster(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const errors = [];
  const addresses = [];
  page.on('pageerror', (error) => errors.push(`page: ${error.message}`));
  page.on('console', (message) => {
    // A refusal is one of the things that are looked at.
    if (message.type() === 'error' && !/status of 4\d\d/.test(message.text()))
      errors.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => addresses.push(request.url()));
  await page.goto(url);
  await page.locator('[data-source=camera]').waitFor();
  const phase = (wanted, timeout = 30_000) =>
    page.waitForFunction((p) => window.soleil?.phase === p, wanted, { timeout, polling: 50 });
  return {
    context,
    page,
    errors,
    addresses,
    phase,
    /** Opens the fake camera and waits for its picture. */
    async camera() {
      await page.click('[data-source=camera]');
      await page.waitForFunction(() => document.querySelector('video').videoWidth > 0, null, {
        timeout: 20_000,
      });
    },
    /** Types a token and asks to go on air. */
    async go(token) {
      if (token !== undefined) await page.fill('#token', token);
      await page.click('[data-control=go]');
    },
    /** What the error says, or an empty text. */
    async error() {
      const notice = page.locator('[data-notice=error]');
      return (await notice.count()) > 0 ? notice.innerText() : '';
    },
    /** Waits until the error says this. */
    refusal: (text) => page.locator('[data-notice=error]', { hasText: text }).waitFor(),
    close: () => context.close(),
  };
}
