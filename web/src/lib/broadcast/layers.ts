// Which encodings to send: how many layers the stream has, how large each one is, what it may take.
// Pure. A layer's size and rate follow from the captured picture and what was chosen.

/** What a stream takes, as far as it matters for a picture. */
export interface PictureTarget {
  /** H264, VP8, VP9 or AV1. */
  codec: string;
  /** How many layers the stream has. */
  layers: number;
}

/** One encoding. */
export interface LayerPlan {
  /** Its rid (RFC 8852), or null where there is only one encoding. */
  rid: string | null;
  /** For people. */
  name: string;
  /** `scaleResolutionDownBy`. */
  scale: number;
  /** bit/s. */
  maxBitrate: number;
  width: number;
  height: number;
}

/** Names of simulcast layers, the best first: the root goes by this order. Browsers send three at most. */
const NAMES = [
  { rid: 'h', name: 'High' },
  { rid: 'm', name: 'Middle' },
  { rid: 'l', name: 'Low' },
] as const;

/** What 720p at 30 frames a second may take, in bit/s, and its pixels. */
const REFERENCE = { bitrate: 2_500_000, pixels: 1280 * 720 };
/** Larger pictures need less for each pixel. */
const EXPONENT = 0.8;
/** Below this nothing can be recognised, in bit/s. */
const LEAST_BITRATE = 80_000;
/**
 * The short side of the smallest layer worth sending, in pixels: what browsers themselves hold to (three
 * layers from 960 × 540 on, two from 480 × 270 on). What is smaller they leave out without a word.
 */
const LEAST_SIDE = 135;

/** What a picture may take, in bit/s. */
export function bitrateFor(width: number, height: number): number {
  const share = ((width * height) / REFERENCE.pixels) ** EXPONENT;
  return Math.max(LEAST_BITRATE, Math.round((REFERENCE.bitrate * share) / 10_000) * 10_000);
}

/**
 * The encodings for a stream, the best first. `source` is the captured picture, `side` the short side
 * that was chosen (720 for 720p): a larger picture is scaled down to it, a smaller one is left alone.
 * `offered` is how many encodings a session has that stands already: there can't be more of them, and
 * they keep their names.
 */
export function planLayers(
  target: PictureTarget,
  source: { width: number; height: number },
  side: number,
  offered: number | null = null,
): LayerPlan[] {
  const short = Math.max(1, Math.min(source.width, source.height));
  const first = Math.max(1, short / side);
  const fits = (index: number) => index === 0 || short / (first * 2 ** index) >= LEAST_SIDE;
  const limit = Math.min(target.layers, offered ?? target.layers);
  const count = Math.max(1, NAMES.filter((_, index) => index < limit && fits(index)).length);
  const single = (offered ?? count) <= 1;
  return NAMES.slice(0, count).map(({ rid, name }, index) => {
    const scale = first * 2 ** index;
    const width = Math.round(source.width / scale);
    const height = Math.round(source.height / scale);
    return {
      rid: single ? null : rid,
      name: single ? 'Picture' : name,
      scale,
      maxBitrate: bitrateFor(width, height),
      width,
      height,
    };
  });
}

// Newer than TypeScript's library.
type Encoding = RTCRtpEncodingParameters & { scalabilityMode?: string };

/** The same as `sendEncodings` of `addTransceiver`. */
export function encodings(plans: readonly LayerPlan[], codec: string): RTCRtpEncodingParameters[] {
  return plans.map((plan) => {
    const encoding: Encoding = {
      scaleResolutionDownBy: plan.scale,
      maxBitrate: plan.maxBitrate,
    };
    if (plan.rid !== null) {
      encoding.rid = plan.rid;
      // Without this Chromium makes several encodings of VP9 and AV1 into one with spatial layers.
      if (codec === 'VP9' || codec === 'AV1') encoding.scalabilityMode = 'L1T1';
    }
    return encoding;
  });
}
