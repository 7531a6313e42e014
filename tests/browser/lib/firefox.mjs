// Starts the Firefox that is installed on the machine (Debian's firefox-esr), driven by WebDriver BiDi,
// and gives as much of Playwright's interface as the tools here use, so that they do not care which
// browser it is. Playwright itself drives only a Firefox that it has patched.

import { launch as start } from 'puppeteer-core';

/** The browser's path; Debian's package puts it there. */
const EXECUTABLE = process.env.SOLEIL_FIREFOX ?? '/usr/bin/firefox-esr';

/** Starting takes some seconds with a fresh profile, and more on a busy machine. */
const START_MS = 60_000;

/** Nothing in a fresh profile may look for a network: a test machine may have none. */
const QUIET = {
  'app.normandy.enabled': false,
  'app.update.auto': false,
  'browser.newtabpage.activity-stream.feeds.system.topstories': false,
  'browser.region.network.url': '',
  'browser.region.update.enabled': false,
  'browser.safebrowsing.downloads.remote.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.safebrowsing.update.enabled': false,
  'browser.search.update': false,
  'browser.topsites.contile.enabled': false,
  'captivedetect.canonicalURL': '',
  'datareporting.healthreport.uploadEnabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.push.connection.enabled': false,
  'extensions.getAddons.cache.enabled': false,
  'extensions.systemAddon.update.enabled': false,
  'extensions.update.enabled': false,
  'geo.enabled': false,
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-manager.url': '',
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'network.dns.disablePrefetch': true,
  'network.trr.mode': 5,
  'security.remote_settings.crlite_filters.enabled': false,
  'services.settings.server': 'data:,#remote-settings-dummy/v1',
  'toolkit.telemetry.enabled': false,
  'toolkit.telemetry.server': '',
};

const PREFS = {
  ...QUIET,
  // The leaf is on this machine, and a page that may use no microphone gets the address of the
  // default route only.
  'media.peerconnection.ice.loopback': true,
  'permissions.default.microphone': 1,
  // What a user has: pictures play muted, sound needs a click first.
  'media.autoplay.default': 1,
};

/** Launches headless Firefox with a profile of its own, removed when it is closed. */
export async function launch() {
  const browser = await start({
    browser: 'firefox',
    executablePath: EXECUTABLE,
    headless: true,
    timeout: START_MS,
    extraPrefsFirefox: PREFS,
  });
  return {
    async newContext({ viewport }) {
      const context = await browser.createBrowserContext();
      return {
        newPage: async () => likePlaywright(await context.newPage(), viewport),
        close: () => context.close(),
      };
    },
    version: () => browser.version(),
    close: () => browser.close(),
  };
}

async function likePlaywright(page, viewport) {
  await page.setViewport(viewport);
  return {
    on: (event, listener) =>
      page.on(
        event,
        event === 'console'
          ? (message) => listener({ type: () => message.type(), text: () => message.text() })
          : listener,
      ),
    addInitScript: (script, argument) =>
      page.evaluateOnNewDocument(script.content ?? script, ...(script.content ? [] : [argument])),
    // BiDi's earliest answer is when the document is there.
    goto: (url) => page.goto(url, { waitUntil: 'domcontentloaded' }),
    waitForFunction: (test, argument, options) => page.waitForFunction(test, options, argument),
    async click(selector, { timeout }) {
      const element = await page.waitForSelector(selector, { timeout, visible: true });
      await element.click();
    },
    evaluate: (test, argument) => page.evaluate(test, argument),
    screenshot: (options) => page.screenshot(options),
    locator: (selector) => ({
      first: () => ({
        textContent: ({ timeout }) =>
          page
            .waitForSelector(selector, { timeout })
            .then((element) => element.evaluate((node) => node.textContent)),
      }),
    }),
  };
}
