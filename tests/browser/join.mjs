#!/usr/bin/env node
// Opens a watch page several times and prints one JSON line with the times from opening the page to
// the first picture. See README.md.

import { parseArgs } from 'node:util';

import { join } from './lib/watch.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    joins: { type: 'string', default: '10' },
    timeout: { type: 'string', default: '30' },
  },
});
if (positionals.length !== 1) {
  console.error('usage: join.mjs URL [--joins 10] [--timeout SECONDS]');
  process.exit(64);
}
const result = await join(positionals[0], {
  joins: Number(values.joins),
  timeout: Number(values.timeout) * 1_000,
});
console.log(JSON.stringify(result));
process.exitCode = result.ok ? 0 : 1;
