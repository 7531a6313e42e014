#!/usr/bin/env node
// Watches a page, or several at the same time, and prints one JSON line for each with what a viewer
// saw and heard. See README.md.

import { parseArgs } from 'node:util';

import { watchAll } from './lib/watch.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '20' },
    settle: { type: 'string', default: '2' },
    width: { type: 'string', default: '1280' },
    height: { type: 'string', default: '720' },
    silent: { type: 'boolean', default: false },
    screenshot: { type: 'string' },
    candidates: { type: 'string' },
    browser: { type: 'string', default: 'chromium' },
    foreign: { type: 'boolean', default: false },
  },
});
if (positionals.length === 0) {
  console.error(
    'usage: watch.mjs URL... [--seconds 20] [--settle 2] [--width 1280] [--height 720] [--silent] [--screenshot FILE] [--candidates WORD] [--browser chromium|firefox] [--foreign]',
  );
  process.exit(64);
}
const results = await watchAll(positionals, {
  seconds: Number(values.seconds),
  settle: Number(values.settle),
  width: Number(values.width),
  height: Number(values.height),
  sound: !values.silent,
  screenshot: values.screenshot ?? null,
  candidates: values.candidates ?? null,
  browser: values.browser,
  foreign: values.foreign,
});
for (const result of results) console.log(JSON.stringify(result));
process.exitCode = results.every((result) => result.ok) ? 0 : 1;
