// Builds the pages into `dist/`, which the root's binary embeds. Two rules come from the
// content security policy (`script-src 'self'; style-src 'self'`): nothing inline, and nothing as a
// data: URL.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

const page = (name: string) => fileURLToPath(new URL(name, import.meta.url));

// What the heads of all pages have.
const HEAD = '<!-- src/head.html -->';
const head = readFileSync(page('src/head.html'), 'utf8').trim();

// `npm run dev` serves the pages and passes the rest on to a running root.
const ROOT = process.env.SOLEIL_ROOT ?? 'http://localhost:8080';

export default defineConfig({
  plugins: [
    svelte(),
    {
      name: 'one-head-for-all-pages',
      transformIndexHtml: { order: 'pre', handler: (html) => html.replace(HEAD, head) },
    },
    {
      name: 'addresses-as-the-root-has-them',
      configureServer(server) {
        server.middlewares.use((request, _response, next) => {
          if (request.url?.startsWith('/watch/')) request.url = '/watch.html';
          if (/^\/broadcast(\?|$)/.test(request.url ?? '')) request.url = '/broadcast.html';
          next();
        });
      },
    },
  ],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: {
        index: page('index.html'),
        watch: page('watch.html'),
        broadcast: page('broadcast.html'),
      },
    },
  },
  server: { proxy: { '/whep': ROOT, '/whip': ROOT, '/api': ROOT } },
  test: { include: ['src/**/*.test.ts'] },
});
