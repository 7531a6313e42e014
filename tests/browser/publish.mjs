#!/usr/bin/env node
// Broadcasts from Chromium over WHIP, with `whip-whep`, the client of one of the RFC's authors, until it
// gets SIGTERM. Prints one JSON line when media flow, and one at the end. See README.md.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

import { launch } from './lib/chromium.mjs';
import { drawing } from './lib/drawing.mjs';
import { crc12, encodeBlocks } from './lib/picture.mjs';

const CLIENT = new URL('./node_modules/whip-whep/whip.js', import.meta.url);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    token: { type: 'string' },
    codec: { type: 'string', default: 'H264' },
    layers: { type: 'string', default: '1' },
    mode: { type: 'string' },
    bitrate: { type: 'string', default: '1500' },
    width: { type: 'string', default: '640' },
    height: { type: 'string', default: '360' },
    fps: { type: 'string', default: '30' },
    devices: { type: 'boolean', default: false },
    grain: { type: 'boolean', default: false },
  },
});
if (positionals.length !== 1) {
  console.error(
    'usage: publish.mjs URL [--token TOKEN] [--codec H264] [--layers 1] [--mode L1T3] [--bitrate 1500] [--width 640] [--height 360] [--fps 30] [--devices] [--grain]',
  );
  process.exit(64);
}

// Runs in the page.
async function publish(WHIPClient, drawn, options) {
  const { url, token, codec, layers, mode, bitrate, width, height, fps, devices } = options;
  const stream = devices
    ? await navigator.mediaDevices.getUserMedia({
        video: { width, height, frameRate: fps },
        audio: true,
      })
    : drawn(options);
  const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const rids = ['h', 'm', 'l'].slice(0, layers);
  const encodings = rids.map((rid, i) => ({ rid, scaleResolutionDownBy: 2 ** i }));
  const [picture] = stream.getVideoTracks();
  const video = peer.addTransceiver(picture, {
    direction: 'sendonly',
    streams: [stream],
    sendEncodings: layers > 1 ? encodings : [{ maxBitrate: bitrate, scalabilityMode: mode }],
  });
  const { codecs } = RTCRtpSender.getCapabilities('video');
  const wanted = (c) => [`video/${codec}`, 'video/rtx'].includes(c.mimeType);
  video.setCodecPreferences(codecs.filter(wanted));
  const [sound] = stream.getAudioTracks();
  peer.addTransceiver(sound, { direction: 'sendonly', streams: [stream] });

  const client = new WHIPClient();
  window.stop = async () => {
    await client.stop();
    return 'stopped';
  };
  // What was really sent, layer by layer.
  window.sent = async () => {
    const found = [];
    for (const report of (await peer.getStats()).values()) {
      if (report.type !== 'outbound-rtp') continue;
      const { kind, rid, frameWidth, framesSent, packetsSent, nackCount, pliCount } = report;
      found.push({ kind, rid, frameWidth, framesSent, packetsSent, nackCount, pliCount });
    }
    return found;
  };
  await client.publish(peer, url, token);
  window.flows = async () => {
    const all = (await window.sent()).filter((s) => s.kind === 'video');
    return all.length > 0 && all.every((s) => s.framesSent > 0);
  };
  return { connection: peer.connectionState, location: String(client.resourceURL) };
}

const options = {
  url: positionals[0],
  token: values.token,
  codec: values.codec,
  layers: Number(values.layers),
  mode: values.mode,
  bitrate: Number(values.bitrate) * 1000,
  width: Number(values.width),
  height: Number(values.height),
  fps: Number(values.fps),
  devices: values.devices,
  grain: values.grain,
};
const PAGE = `
import { WHIPClient } from '/whip.js';
const crc12 = ${crc12};
const encodeBlocks = ${encodeBlocks};
const drawn = (options) => (${drawing})(encodeBlocks, options);
window.publish = () => (${publish})(WHIPClient, drawn, ${JSON.stringify(options)});
`;
const FILES = {
  '/': ['text/html', () => '<!doctype html><script type="module" src="/page.js"></script>'],
  '/whip.js': ['text/javascript', () => readFile(CLIENT)],
  '/page.js': ['text/javascript', () => PAGE],
};
const server = createServer(async (request, response) => {
  const file = FILES[new URL(request.url, 'http://page').pathname];
  if (!file) return void response.writeHead(404).end();
  response.writeHead(200, { 'content-type': file[0] }).end(await file[1]());
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const told = new Promise((done) => {
  process.once('SIGTERM', done).once('SIGINT', done);
});
const browser = await launch({
  // It shall leave properly first.
  handleSIGTERM: false,
  handleSIGINT: false,
  args: [
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    '--autoplay-policy=no-user-gesture-required',
  ],
});
let code = 0;
try {
  const page = await browser.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => window.publish);
  const { location } = await page.evaluate(() => window.publish());
  await page.waitForFunction(() => window.flows(), null, { timeout: 30_000, polling: 100 });
  console.log(JSON.stringify({ ok: true, location }));
  await told;
  const sent = await page.evaluate(() => window.sent());
  const end = await page.evaluate(() => window.stop());
  console.log(JSON.stringify({ ok: true, end, sent, errors }));
} catch (error) {
  console.log(JSON.stringify({ ok: false, reason: String(error) }));
  code = 1;
}
await browser.close();
server.closeAllConnections();
server.close();
process.exitCode = code;
