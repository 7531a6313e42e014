// A stand-in for the whole tree, for working on the page and on these tools without the Rust
// binaries: a "root" that serves the built pages and answers 307, and a "leaf" that is a second
// Chromium drawing the test picture. It is no WHEP reference and no load source.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

import { launch } from './chromium.mjs';
import { drawing } from './drawing.mjs';
import { crc12, encodeBlocks } from './picture.mjs';

const DIST = fileURLToPath(new URL('../../../web/dist/', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
const CSP =
  "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self' http: https:; media-src 'self' blob:; object-src 'none'; base-uri 'none'";

// As root-node/src/http/headers.rs has it.
const BROADCAST_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "media-src 'self' blob: mediastream:; connect-src 'self'; base-uri 'none'; " +
  "form-action 'none'; frame-ancestors 'none'";

const listen = (server) =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server.address().port));
  });

const body = async (request) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
};

/** Starts it. `stream.demo` is on air; every other behaviour can be set through `routes`. */
export async function startFakeTree({ width = 640, height = 360, fps = 30 } = {}) {
  const source = await startSource({ width, height, fps });
  const state = {
    live: true,
    /** What `/whep/{name}` answers: [status, headers, body]; missing names are 404. */
    routes: {
      offair: [409, { 'retry-after': '2' }, 'The stream is not on air.'],
      busy: [503, { 'retry-after': '3' }, 'No leaf has room.'],
      broken: [500, {}, 'Something broke.'],
      foreign: [406, {}, 'No codec in common.'],
    },
    streams: [
      {
        name: 'demo',
        live: true,
        viewers: 128,
        tracks: [
          { name: 'video', kind: 'video', codec: 'H264', layers: [{}] },
          { name: 'audio', kind: 'audio', codec: 'opus', layers: [{}] },
        ],
      },
    ],
    /** What `POST /whip/{name}` answers, likewise; null: the root has no WHIP. */
    whip: { demo: [401, {}, 'the publish token is not this stream’s'] },
    /** Broadcasters' requests: when, and with which Authorization. */
    offers: [],
    posts: 0,
    deletes: [],
  };

  const leaf = createServer(async (request, response) => {
    const cors = {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'POST, PATCH, DELETE, OPTIONS',
      'access-control-allow-headers': 'content-type, authorization, if-match',
      'access-control-expose-headers': 'location, link, etag, retry-after',
      'access-control-max-age': '600',
    };
    const send = (status, headers, text) => {
      response.writeHead(status, { ...cors, ...headers }).end(text);
    };
    if (request.method === 'OPTIONS') return send(204, { 'accept-post': 'application/sdp' });
    if (request.method === 'DELETE') {
      state.deletes.push(request.url);
      await source.close(request.url.split('/').pop());
      return send(200, {});
    }
    const offer = await body(request);
    state.posts += 1;
    const id = `s${state.posts}`;
    let answer;
    try {
      answer = await source.answer(id, offer);
    } catch {
      return send(500, {}, 'The source is gone.');
    }
    return send(
      201,
      {
        'content-type': 'application/sdp',
        location: `http://127.0.0.1:${leafPort}/whep/session/${id}`,
        etag: '"1"',
        link: '<stun:127.0.0.1:3478>; rel="ice-server"',
      },
      answer,
    );
  });
  const leafPort = await listen(leaf);

  const root = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://root');
    const send = (status, headers, text) => response.writeHead(status, headers).end(text);
    try {
      if (pathname === '/api/v1/streams') {
        return send(200, { 'content-type': 'application/json' }, JSON.stringify(state.streams));
      }
      if (pathname.startsWith('/whep/')) {
        const name = decodeURIComponent(pathname.slice(6));
        await body(request);
        if (name === 'demo' && state.live) {
          const location = `http://127.0.0.1:${leafPort}/whep/demo?ticket=x`;
          return send(307, { location }, '');
        }
        const [status, headers, text] = (name === 'demo' ? state.routes.offair : null) ??
          state.routes[name] ?? [404, {}, 'There is no such stream.'];
        return send(status, { 'content-type': 'text/plain', ...headers }, text);
      }
      if (pathname.startsWith('/whip/') && state.whip !== null) {
        if (request.method === 'OPTIONS') return send(200, { 'accept-post': 'application/sdp' });
        await body(request);
        state.offers.push({ at: performance.now(), token: request.headers.authorization });
        const answer = state.whip[decodeURIComponent(pathname.slice(6))];
        const [status, headers, text] = answer ?? [404, {}, 'There is no such stream.'];
        return send(status, { 'content-type': 'text/plain', ...headers }, text);
      }
      let file = pathname === '/' ? 'index.html' : pathname;
      if (pathname.startsWith('/watch/')) file = 'watch.html';
      if (pathname === '/broadcast') file = 'broadcast.html';
      const data = await readFile(join(DIST, normalize(`/${file}`)));
      return send(
        200,
        {
          'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
          'content-security-policy': file === 'broadcast.html' ? BROADCAST_CSP : CSP,
        },
        data,
      );
    } catch {
      return send(404, {}, 'not found');
    }
  });
  const rootPort = await listen(root);

  return {
    state,
    source,
    url: `http://127.0.0.1:${rootPort}`,
    async stop() {
      root.closeAllConnections();
      leaf.closeAllConnections();
      root.close();
      leaf.close();
      await source.stop();
    },
  };
}

async function startSource(options) {
  const browser = await launch({
    args: [
      '--autoplay-policy=no-user-gesture-required',
      '--disable-features=WebRtcHideLocalIpsWithMdns',
    ],
  });
  const page = await browser.newPage();
  await page.goto('about:blank');
  await page.evaluate(`(() => {
    const crc12 = ${crc12};
    const encodeBlocks = ${encodeBlocks};
    (${draw})(${drawing}, encodeBlocks, ${JSON.stringify(options)});
  })()`);
  return {
    answer: (id, offer) => page.evaluate(([i, o]) => window.answer(i, o), [id, offer]),
    /** Says goodbye: the peer closes DTLS. */
    close: (id) => page.evaluate((i) => window.peers[i]?.close(), id),
    /** Is gone without a word, as a process that is killed. */
    kill: () => page.goto('chrome://crash').catch(() => undefined),
    freeze: (still) => page.evaluate((s) => (window.still = s), still),
    stop: () => browser.close(),
  };
}

// Runs in the source's page.
function draw(drawing, encodeBlocks, options) {
  const stream = drawing(encodeBlocks, options);
  window.peers = {};
  window.answer = async (id, offer) => {
    const peer = new RTCPeerConnection();
    window.peers[id] = peer;
    await peer.setRemoteDescription({ type: 'offer', sdp: offer });
    for (const transceiver of peer.getTransceivers()) {
      const track = stream.getTracks().find((t) => t.kind === transceiver.receiver.track.kind);
      await transceiver.sender.replaceTrack(track);
      transceiver.sender.setStreams(stream);
      transceiver.direction = 'sendonly';
      const wanted = transceiver.getHeaderExtensionsToNegotiate().map((e) => ({
        ...e,
        direction: e.uri.includes('abs-capture') ? 'sendrecv' : e.direction,
      }));
      transceiver.setHeaderExtensionsToNegotiate(wanted);
    }
    await peer.setLocalDescription(await peer.createAnswer());
    if (peer.iceGatheringState !== 'complete') {
      await new Promise((done) => {
        peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && done();
      });
    }
    return peer.localDescription.sdp;
  };
}
