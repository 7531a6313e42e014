//! The machine's limit for a leaf's work: as many keys and destinations as viewers, and of each
//! packet one copy, one seal (AES-128-GCM) and its part of a GSO send, nothing else. What a leaf
//! spends beyond that is what being a WHEP server costs. It runs in a process of its own, so that
//! its CPU time is counted as a server's is.

use super::source::Pattern;
use relay_node::clock::Clock;
use relay_node::io::udp::{SendBatch, UdpBatch, UdpOptions};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes that are sealed before they are handed to the kernel.
const FLUSH_BYTES: usize = 512 * 1024;
/// RTP header with one extension of 12 bytes, as a leaf's packets have.
const HEADER: usize = 28;
const TAG: usize = 16;
/// How long it waits for room in the socket's buffer.
const PATIENCE: Duration = Duration::from_millis(50);

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitJob {
    /// Where the datagrams go; one key for each.
    pub destinations: Vec<SocketAddr>,
    /// Seconds to run before measuring.
    pub warm_up: u64,
    /// Seconds to measure.
    pub seconds: u64,
    /// Bits a second for each destination.
    pub bitrate: u64,
}

/// What it has cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LimitResult {
    /// Packets handed to the kernel while measuring.
    pub packets: u64,
    /// Packets that the kernel did not take.
    pub dropped: u64,
    /// CPU time while measuring, in nanoseconds.
    pub cpu_ns: u64,
}

struct Viewer {
    to: SocketAddr,
    key: LessSafeKey,
    number: u64,
}

/// Does it.
///
/// # Errors
/// Sockets, or a key that the library refuses.
pub fn run(job: &LimitJob) -> io::Result<LimitResult> {
    let pattern = Pattern { bitrate: job.bitrate, ..Pattern::default() };
    let clock = Clock::start();
    let socket = UdpBatch::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &UdpOptions::default())?;
    let mut viewers = Vec::with_capacity(job.destinations.len());
    for (n, to) in job.destinations.iter().enumerate() {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let key = UnboundKey::new(&AES_128_GCM, &bytes).map_err(|_| refused())?;
        viewers.push(Viewer { to: *to, key: LessSafeKey::new(key), number: 0 });
    }
    let payload = vec![0xa5; pattern.payload];
    let mut out = Out { bytes: Vec::with_capacity(FLUSH_BYTES + 65_536), ..Out::default() };
    let interval = 1_000_000 / pattern.fps;
    let begin = clock.now().mono.0;
    let (warm, end) = (job.warm_up * pattern.fps, (job.warm_up + job.seconds) * pattern.fps);
    let mut before = (0, 0, 0);
    for frame in 0..end {
        if frame == warm {
            before = (out.sent, out.dropped, super::cpu::own_ns()?);
        }
        let now = clock.now().mono.0;
        let due = begin + frame * interval;
        if due > now {
            super::pause(Duration::from_micros(due - now));
        }
        let packets = pattern.packets(frame.is_multiple_of(pattern.key_every));
        for viewer in &mut viewers {
            for _ in 0..packets {
                viewer.seal(&payload, &mut out)?;
            }
            if out.bytes.len() >= FLUSH_BYTES {
                out.flush(&socket);
            }
        }
        out.flush(&socket);
    }
    Ok(LimitResult {
        packets: out.sent - before.0,
        dropped: out.dropped - before.1,
        cpu_ns: super::cpu::own_ns()? - before.2,
    })
}

fn refused() -> io::Error {
    io::Error::other("the cipher refused")
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    spans: Vec<(SocketAddr, usize, usize)>,
    sent: u64,
    dropped: u64,
}

impl Out {
    fn flush(&mut self, socket: &UdpBatch) {
        let mut batch = SendBatch::new();
        for (to, start, end) in &self.spans {
            batch.push(*to, &self.bytes[*start..*end]);
        }
        loop {
            let report = socket.send(&mut batch);
            self.sent += report.sent as u64;
            self.dropped += report.refused as u64;
            if report.left == 0 {
                break;
            }
            if !socket.wait_writable(PATIENCE) {
                self.dropped += report.left as u64;
                break;
            }
        }
        drop(batch);
        self.spans.clear();
        self.bytes.clear();
    }
}

impl Viewer {
    fn seal(&mut self, payload: &[u8], out: &mut Out) -> io::Result<()> {
        let start = out.bytes.len();
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&[0x90, 96]);
        header[2..4].copy_from_slice(&(self.number as u16).to_be_bytes());
        out.bytes.extend_from_slice(&header);
        out.bytes.extend_from_slice(payload);
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&self.number.to_be_bytes());
        self.number += 1;
        let tag = self.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header),
            &mut out.bytes[start + HEADER..],
        );
        let tag = tag.map_err(|_| refused())?;
        debug_assert_eq!(tag.as_ref().len(), TAG);
        out.bytes.extend_from_slice(tag.as_ref());
        out.spans.push((self.to, start, out.bytes.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_sent_arrives() {
        let sinks: Vec<_> = (0..3)
            .map(|_| UdpBatch::bind("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()))
            .collect::<Result<_, _>>()
            .unwrap();
        let job = LimitJob {
            destinations: sinks.iter().map(UdpBatch::local_addr).collect(),
            warm_up: 0,
            seconds: 1,
            bitrate: 2_500_000,
        };
        let result = run(&job).unwrap();
        let expected = Pattern::default().rate() as u64 * 3;
        assert!(result.packets > expected * 9 / 10, "{result:?}");
        assert_eq!(result.dropped, 0);
        assert!(result.cpu_ns > 0);
        let mut got = 0;
        let mut batch = relay_node::io::udp::RecvBatch::new(16);
        for sink in &sinks {
            while sink.recv(&mut batch).unwrap() > 0 {
                got += batch
                    .segments()
                    .filter(|(_, d)| d.len() == HEADER + Pattern::default().payload + TAG)
                    .count();
            }
        }
        assert_eq!(got as u64, result.packets);
    }
}
