//! A broadcaster without an encoder: VP8-shaped RTP of a given rate, with bursts per frame as
//! encoders make them, large key frames and a stamp in every packet. It makes a key frame when it
//! is asked for one (PLI over RTCP, on the same port if not told otherwise), and counts how often.

use super::stamp::{FRAME_HEADER, STAMP_LEN, Stamp};
use relay_node::clock::Clock;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const SSRC: u32 = 0x50_4c_4f_44;
/// Sender Reports this often: they also tell the root that PLI is understood.
const REPORT_EVERY_US: u64 = 1_000_000;
/// Seconds from 1900 (NTP) to 1970.
const NTP_OFFSET_S: u64 = 2_208_988_800;
/// A paced source spreads a frame over this part of the frame interval.
const PACED_PART: f64 = 0.8;

/// What the source sends.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Bits a second of payload, key frames included.
    pub bitrate: u64,
    /// Frames a second.
    pub fps: u64,
    /// Frames from key frame to key frame.
    pub key_every: u64,
    /// A key frame is so many times as large as another.
    pub key_factor: u64,
    /// Payload bytes of a packet.
    pub payload: usize,
    /// Spreads each frame over its interval instead of sending it at once.
    pub paced: bool,
    /// RTP payload type.
    pub payload_type: u8,
}

impl Default for Pattern {
    /// 2.5 Mbit/s at 30 frames a second: 9 packets a frame, 54 a key frame, 281 a second.
    fn default() -> Self {
        Self {
            bitrate: 2_500_000,
            fps: 30,
            key_every: 120,
            key_factor: 6,
            payload: 1_115,
            paced: false,
            payload_type: 96,
        }
    }
}

impl Pattern {
    /// Packets of a frame.
    #[must_use]
    pub fn packets(&self, key: bool) -> u64 {
        let frames = self.key_every.max(1);
        let shares = frames - 1 + self.key_factor;
        let bytes = self.bitrate * frames / 8 / self.fps.max(1) / shares;
        let bytes = if key { bytes * self.key_factor } else { bytes };
        bytes.div_ceil(self.payload as u64).max(1)
    }

    /// Packets a second, on average.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let frames = self.key_every.max(1);
        let all = self.packets(true) + (frames - 1) * self.packets(false);
        all as f64 * self.fps as f64 / frames as f64
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    packets: AtomicU64,
    requests: AtomicU64,
}

/// A running source. Ends when dropped.
#[derive(Debug)]
pub struct LoadSource {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LoadSource {
    /// Begins to send to `to`.
    ///
    /// # Errors
    /// If there is no socket or thread.
    pub fn start(to: SocketAddr, pattern: Pattern, clock: Clock) -> io::Result<Self> {
        Self::begin(connected(to)?, None, pattern, clock)
    }

    /// Begins to send to `to`, and RTCP to `rtcp`.
    ///
    /// # Errors
    /// If there is no socket or thread.
    pub fn start_with_rtcp(
        to: SocketAddr,
        rtcp: SocketAddr,
        pattern: Pattern,
        clock: Clock,
    ) -> io::Result<Self> {
        Self::begin(connected(to)?, Some(connected(rtcp)?), pattern, clock)
    }

