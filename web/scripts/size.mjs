// Prints what a visitor downloads for each page (gzip), after a build.

import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const dist = new URL('../dist/', import.meta.url);
const sizes = new Map();
for (const path of readdirSync(dist, { recursive: true })) {
  if (!/\.(html|js|css|svg)$/.test(path)) continue;
  const data = readFileSync(new URL(path, dist));
  sizes.set(path, { text: data.toString(), gzip: gzipSync(data).length });
}
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
for (const [page, { text, gzip }] of [...sizes].filter(([path]) => path.endsWith('.html'))) {
  let total = gzip;
  for (const [path, asset] of sizes) if (text.includes(path)) total += asset.gzip;
  console.log(`${page}: ${kib(total)} gzip with all that it loads`);
}
