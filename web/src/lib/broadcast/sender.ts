// One attempt at broadcasting: what is offered, and what is sent. It decides nothing: it tells the
// broadcaster what became of it.

import { Attempt, type AttemptEvents } from '../attempt';
import { encodings, type LayerPlan } from './layers';
import { readSent, type SentSample } from './sent';
import { endSession, publish, WhipError, type Failure } from './whip';

/** What to send, and where. */
export interface Job {
  /** The stream's WHIP address. */
  url: string;
  token: string;
  media: MediaStream;
  /** The picture's codec as the root names it; null if the stream has no picture. */
  codec: string | null;
  /** Whether the stream has sound. */
  sound: boolean;
  plans: readonly LayerPlan[];
}

/** What the broadcaster wants to hear. */
export interface SenderEvents extends AttemptEvents {
  failed(failure: Failure): void;
}

/** The codec alone, and its resends. */
function preferences(codec: string): RTCRtpCodec[] {
  const wanted = [`video/${codec}`.toLowerCase(), 'video/rtx'];
  const all = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
  return all.filter((entry) => wanted.includes(entry.mimeType.toLowerCase()));
}

/** Whether this browser can send pictures of a codec. */
export const canSend = (codec: string) =>
  preferences(codec).some((entry) => !entry.mimeType.toLowerCase().endsWith('/rtx'));

const inBrowser = (detail: string): Failure => ({ kind: 'browser', detail, retryAfter: null });

/** A WHIP session seen from the browser. */
export class Sender extends Attempt {
  /** Samples of the last seconds, oldest first; the broadcaster keeps them here. */
  readonly samples: SentSample[] = [];

  constructor(
    readonly id: number,
    private readonly job: Job,
    iceServers: RTCIceServer[],
    private readonly events: SenderEvents,
  ) {
    super(iceServers, events);
  }

  /** Offers and takes the answer in; failures go to `events.failed`. */
  async start(): Promise<void> {
    try {
      await this.#begin();
    } catch (error) {
      if (this.closed) return;
      this.events.failed(error instanceof WhipError ? error.failure : inBrowser(String(error)));
    }
  }

  async #begin(): Promise<void> {
    const { url, token, codec } = this.job;
    if (codec !== null && !canSend(codec)) {
      throw new WhipError(inBrowser(`The stream takes ${codec}, which this browser cannot make.`));
    }
    this.#addTracks();
    const offer = await this.peer.createOffer();
    // Candidates are not waited for: the root is ICE-lite and learns ours from the first check
    // (RFC 8445, 7.3.1.3).
    await this.peer.setLocalDescription(offer);
    await this.exchange(
      (signal) => publish(url, token, offer.sdp ?? '', signal),
      () => this.peer.getSenders()[0]?.transport,
    );
  }

  protected leave(location: string): void {
    endSession(location, this.job.token);
  }

  #addTracks(): void {
    const { media, codec, sound, plans } = this.job;
    // Both kinds are offered as the stream has them, so that a source may be changed for one with
    // sound, or with a picture, on the way.
    if (codec !== null) {
      const video = this.peer.addTransceiver(media.getVideoTracks()[0] ?? 'video', {
        direction: 'sendonly',
        streams: [media],
        sendEncodings: encodings(plans, codec),
      });
      video.setCodecPreferences?.(preferences(codec));
    }
    if (sound) {
      this.peer.addTransceiver(media.getAudioTracks()[0] ?? 'audio', {
        direction: 'sendonly',
        streams: [media],
      });
    }
  }

  /** Sends something else from now on, without a new session. */
  async replace(media: MediaStream, plans: readonly LayerPlan[]): Promise<void> {
    for (const { sender, receiver } of this.peer.getTransceivers()) {
      const { kind } = receiver.track;
      const track = media.getTracks().find((candidate) => candidate.kind === kind) ?? null;
      await sender.replaceTrack(track);
      if (kind !== 'video') continue;
      const parameters = sender.getParameters();
      parameters.encodings.forEach((encoding, index) => {
        // As many as were offered; what does not fit any more rests.
        const plan = plans[index];
        encoding.active = plan !== undefined;
        if (!plan) return;
        encoding.scaleResolutionDownBy = plan.scale;
        encoding.maxBitrate = plan.maxBitrate;
      });
      if (parameters.encodings.length > 0) await sender.setParameters(parameters);
    }
  }

  /** Takes a sample of the statistics. */
  async sample(): Promise<SentSample> {
    const report = await this.peer.getStats();
    return readSent(report as unknown as Iterable<[string, unknown]>, performance.now());
  }
}
