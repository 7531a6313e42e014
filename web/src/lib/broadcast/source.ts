// Where the picture and the sound come from: a camera, a screen, or a file. Opens them and lets them go;
// it decides nothing and says nothing to people.

/** What is sent. */
export type SourceKind = 'camera' | 'screen' | 'file';

/** What was chosen. */
export interface Wish {
  /** A device's id; empty: the browser's own choice. */
  camera: string;
  /** Likewise; `none`: no sound; `source`: the screen's own. */
  sound: string;
  /** The short side of the picture, in pixels. */
  side: number;
}

/** Something that is captured. */
export interface Capture {
  kind: SourceKind;
  /** What people call it. */
  label: string;
  media: MediaStream;
  /** Lets devices and memory go. */
  release(): void;
}

/** No sound is wanted. */
export const NO_SOUND = 'none';
/** The sound that belongs to the picture: a screen's, a file's. */
export const SOURCE_SOUND = 'source';

/** Frames a second that are asked for. */
const FPS = 30;
const WIDE = 16 / 9;

const picture = (side: number) => ({
  width: { ideal: Math.round(side * WIDE) },
  height: { ideal: side },
  frameRate: { ideal: FPS },
});

// Nobody speaks back, so there is no echo to take out, and taking it out would make the sound mono.
const sound = (id: string): MediaTrackConstraints => ({
  ...(id ? { deviceId: { exact: id } } : {}),
  echoCancellation: false,
  channelCount: { ideal: 2 },
});

const stopAll = (media: MediaStream) => media.getTracks().forEach((track) => track.stop());

const isMissing = (error: unknown) =>
  error instanceof DOMException && error.name === 'NotFoundError';

/** Whether this page may ask for cameras and screens: only pages that came by HTTPS may. */
export const mayCapture = () => window.isSecureContext && navigator.mediaDevices !== undefined;

/** Whether this browser lets screens be shown. Phones do not. */
export const mayShowScreens = () => mayCapture() && 'getDisplayMedia' in navigator.mediaDevices;

/** Opens a camera, and a microphone unless none is wanted or there is none. */
export async function openCamera(wish: Wish): Promise<Capture> {
  const video = {
    ...picture(wish.side),
    ...(wish.camera ? { deviceId: { exact: wish.camera } } : {}),
  };
  const wantsSound = wish.sound !== NO_SOUND;
  const microphone = sound(wish.sound === SOURCE_SOUND ? '' : wish.sound);
  let media: MediaStream;
  try {
    media = await navigator.mediaDevices.getUserMedia({ video, audio: wantsSound && microphone });
  } catch (error) {
    // One of the two is not there: the other may be.
    if (!wantsSound || !isMissing(error)) throw error;
    media = await navigator.mediaDevices.getUserMedia({ video });
  }
  const label = media.getVideoTracks()[0]?.label || 'Camera';
  return { kind: 'camera', label, media, release: () => stopAll(media) };
}

/** Lets people choose a screen, a window or a tab. */
export async function openScreen(wish: Wish): Promise<Capture> {
  const own = wish.sound === SOURCE_SOUND;
  const media = await navigator.mediaDevices.getDisplayMedia({
    video: picture(wish.side),
    audio: own,
  });
  if (!own && wish.sound !== NO_SOUND) {
    try {
      const more = await navigator.mediaDevices.getUserMedia({ audio: sound(wish.sound) });
      more.getTracks().forEach((track) => media.addTrack(track));
    } catch (error) {
      stopAll(media);
      throw error;
    }
  }
  const label = media.getVideoTracks()[0]?.label || 'Screen';
  return { kind: 'screen', label, media, release: () => stopAll(media) };
}

// Not in TypeScript's library; Firefox has it under its own name.
interface CapturingVideo {
  captureStream?(): MediaStream;
  mozCaptureStream?(): MediaStream;
}

/** Plays a file again and again, and captures what it plays. It never leaves this machine as it is. */
export async function openFile(file: File): Promise<Capture> {
  const url = URL.createObjectURL(file);
  const video = document.createElement('video');
  const end = () => {
    video.pause();
    video.removeAttribute('src');
    video.load();
    URL.revokeObjectURL(url);
  };
  try {
    video.muted = true; // here; what is captured has its sound
    video.loop = true;
    video.playsInline = true;
    video.src = url;
    await video.play();
    const capturing = video as CapturingVideo;
    const media = capturing.captureStream?.() ?? capturing.mozCaptureStream?.();
    if (!media) throw new DOMException('This browser cannot send files.', 'NotSupportedError');
    await hasTracks(media);
    const release = () => {
      stopAll(media);
      end();
    };
    return { kind: 'file', label: file.name, media, release };
  } catch (error) {
    end();
    throw error;
  }
}

/** Tracks of a captured file come with its first picture; how long that may take. */
const TRACKS_TIMEOUT_MS = 5_000;

function hasTracks(media: MediaStream): Promise<void> {
  if (media.getTracks().length > 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new DOMException('Nothing in this file can be played.', 'NotSupportedError'));
    }, TRACKS_TIMEOUT_MS);
    media.addEventListener(
      'addtrack',
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

/** A device to choose. */
export interface Device {
  id: string;
  label: string;
}

/** Cameras and microphones. Before the first permission browsers tell no names; those are left out. */
export async function listDevices(): Promise<{ cameras: Device[]; microphones: Device[] }> {
  const all = mayCapture() ? await navigator.mediaDevices.enumerateDevices() : [];
  const of = (kind: MediaDeviceKind) =>
    all
      .filter((device) => device.kind === kind && device.deviceId !== '' && device.label !== '')
      // Chromium lists these two beside the devices that they stand for.
      .filter((device) => !['default', 'communications'].includes(device.deviceId))
      .map((device) => ({ id: device.deviceId, label: device.label }));
  return { cameras: of('videoinput'), microphones: of('audioinput') };
}

/** The size of what is captured; what was asked for until the first picture has come. */
export function sizeOf(media: MediaStream, side: number): { width: number; height: number } {
  const settings = media.getVideoTracks()[0]?.getSettings();
  return {
    width: settings?.width ?? Math.round(side * WIDE),
    height: settings?.height ?? side,
  };
}
