// Starts the Chromium that is installed on the machine, the way the browser tests want it: a fresh
// profile, no GPU, no background traffic, and with a real user's autoplay policy.

import { chromium } from 'playwright-core';

/** The browser's path; Debian's package puts it there. */
const EXECUTABLE = process.env.SOLEIL_CHROMIUM ?? '/usr/bin/chromium';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // What a desktop user has: pictures play muted, sound needs a click first.
  '--autoplay-policy=document-user-activation-required',
];

/** Launches headless Chromium with a profile of its own, removed when it is closed. */
export function launch({ args = [] } = {}) {
  return chromium.launch({
    executablePath: EXECUTABLE,
    headless: true,
    // Playwright mutes headless browsers; here the sound is part of what is looked at.
    ignoreDefaultArgs: ['--mute-audio'],
    args: [...FLAGS, ...args],
  });
}
