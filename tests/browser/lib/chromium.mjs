// Starts the Chromium that is installed on the machine, the way the browser tests want it: a fresh
// profile, no GPU, no background traffic, and with a real user's autoplay policy.

import { chromium } from 'playwright-core';

/** The browser's path; Debian's package puts it there. */
const EXECUTABLE = process.env.SOLEIL_CHROMIUM ?? '/usr/bin/chromium';

/**
 * Switched off, besides what needs a network (the browser heeds only the last such list, so this one
 * replaces Playwright's): OnBeginFrameThrottleVideo. With it Chromium saves power by offering a video
 * only every second vsync of a 60 Hz display, if the video's rate looks like 30 fps when it starts: by
 * chance in one session of six. WebRTC hands it decoded frames on a 64 Hz metronome, up to 16 ms late;
 * in that state, and at an unlucky phase, one frame in seven comes after its only vsync and is dropped
 * unseen, though everything has arrived and is decoded. That lottery is the browser's own; these
 * tests judge what it was sent.
 */
const WITHOUT = [
  'OnBeginFrameThrottleVideo',
  'HttpsUpgrades',
  'MediaRouter',
  'NetworkTimeServiceQuerying',
  'OptimizationHints',
  'PaintHolding',
  'PreconnectToSearch',
  'Translate',
];

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  `--disable-features=${WITHOUT.join(',')}`,
  // What a desktop user has: pictures play muted, sound needs a click first.
  '--autoplay-policy=document-user-activation-required',
];

/** Launches headless Chromium with a profile of its own, removed when it is closed. */
export function launch({ args = [], ...more } = {}) {
  return chromium.launch({
    executablePath: EXECUTABLE,
    headless: true,
    // Playwright mutes headless browsers; here the sound is part of what is looked at.
    ignoreDefaultArgs: ['--mute-audio'],
    args: [...FLAGS, ...args],
    ...more,
  });
}
