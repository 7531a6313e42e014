//! When a broadcaster gets RTCP from us: a Receiver Report each second and merged key-frame
//! requests, and only if it has shown RTCP itself. Pure; the bytes are made in `rtcp`.

use super::layer::Port;
use super::rtcp::{self, ReportBlock};
use super::source::{Source, ToSender};
use soleil_protocol::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// How often the sender hears how its packets fare.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// At most two key-frame requests a second: an encoder that answers each of them would spend its
/// bit rate on key frames. It counts for all layers of one encoder together: one that makes several
/// (simulcast) may begin all of them anew when it is asked for one.
pub const PLI_INTERVAL: Duration = Duration::from_millis(500);

/// The RTCP side of one port.
#[derive(Debug)]
pub struct Feedback {
    own: u32,
    peer: Option<Peer>,
    next_report: Mono,
    wanted: bool,
    last_pli: Option<Mono>,
    queue: VecDeque<ToSender>,
}

/// Where the sender's RTCP comes from, which is where ours goes (RFC 4961).
#[derive(Debug, Clone, Copy)]
struct Peer {
    port: Port,
    addr: Source,
    report: Option<(u32, Mono)>,
}

impl Feedback {
    /// With our SSRC.
    pub fn new(own: u32) -> Self {
        Self {
            own,
            peer: None,
            next_report: Mono(0),
            wanted: false,
            last_pli: None,
            queue: VecDeque::new(),
        }
    }

    /// Another sender has to show RTCP anew.
    pub fn change_source(&mut self) {
        self.peer = None;
        self.queue.clear();
    }

    /// The sender's RTCP came, with the NTP time of a Sender Report.
    pub fn sender_shows(&mut self, now: Mono, port: Port, addr: Source, ntp: Option<u64>) {
        if self.peer.is_none() {
            self.next_report = now.after(REPORT_INTERVAL);
        }
        let before = self.peer.and_then(|p| p.report);
        // Sender Report time stamps are echoed by their middle 32 bits (RFC 3550 section 6.4.1).
        let report = ntp.map(|ntp| ((ntp >> 16) as u32, now)).or(before);
        self.peer = Some(Peer { port, addr, report });
    }

    /// Somebody needs a key frame.
    pub fn want_key_frame(&mut self) {
        self.wanted = true;
    }

    /// One has begun: whoever waited has it.
    pub fn key_frame_came(&mut self) {
        self.wanted = false;
    }

    /// Makes what is due; says whether a PLI was among it.
    pub fn handle_timeout(&mut self, now: Mono, block: impl FnOnce() -> ReportBlock) -> bool {
        let Some(peer) = self.peer else { return false };
        let pli = self.pli_due().is_some_and(|due| due <= now);
        if !pli && now < self.next_report {
            return false;
        }
        let mut block = block();
        if let Some((ntp, at)) = peer.report {
            block.last_report = ntp;
            block.delay = (now.since(at).as_micros() * 65_536 / 1_000_000) as u32;
        }
        self.queue.push_back(ToSender {
            port: peer.port,
            to: peer.addr,
            key_frame: pli,
            bytes: rtcp::write(self.own, block, pli),
        });
        self.next_report = now.after(REPORT_INTERVAL);
        if pli {
            self.wanted = false;
            self.last_pli = Some(now);
        }
        pli
    }

    /// When [`Feedback::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.peer?;
        Some(self.pli_due().map_or(self.next_report, |due| due.min(self.next_report)))
    }

    /// When the sender was asked for a key frame last, here or through another layer of its.
    pub fn asked(&self) -> Option<Mono> {
        self.last_pli
    }

    /// The same encoder was asked through another layer: the next request waits for that as well.
    pub fn asked_elsewhere(&mut self, at: Mono) {
        self.last_pli = self.last_pli.max(Some(at));
    }

    /// The next packet for the sender.
    pub fn poll_send(&mut self) -> Option<ToSender> {
        self.queue.pop_front()
    }

    fn pli_due(&self) -> Option<Mono> {
        self.wanted.then(|| self.last_pli.map_or(Mono(0), |last| last.after(PLI_INTERVAL)))
    }
}
