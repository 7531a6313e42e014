// What runs inside the page and notes what the viewer sees and hears: the block row of each frame
// that the page's <video> shows, and the onsets of the keyed tone. It only notes; summary.mjs
// judges. It must not disturb what it measures: of each frame it copies two lines of brightness
// (VideoFrame.copyTo), or draws the row into a canvas of 160 x 1 where that is impossible.

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
    frames: [], // {at, wall, expected, presented, rtp, capture, width, height, frame, time}
    onsets: [], // {at, wall, peak}
    errors: [],
    soundPeak: 0,
    reader: null,
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
    probe.reader = 'canvas';
    Object.assign(note, decodeBlocks(luma));
  }

  function readByCopy(video, note) {
    const picture = new VideoFrame(video);
    const { x, width, y } = picture.visibleRect;
    const middle = y + 2 * Math.floor((picture.visibleRect.height * 16) / 720 / 2);
    const rect = { x, y: middle, width: width & ~1, height: 2 };
    const buffer = new Uint8Array(picture.allocationSize({ rect }));
    picture
      .copyTo(buffer, { rect })
      .then(([plane]) => {
        const block = width / BLOCKS;
        const luma = new Float64Array(BLOCKS);
        for (let i = 0; i < BLOCKS; i += 1) {
          const from = Math.ceil((i + 0.25) * block);
          const to = Math.max(from + 1, Math.floor((i + 0.75) * block));
          let sum = 0;
          for (let p = from; p < to; p += 1) sum += buffer[plane.offset + p];
          luma[i] = sum / (to - from);
        }
        probe.reader = 'copy';
        Object.assign(note, decodeBlocks(luma));
      })
      .catch((error) => probe.errors.push(`copyTo: ${error}`))
      .finally(() => picture.close());
  }

  function read(video, note) {
    const began = performance.now();
    try {
      if (typeof VideoFrame === 'function' && probe.reader !== 'canvas') {
        const sample = new VideoFrame(video);
        const planar = /^(I420|NV12)/.test(sample.format ?? '');
        sample.close();
        if (planar) readByCopy(video, note);
        else readByCanvas(video, note);
      } else readByCanvas(video, note);
    } catch (error) {
      probe.errors.push(String(error));
    }
    probe.readMs += performance.now() - began;
  }

  function watch(video) {
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
      read(video, note);
      video.requestVideoFrameCallback(step);
    };
    video.requestVideoFrameCallback(step);
  }

  // Listens to the stream that the video plays. Call it after a user's gesture.
  probe.listen = () => {
    const video = document.querySelector('video');
    if (!video?.srcObject || probe.context) return false;
    const context = new AudioContext({ latencyHint: 'interactive' });
    probe.context = context;
    const SIZE = 1024;
    // An AudioWorklet would need a script from the page's origin; this one needs none, so the
    // page's own content security policy stays in force while we measure.
    const tap = context.createScriptProcessor(SIZE, 1, 1);
    const silence = context.createGain();
    silence.gain.value = 0;
    tap.connect(silence).connect(context.destination);
    let stream = null;
    const follow = () => {
      if (video.srcObject === stream || !video.srcObject?.getAudioTracks().length) return;
      stream = video.srcObject;
      context.createMediaStreamSource(stream).connect(tap);
    };
    follow();
    setInterval(follow, 500);
    const step = Math.round(context.sampleRate / 1000); // loudness is looked at each millisecond
    let quiet = 0;
    tap.onaudioprocess = (event) => {
      const data = event.inputBuffer.getChannelData(0);
      // The block that just filled: it ends one block before the moment its output would be played.
      const start = event.playbackTime - (2 * SIZE) / context.sampleRate;
      const stamp = context.getOutputTimestamp();
      for (let i = 0; i + step <= data.length; i += step) {
        let peak = 0;
        for (let k = i; k < i + step; k += 1) peak = Math.max(peak, Math.abs(data[k]));
        probe.soundPeak = Math.max(probe.soundPeak, peak);
        // A quarter of the loudest so far is far above the hum and soon reached by the tone.
        const loud = peak > 0.02 && peak > probe.soundPeak / 4;
        if (loud && quiet > 300) {
          const heard = start + i / context.sampleRate;
          const perf = stamp.performanceTime + (heard - stamp.contextTime) * 1000;
          const now = performance.now();
          probe.onsets.push({ at: perf, wall: wallAt(perf), processed: wallAt(now), peak });
        }
        quiet = loud ? 0 : quiet + 1;
      }
    };
    return true;
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
