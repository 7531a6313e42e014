#!/usr/bin/env python3
"""Broadcasts a media file over WHIP (RFC 9725) with aiortc, until it gets SIGTERM.

    whip.py URL FILE --token TOKEN [--codec VP8]

Prints a JSON line when media flow and one at the end with what was sent, like
tests/browser/publish.mjs. aiortc has WebRTC but no WHIP, which is all that is here: a POST of the
offer with the bearer token, and a DELETE of the session.
"""

import argparse
import asyncio
import json
import signal
import sys
import urllib.error
import urllib.request

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer

# Connecting, and each request, may take so many seconds.
PATIENCE = 30


def request(method, url, body=None, token=None):
    """One HTTP request; gives status, Location and body."""
    headers = {"Content-Type": "application/sdp"} if body else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = body.encode() if body else None
    asked = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            return answer.status, answer.headers.get("Location"), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, None, error.read().decode()


async def sent(peer):
    """What has gone out, by kind."""
    reports = (await peer.getStats()).values()
    outbound = [report for report in reports if report.type == "outbound-rtp"]
    return {report.kind: report.packetsSent for report in outbound}


async def publish(options):
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)

    # No STUN server: nothing outside this machine is asked.
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    player = MediaPlayer(options.file)
    peer.addTransceiver(player.audio, direction="sendonly")
    picture = peer.addTransceiver(player.video, direction="sendonly")
    wanted = {f"video/{options.codec}".lower(), "video/rtx"}
    codecs = RTCRtpSender.getCapabilities("video").codecs
    picture.setCodecPreferences([codec for codec in codecs if codec.mimeType.lower() in wanted])

    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp
    status, location, body = await asyncio.to_thread(
        request, "POST", options.url, offer, options.token
    )
    if status != 201:
        raise RuntimeError(f"{status}: {body}")
    await peer.setRemoteDescription(RTCSessionDescription(body, "answer"))
    for _ in range(PATIENCE * 20):
        flowing = await sent(peer)
        if len(flowing) == 2 and all(flowing.values()):
            break
        await asyncio.sleep(0.05)
    else:
        raise RuntimeError(f"nothing flows: {peer.connectionState}")
    print(json.dumps({"ok": True, "location": location}), flush=True)

    await told.wait()
    packets = await sent(peer)
    status, _, body = await asyncio.to_thread(request, "DELETE", location)
    await peer.close()
    print(json.dumps({"ok": status == 200, "end": status, "packets": packets}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("file")
    parser.add_argument("--token")
    parser.add_argument("--codec", default="VP8")
    options = parser.parse_args()
    # aioice leaves the loopback interface out; a test may have no other one.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"] if use_ipv4 else []
    try:
        asyncio.run(publish(options))
    except Exception as error:  # Whatever it is, whoever started this reads a line of it.
        print(json.dumps({"ok": False, "reason": f"{type(error).__name__}: {error}"}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
