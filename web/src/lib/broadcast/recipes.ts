// Lines to copy into other broadcasters: OBS, FFmpeg, GStreamer. Pure. They send over WHIP, with the
// stream's own address; the token is put in only if somebody wants that.

/** What the lines are for. */
export interface RecipeInput {
  /** The stream's WHIP address. */
  url: string;
  /** The token, or null for a placeholder. */
  token: string | null;
  /** The picture's codec as the API names it; null if the stream has none. */
  codec: string | null;
  sound: boolean;
}

/** One line to copy. */
export interface Line {
  label: string;
  text: string;
  /** As it may stand on a screen that others see: a token that was put in is not shown. */
  shown: string;
}

/** How to send with one program. */
export interface Recipe {
  id: 'obs' | 'ffmpeg' | 'gstreamer';
  name: string;
  /** What one has to know. */
  notes: string[];
  lines: Line[];
}

/** Stands for a token that was not put in. */
export const PLACEHOLDER = 'TOKEN';
/** Stands for one that was, on the screen. */
const HIDDEN = '••••••••';

/** Quotes a text for a POSIX shell. */
export const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The lines for all programs. */
export function recipes(input: RecipeInput): Recipe[] {
  const line = (label: string, make: (token: string) => string): Line => ({
    label,
    text: make(input.token ?? PLACEHOLDER),
    shown: make(input.token === null ? PLACEHOLDER : HIDDEN),
  });
  const sends = (codecs: string[]) => input.codec === null || codecs.includes(input.codec);
  const wrong = (program: string, codecs: string[]) =>
    sends(codecs)
      ? []
      : [
          `${program} sends ${codecs.join(' or ')} over WHIP, and this stream takes ${input.codec}.`,
        ];
  return [
    {
      id: 'obs',
      name: 'OBS Studio',
      notes: [
        ...wrong('OBS', ['H264', 'AV1']),
        'OBS 30 or later. Settings, Stream: choose the service WHIP. Settings, Output: B-frames 0, key frames every 1 or 2 s.',
      ],
      lines: [line('Server', () => input.url), line('Bearer token', (token) => token)],
    },
    {
      id: 'ffmpeg',
      name: 'FFmpeg',
      notes: [
        ...wrong('FFmpeg', ['H264']),
        'FFmpeg 8.1 or later, built with WHIP. Put your own file or device after -i.',
      ],
      lines: [line('In a shell', (token) => ffmpeg(input, token))],
    },
    {
      id: 'gstreamer',
      name: 'GStreamer',
      notes: [
        'whipclientsink of gst-plugins-rs, GStreamer 1.24 or later. Put your own sources in place of the test picture and tone.',
      ],
      lines: [line('In a shell', (token) => gstreamer(input, token))],
    },
  ];
}

function ffmpeg({ url, codec, sound }: RecipeInput, token: string): string {
  return [
    'ffmpeg -re -i input.mp4',
    codec === null
      ? '-vn'
      : '-c:v libx264 -profile:v baseline -tune zerolatency -bf 0 -g 60 -pix_fmt yuv420p',
    sound ? '-c:a libopus -ar 48000 -ac 2' : '-an',
    `-f whip -whip_flags dtls_active -authorization ${quote(token)} ${quote(url)}`,
  ].join(' \\\n  ');
}

const CAPS: Record<string, string> = {
  H264: 'video/x-h264',
  VP8: 'video/x-vp8',
  VP9: 'video/x-vp9',
  AV1: 'video/x-av1',
};

function gstreamer({ url, codec, sound }: RecipeInput, token: string): string {
  const caps = codec === null ? [] : [`video-caps=${CAPS[codec] ?? 'video/x-h264'}`];
  return [
    ['gst-launch-1.0 whipclientsink name=out', ...caps].join(' '),
    `signaller::whip-endpoint=${quote(url)} signaller::auth-token=${quote(token)}`,
    ...(codec === null ? [] : ['videotestsrc is-live=true ! videoconvert ! out.']),
    ...(sound ? ['audiotestsrc is-live=true ! audioconvert ! out.'] : []),
  ].join(' \\\n  ');
}
