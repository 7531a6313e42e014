// The one change that the page makes to its offer. Pure text work; no other SDP knowledge is needed
// in the page.

/**
 * Asks for stereo Opus (RFC 7587, section 6.1: `stereo=1` says that the receiver prefers stereo).
 * Without it Chromium and Safari decode to mono even where the source is stereo.
 */
export function preferStereo(sdp: string): string {
  const opus = [...sdp.matchAll(/^a=rtpmap:(\d+) opus\/48000\/2\r?$/gim)].map((m) => m[1]);
  return opus.reduce<string>((text, pt) => {
    const fmtp = new RegExp(`^(a=fmtp:${pt} )([^\\r\\n]*)`, 'm');
    const found = fmtp.exec(text);
    if (!found) {
      return text.replace(
        new RegExp(`^(a=rtpmap:${pt} [^\\r\\n]*)(\\r?\\n)`, 'm'),
        `$1$2a=fmtp:${pt} stereo=1$2`,
      );
    }
    if (/(^|;)\s*stereo=/.test(found[2] ?? '')) return text;
    return text.replace(fmtp, '$1$2;stereo=1');
  }, sdp);
}
