// Full screen and the floating window, as far as a browser has them.

// Safari on phones shows only videos in full screen, by a call of its own.
interface OldSafariVideo {
  webkitEnterFullscreen?(): void;
}

/** Shows `frame` in full screen, or leaves it. */
export function toggleFullscreen(frame: HTMLElement, video: HTMLVideoElement): void {
  if (document.fullscreenElement) void document.exitFullscreen();
  else if (frame.requestFullscreen) void frame.requestFullscreen().catch(() => undefined);
  else (video as OldSafariVideo).webkitEnterFullscreen?.();
}

/** Shows `video` in a window of its own, or takes it back. */
export function toggleFloat(video: HTMLVideoElement): void {
  if (document.pictureInPictureElement) void document.exitPictureInPicture();
  else void video.requestPictureInPicture().catch(() => undefined);
}
