// What runs inside the page and notes what the viewer sees and hears: the block row of each frame
// that the page's <video> shows, and the onsets of the keyed tone. It only notes; summary.mjs judges.
//
// Which frame is displayed, and when, comes from requestVideoFrameCallback. What it shows cannot be
// read there: by the time the callback runs, the element may already hold the next frame. So the
// block rows are read from a clone of the track as frames come out of the decoder, and the two are
// joined by RTP timestamp. Of each frame two lines of brightness are copied and nothing is drawn, so
// that measuring does not disturb. Browsers without all that read the element's picture.

import { crc12, decodeBlocks } from './picture.mjs';

/** The script to run before the page's own scripts (Playwright's `addInitScript`). */
export function probeScript() {
  return `(() => {
    const crc12 = ${crc12};
    const decodeBlocks = ${decodeBlocks};
    (${install})(decodeBlocks);
  })()`;
}

// Runs in the page: nothing from this module's scope is visible here but the argument.
function install(decodeBlocks) {
  const probe = {
    decoded: [], // {rtp, frame, time}
    frames: [], // {at, wall, expected, presented, rtp, capture, width, height, frame, time}
    onsets: [], // {at, wall, peak}
    errors: [],
    soundPeak: 0,
    reader: null,
    ear: null,
    readMs: 0,
  };
  window.__soleilProbe = probe;
  // Wall clock and performance clock drift apart over minutes; take the pair anew each time.
  const wallAt = (perf) => Date.now() - (performance.now() - perf);

  const BLOCKS = 80;
  const canvas = document.createElement('canvas');
  canvas.width = BLOCKS * 2;
  canvas.height = 1;
  const pen = canvas.getContext('2d', { willReadFrequently: true });

  function readByCanvas(video, note) {
    const row = (video.videoHeight * 32) / 720;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(video, 0, row / 4, video.videoWidth, row / 2, 0, 0, canvas.width, 1);
    const rgba = pen.getImageData(0, 0, canvas.width, 1).data;
    const luma = new Float64Array(BLOCKS);
    for (let i = 0; i < BLOCKS; i += 1) luma[i] = (rgba[i * 8 + 1] + rgba[i * 8 + 5]) / 2;
    Object.assign(note, decodeBlocks(luma));
  }

  // Copies two lines of brightness from the middle of the row and reads them.
  async function readPicture(picture) {
    const { x, y, width, height } = picture.visibleRect;
    const middle = y + 2 * Math.floor((height * 16) / 720 / 2);
    const rect = { x, y: middle, width: width & ~1, height: 2 };
    const buffer = new Uint8Array(picture.allocationSize({ rect }));
    const [plane] = await picture.copyTo(buffer, { rect });
    const block = width / BLOCKS;
    const luma = new Float64Array(BLOCKS);
    for (let i = 0; i < BLOCKS; i += 1) {
      const from = Math.ceil((i + 0.25) * block);
      const to = Math.max(from + 1, Math.floor((i + 0.75) * block));
      let sum = 0;
      for (let p = from; p < to; p += 1) sum += buffer[plane.offset + p];
      luma[i] = sum / (to - from);
    }
    return decodeBlocks(luma);
  }

  // Reads every decoded frame of a track, by RTP timestamp.
  async function readTrack(track) {
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { value: picture, done } = await reader.read();
      if (done) return;
      const began = performance.now();
      const rtp = picture.metadata().rtpTimestamp;
      try {
        const content = await readPicture(picture);
        probe.decoded.push({ rtp, frame: content?.frame ?? null, time: content?.time ?? null });
        if (content) contents.set(rtp, content);
      } catch (error) {
        probe.errors.push(`read: ${error}`);
      } finally {
        picture.close();
      }
      probe.readMs += performance.now() - began;
    }
  }

  const contents = new Map();
  const canReadTracks =
    typeof MediaStreamTrackProcessor === 'function' &&
    typeof VideoFrame?.prototype.metadata === 'function';

  // Reads what the element holds; see above for why this is the second choice.
  function readElement(video, note) {
    const began = performance.now();
    try {
      readByCanvas(video, note);
    } catch (error) {
      probe.errors.push(String(error));
    }
    probe.readMs += performance.now() - began;
  }

  // The frames shown, with what they showed as far as it is known.
  probe.shown = () => probe.frames.map((f) => ({ ...f, ...contents.get(f.rtp) }));
  probe.first = () => probe.frames.find((f) => f.frame !== null || contents.has(f.rtp));

  function watch(video) {
    let track = null;
    const follow = () => {
      const now = video.srcObject?.getVideoTracks?.()[0];
      if (!canReadTracks || !now || now === track) return;
      track = now;
      probe.reader = 'track';
      readTrack(now.clone()).catch((error) => probe.errors.push(`picture: ${error}`));
    };
    video.addEventListener('loadstart', follow);
    video.addEventListener('loadedmetadata', follow);
    const step = (now, meta) => {
      const at = performance.now();
      const note = {
        at,
        wall: Date.now(),
        expected: wallAt(meta.expectedDisplayTime),
        presented: meta.presentedFrames,
        rtp: meta.rtpTimestamp ?? null,
        capture: meta.captureTime === undefined ? null : wallAt(meta.captureTime),
        width: meta.width,
        height: meta.height,
        frame: null,
        time: null,
      };
      probe.frames.push(note);
      follow();
      if (!canReadTracks || note.rtp === null) {
        probe.reader = 'canvas';
        readElement(video, note);
      }
      video.requestVideoFrameCallback(step);
    };
    video.requestVideoFrameCallback(step);
  }

  // Finds the tone's onsets in blocks of samples: looks at the loudness of each millisecond.
  function onsetFinder(rate, note) {
    const step = Math.round(rate / 1000);
    let quiet = 0;
    return (data, context) => {
      for (let i = 0; i + step <= data.length; i += step) {
        let peak = 0;
        for (let k = i; k < i + step; k += 1) peak = Math.max(peak, Math.abs(data[k]));
        probe.soundPeak = Math.max(probe.soundPeak, peak);
        // A quarter of the loudest so far is far above the hum and soon reached by the tone.
        const loud = peak > 0.02 && peak > probe.soundPeak / 4;
        if (loud && quiet > 300) note(i / rate, peak, context);
        quiet = loud ? 0 : quiet + 1;
      }
    };
  }

  // Listens to the video's stream by reading the track: exact and cheap. An onset's time is when it
  // left the jitter buffer; the summary adds what the browser says of its way to the loudspeaker.
  async function listenToTrack(track) {
    let skew = Infinity; // from the data's clock to the page's: the block that waited least tells
    let find = null;
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { value: block, done } = await reader.read();
      if (done) return;
      const start = block.timestamp / 1000;
      skew = Math.min(skew, performance.now() - start);
      find ??= onsetFinder(block.sampleRate, (seconds, peak, from) => {
        const at = from + skew + seconds * 1000;
        probe.onsets.push({ at, wall: wallAt(at), peak });
      });
      const data = new Float32Array(block.numberOfFrames);
      block.copyTo(data, { planeIndex: 0, format: 'f32-planar' });
      block.close();
      find(data, start);
    }
  }

  // The same where tracks cannot be read. An AudioWorklet would need a script from the page's
  // origin; this needs none, so the page's own content security policy stays in force. Its times
  // include the way to the loudspeaker, and up to 20 ms of buffering of Web Audio's own.
  function listenByContext(context, track) {
    const SIZE = 1024;
    const tap = context.createScriptProcessor(SIZE, 1, 1);
    const silence = context.createGain();
    silence.gain.value = 0;
    context.createMediaStreamSource(new MediaStream([track])).connect(tap);
    tap.connect(silence).connect(context.destination);
    const find = onsetFinder(context.sampleRate, (seconds, peak, start) => {
      const stamp = context.getOutputTimestamp();
      const at = stamp.performanceTime + (start + seconds - stamp.contextTime) * 1000;
      probe.onsets.push({ at, wall: wallAt(at), peak });
    });
    tap.onaudioprocess = (event) => {
      // The block that just filled ends one block before the moment its output would be played.
      const start = event.playbackTime - (2 * SIZE) / context.sampleRate;
      find(event.inputBuffer.getChannelData(0), start);
    };
  }

  // The same where there is no loudspeaker and the browser lets no context run without one (Firefox):
  // by the energy that it counts of what leaves the jitter buffer. Exact to two looks, 20 ms.
  async function listenByStatistics(track) {
    const LOOK_MS = 10;
    let before = null;
    let quietSince = performance.now();
    while (track.readyState === 'live') {
      const peer = window.soleil?.peerConnection;
      const entries = peer ? [...(await peer.getStats(track)).values()] : [];
      const now = performance.now();
      const entry = entries.find((e) => e.type === 'inbound-rtp' && e.kind === 'audio');
      if (entry?.totalSamplesDuration > (before?.totalSamplesDuration ?? -1)) {
        const energy = entry.totalAudioEnergy - (before?.totalAudioEnergy ?? 0);
        const seconds = entry.totalSamplesDuration - (before?.totalSamplesDuration ?? 0);
        const level = Math.sqrt(energy / seconds);
        if (before) {
          probe.soundPeak = Math.max(probe.soundPeak, level);
          const loud = level > 0.02 && level > probe.soundPeak / 4;
          if (loud && now - quietSince > 300) {
            probe.onsets.push({ at: now, wall: wallAt(now), peak: level });
          }
          if (loud) quietSince = now;
        }
        before = entry;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  // Whether Web Audio runs: a browser without a loudspeaker may never start it.
  async function runningContext() {
    const context = new AudioContext({ latencyHint: 'interactive' });
    const late = new Promise((resolve) => setTimeout(resolve, 1_000));
    await Promise.race([context.resume(), late]);
    if (context.state === 'running') return context;
    context.close().catch((error) => probe.errors.push(`context: ${error}`));
    return null;
  }

  async function listenWithoutTracks(track) {
    const context = await runningContext();
    probe.ear = context ? 'context' : 'statistics';
    if (context) listenByContext(context, track);
    else await listenByStatistics(track);
  }

  // Starts listening, and follows the page from stream to stream. Call it after a user's gesture.
  probe.listen = () => {
    let heard = null;
    const follow = () => {
      const track = document.querySelector('video')?.srcObject?.getAudioTracks()[0];
      if (!track || track === heard) return;
      heard = track;
      if (typeof MediaStreamTrackProcessor === 'function') {
        probe.ear = 'track';
        listenToTrack(track.clone()).catch((error) => probe.errors.push(`sound: ${error}`));
      } else {
        listenWithoutTracks(track).catch((error) => probe.errors.push(`sound: ${error}`));
      }
    };
    follow();
    setInterval(follow, 500);
  };

  const seen = new WeakSet();
  const look = () => {
    for (const video of document.querySelectorAll('video')) {
      if (seen.has(video)) continue;
      seen.add(video);
      watch(video);
    }
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true });
  look();
}
