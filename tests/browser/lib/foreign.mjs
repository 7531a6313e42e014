// Serves a page that plays a WHEP address with a client that nobody here wrote: `whip-whep`, by one
// of the authors of WHEP. The page is of another origin than the root and the leaf, as somebody's own
// page would be. It offers what `watch.mjs` looks for in ours: a video, a button that unmutes, and the
// connection.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

const CLIENT = new URL('../node_modules/whip-whep/whep.js', import.meta.url);

const PAGE = `<!doctype html>
<meta charset="utf-8">
<title>WHEP</title>
<video autoplay muted playsinline width="1280" height="680"></video>
<button data-action="unmute">Unmute</button>
<p role="status"></p>
<script type="module" src="/page.js"></script>
`;

// Runs in the page, as the client's README shows it.
async function play(WHEPClient) {
  const video = document.querySelector('video');
  const status = document.querySelector('[role=status]');
  document.querySelector('button').onclick = () => {
    video.muted = false;
  };
  const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  peer.addTransceiver('video', { direction: 'recvonly' });
  peer.addTransceiver('audio', { direction: 'recvonly' });
  peer.ontrack = ({ streams }) => {
    video.srcObject = streams[0];
  };
  const client = new WHEPClient();
  window.soleil = { phase: 'connecting', peerConnection: peer };
  window.leave = () => client.stop();
  try {
    await client.view(peer, new URLSearchParams(location.search).get('whep'));
    window.soleil.phase = 'playing';
  } catch (error) {
    window.soleil.phase = 'failed';
    status.textContent = String(error);
  }
}

const FILES = {
  '/': ['text/html', () => PAGE],
  '/whep.js': ['text/javascript', () => readFile(CLIENT)],
  '/page.js': [
    'text/javascript',
    () => `import { WHEPClient } from '/whep.js';\n(${play})(WHEPClient);\n`,
  ],
};

/** Starts it for this WHEP address. */
export async function serveForeign(whep) {
  const server = createServer(async (request, response) => {
    const file = FILES[new URL(request.url, 'http://page').pathname];
    if (!file) return void response.writeHead(404).end();
    const [type, content] = file;
    response.writeHead(200, { 'content-type': type }).end(await content());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/?whep=${encodeURIComponent(whep)}`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
