// Runs in a page: draws the test picture and plays its tone, as a stream to send. Sent into pages as
// source text, so it refers to nothing outside itself but `encodeBlocks`, which comes in.

/**
 * Starts drawing; gives the MediaStream. `window.still` stops the picture. With `grain` a part of it is
 * noise, which costs encoders bits, as real pictures do.
 */
export function drawing(encodeBlocks, { width, height, fps, grain = false }) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext('2d');
  let frame = 0;
  const block = width / 80;
  const row = (height * 32) / 720;
  const noise = pen.createImageData(Math.floor(width / 8), Math.floor(height / 8));
  const pixels = new Uint32Array(noise.data.buffer);
  let state = 1;
  setInterval(() => {
    if (window.still) return;
    frame += 1;
    const now = Date.now();
    pen.fillStyle = `hsl(${(frame * 2) % 360} 40% 35%)`;
    pen.fillRect(0, 0, width, height);
    encodeBlocks(frame, now).forEach((bit, i) => {
      pen.fillStyle = bit ? '#fff' : '#000';
      pen.fillRect(i * block, 0, block, row);
    });
    pen.fillStyle = '#fff';
    pen.font = `${height / 8}px monospace`;
    pen.fillText(new Date(now).toISOString().slice(11, 23), width / 8, height / 2);
    pen.fillRect(((frame * 7) % width) - 10, height * 0.8, 20, 20);
    if (!grain) return;
    for (let i = 0; i < pixels.length; i += 1) {
      // Grey of any brightness, by xorshift32.
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      pixels[i] = 0xff000000 | ((state & 0xff) * 0x010101);
    }
    pen.putImageData(noise, Math.floor(width / 2), Math.floor(height / 4));
  }, 1000 / fps);

  const context = new AudioContext();
  const tone = new OscillatorNode(context, { frequency: 1000 });
  const key = new GainNode(context, { gain: 0 });
  const out = context.createMediaStreamDestination();
  tone.connect(key).connect(out);
  tone.start();
  let planned = 0;
  setInterval(() => {
    const now = Date.now();
    const second = Math.ceil((now + 200) / 1000);
    if (second === planned) return;
    planned = second;
    const at = context.currentTime + (second * 1000 - now) / 1000;
    key.gain.setValueAtTime(0.5, at);
    key.gain.setValueAtTime(0, at + 0.1);
  }, 100);

  return new MediaStream([
    ...canvas.captureStream(fps).getVideoTracks(),
    ...out.stream.getAudioTracks(),
  ]);
}