    fn begin(
        socket: UdpSocket,
        rtcp: Option<UdpSocket>,
        pattern: Pattern,
        clock: Clock,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("load-source".into()).spawn(move || {
            let (number, packets, octets) = (0, 0, 0);
            Sender { socket, rtcp, pattern, clock, shared: theirs, number, packets, octets }.run();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Packets sent so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.shared.packets.load(Ordering::Relaxed)
    }

    /// Key frames that were asked for so far.
    #[must_use]
    pub fn key_requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((if to.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Drop for LoadSource {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Sender {
    socket: UdpSocket,
    /// Where RTCP has a port of its own.
    rtcp: Option<UdpSocket>,
    pattern: Pattern,
    clock: Clock,
    shared: Arc<Shared>,
    number: u64,
    packets: u32,
    octets: u32,
}

impl Sender {
    fn run(&mut self) {
        let interval = 1_000_000 / self.pattern.fps.max(1);
        let begin = self.clock.now().mono.0;
        let (mut frame, mut since_key, mut next_report) = (0u64, 0u64, begin);
        let mut packet = Vec::with_capacity(1_500);
        while !self.shared.stop.load(Ordering::Relaxed) {
            let due = begin + frame * interval;
            self.sleep_until(due);
            let asked = self.requests();
            let key = asked || since_key.is_multiple_of(self.pattern.key_every.max(1));
            since_key = if key { 1 } else { since_key + 1 };
            let count = self.pattern.packets(key);
            let timestamp = (frame * 90_000 / self.pattern.fps.max(1)) as u32;
            for n in 0..count {
                if self.pattern.paced {
                    let part = interval as f64 * PACED_PART * n as f64 / count as f64;
                    self.sleep_until(due + part as u64);
                }
                self.write(&mut packet, timestamp, key, n == 0, n + 1 == count);
                // What the socket does not take is lost, and shows as loss against the source.
                let _ = self.socket.send(&packet);
            }
            if self.clock.now().mono.0 >= next_report {
                next_report += REPORT_EVERY_US;
                let _ = self.rtcp().send(&self.report(timestamp));
            }
            frame += 1;
        }
    }

    fn rtcp(&self) -> &UdpSocket {
        self.rtcp.as_ref().unwrap_or(&self.socket)
    }

    fn sleep_until(&self, due: u64) {
        let now = self.clock.now().mono.0;
        if due > now {
            super::pause(Duration::from_micros(due - now));
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, timestamp: u32, key: bool, first: bool, last: bool) {
        out.clear();
        out.push(0x80);
        out.push((u8::from(last) << 7) | self.pattern.payload_type);
        out.extend((self.number as u16).to_be_bytes());
        out.extend(timestamp.to_be_bytes());
        out.extend(SSRC.to_be_bytes());
        // The descriptor: start of partition 0 in the frame's first packet.
        out.push(if first { 0x10 } else { 0x00 });
        if first {
            // Frame tag, start code, 1280 x 720 (RFC 6386 section 9.1).
            let tag = if key { 0x10 } else { 0x11 };
            out.extend([tag, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
            debug_assert_eq!(out.len(), 12 + 1 + FRAME_HEADER);
        }
        let sent_us = self.clock.now().wall.0;
        out.extend(Stamp { number: self.number, sent_us, key }.to_bytes());
        debug_assert!(out.len() <= 12 + 1 + FRAME_HEADER + STAMP_LEN);
        out.resize(12 + self.pattern.payload.max(1 + FRAME_HEADER + STAMP_LEN), 0xa5);
        self.number += 1;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(out.len() as u32 - 12);
        self.shared.packets.store(self.number, Ordering::Relaxed);
    }

    /// A Sender Report (RFC 3550 section 6.4.1).
    fn report(&self, timestamp: u32) -> [u8; 28] {
        let wall = self.clock.now().wall.0;
        let seconds = (wall / 1_000_000 + NTP_OFFSET_S) as u32;
        let fraction = ((wall % 1_000_000) << 32) / 1_000_000;
        let words = [0x80c8_0006, SSRC, seconds, fraction as u32, timestamp];
        let mut out = [0; 28];
        for (at, word) in words.into_iter().chain([self.packets, self.octets]).enumerate() {
            out[4 * at..4 * at + 4].copy_from_slice(&word.to_be_bytes());
        }
        out
    }

    /// Whether a key frame was asked for since the last look.
    fn requests(&self) -> bool {
        let mut buffer = [0; 1_500];
        let mut asked = false;
        while let Ok(size) = self.rtcp().recv(&mut buffer) {
            let mut rest = &buffer[..size];
            while let [head, kind, high, low, ..] = *rest {
                // PLI: RFC 4585 section 6.3.1.
                if kind == 206 && head & 0x1f == 1 {
                    self.shared.requests.fetch_add(1, Ordering::Relaxed);
                    asked = true;
                }
                let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_the_peers_were_measured_with() {
        let rate = Pattern::default().rate();
        assert!((280.0..310.0).contains(&rate), "{rate}");
    }

    #[test]
    fn rtcp_may_have_a_port_of_its_own() {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [media, rtcp] = &sockets;
        rtcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let to = |socket: &UdpSocket| socket.local_addr().unwrap();
        let pattern = Pattern::default();
        let source =
            LoadSource::start_with_rtcp(to(media), to(rtcp), pattern, Clock::start()).unwrap();
        let mut buffer = [0; 1_500];
        let (size, from) = rtcp.recv_from(&mut buffer).unwrap();
        assert_eq!((size, buffer[1]), (28, 200));
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0x50, 0x4c, 0x4f, 0x44];
        rtcp.send_to(&pli, from).unwrap();
        let deadline = Duration::from_secs(5);
        assert!(crate::wait::holds_within(deadline, || source.key_requests() == 1));
        media.set_read_timeout(Some(deadline)).unwrap();
        let (size, _) = media.recv_from(&mut buffer).unwrap();
        assert_eq!((size, buffer[1] & 0x7f), (12 + Pattern::default().payload, 96));
    }

    #[test]
    fn it_sends_stamped_packets_and_answers_a_request() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let clock = Clock::start();
        let pattern = Pattern { key_every: 1_000_000, ..Pattern::default() };
        let to = receiver.local_addr().unwrap();
        let source = LoadSource::start(to, pattern, clock).unwrap();
        let mut buffer = [0; 1_500];
        let mut keys = Vec::new();
        let mut next = 0;
        while keys.len() < 2 {
            let (size, from) = receiver.recv_from(&mut buffer).unwrap();
            if buffer[1] & 0x7f != 96 {
                continue;
            }
            assert_eq!(size, 12 + Pattern::default().payload);
            let stamp = Stamp::find(&buffer[12..size]).unwrap();
            assert_eq!(stamp.number, next);
            next += 1;
            if stamp.key && buffer[12] == 0x10 {
                keys.push(stamp.number);
                let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0x50, 0x4c, 0x4f, 0x44];
                receiver.send_to(&pli, from).unwrap();
            }
            assert!(next < 3_000, "no second key frame came");
        }
        assert_eq!(keys[0], 0);
        assert!(source.key_requests() >= 1);
        assert!(source.packets() >= next);
    }
}
