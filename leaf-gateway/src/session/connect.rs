//! The way to media: checks, the handshake away from the media thread, keys.

use super::dtls::{self, DtlsDone, DtlsEvent, DtlsJob, Handshaken};
use super::ice::Outcome;
use super::timers::Timer;
use super::{Action, EndCause, Keys, MAX_DTLS_LEN, MAX_LATE_DTLS, MAX_WAITING_DTLS, Session};
use relay_node::media::srtp::{SrtcpOpener, SrtcpSealer, SrtpSealer};
use soleil_protocol::Mono;
use soleil_protocol::pipeline::MediaKind;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The first report comes early, so that sound and picture are together from the beginning.
const FIRST_REPORT: Duration = Duration::from_millis(100);

impl Session {
    /// Takes back what [`Action::Dtls`] gave out.
    pub fn handle_dtls(&mut self, now: Mono, done: DtlsDone) {
        let DtlsDone { dtls, output, events, result } = done;
        self.dtls = dtls;
        if self.ended {
            return;
        }
        if let Some(to) = self.dtls_peer.filter(|to| self.ice.is_validated(now, *to)) {
            self.actions.extend(output.into_iter().map(|data| Action::Send(to, data)));
        }
        for event in events {
            match event {
                DtlsEvent::Complete(h) if self.keys.is_none() => self.take_keys(now, &h),
                DtlsEvent::Complete(_) => {}
                DtlsEvent::Closed => self.end(EndCause::Closed),
            }
        }
        if let Err(error) = result {
            // After the keys only an authentic alert is an error.
            let cause = match self.keys {
                Some(_) => EndCause::Closed,
                None => EndCause::Handshake(error),
            };
            self.end(cause);
        }
        self.start_dtls(now);
    }

    /// The offer was posted from there: the address is real.
    pub fn set_client(&mut self, client: IpAddr) {
        self.ice.trust(client);
    }

    /// The address is gone: its connection has ended.
    pub fn lose(&mut self, now: Mono, addr: SocketAddr) {
        self.ice.forget(now, addr);
        self.dtls_input.retain(|(from, _)| *from != addr);
    }

    /// The path does not drain: it gets no media until [`release`](Self::release).
    pub fn hold(&mut self, addr: SocketAddr) {
        self.ice.hold(addr);
    }

    /// The path has drained: media begin anew with the next key frame.
    pub fn release(&mut self, now: Mono, addr: SocketAddr) {
        self.ice.release(addr);
        for track in self.tracks.iter_mut().filter(|t| t.setup.kind == MediaKind::Video) {
            track.waiting = true;
        }
        if self.is_live() {
            self.ask_key_frames(now);
        }
    }

    /// Takes SRTCP from an address that is nobody's, if it is this session's: a NAT has given the
    /// viewer another port. Returns whether it was authentic. What it says is not looked at, and
    /// nothing moves before the address has answered a request of ours.
    pub fn handle_moved(&mut self, now: Mono, from: SocketAddr, data: &mut [u8]) -> bool {
        if !self.is_live() {
            return false;
        }
        let (index, len) = (srtcp_index(data), data.len());
        let Some(keys) = self.keys.as_mut() else { return false };
        if keys.viewer_rtcp.open(data).is_err() {
            return false;
        }
        self.follow(now, from, index, len);
        true
    }

    /// Takes SRTCP from an address of the viewer.
    pub(super) fn take_rtcp(&mut self, now: Mono, from: SocketAddr, data: &mut [u8]) {
        let (index, len, forged) = (srtcp_index(data), data.len(), self.stats.forged);
        self.handle_rtcp(now, data);
        if self.keys.is_some() && self.stats.forged == forged {
            self.follow(now, from, index, len);
        }
    }

    fn follow(&mut self, now: Mono, from: SocketAddr, index: u32, len: usize) {
        if self.is_live() && self.ice.heard(now, from, index, len, &mut self.rng) {
            self.actions.push_back(Action::Address { addr: from, validated: false });
        }
    }

    pub(super) fn handle_stun(&mut self, now: Mono, from: SocketAddr, data: &[u8]) {
        let known = self.ice.knows(from);
        match self.ice.handle(now, from, data, &mut self.rng) {
            Outcome::Ignored => {}
            Outcome::Checked => {
                if !known {
                    self.actions.push_back(Action::Address { addr: from, validated: false });
                }
                self.go_live(now);
            }
            Outcome::Validated => {
                self.actions.push_back(Action::Address { addr: from, validated: true });
                self.start_dtls(now);
                self.go_live(now);
            }
        }
    }

    /// Whether a DTLS datagram is worth looking at.
    pub(super) fn takes_dtls(&mut self, data: &[u8]) -> bool {
        if self.dtls_input.len() >= MAX_WAITING_DTLS || data.len() > MAX_DTLS_LEN {
            return false;
        }
        if self.keys.is_some() {
            // Nobody has offered a data channel: alerts and the handshake are all there is.
            if !dtls::is_alert_or_handshake(data) || self.late_dtls >= MAX_LATE_DTLS {
                return false;
            }
            self.late_dtls += 1;
        }
        true
    }

    /// Hands waiting DTLS to the handshake threads, as far as it comes from validated addresses.
    pub(super) fn start_dtls(&mut self, now: Mono) {
        if self.ended || self.dtls.is_none() {
            return;
        }
        let mut input = Vec::new();
        let mut later = VecDeque::new();
        for (from, data) in self.dtls_input.drain(..) {
            if self.ice.is_validated(now, from) {
                self.dtls_peer = Some(from);
                input.push(data);
            } else {
                later.push_back((from, data));
            }
        }
        self.dtls_input = later;
        let timeout = std::mem::take(&mut self.dtls_timeout);
        if input.is_empty() && !timeout {
            self.schedule_dtls();
            return;
        }
        if let Some(dtls) = self.dtls.take() {
            self.timers.stop(Timer::Dtls);
            self.actions.push_back(Action::Dtls(DtlsJob { dtls, input, timeout }));
        }
    }

    pub(super) fn schedule_dtls(&mut self) {
        match self.dtls.as_ref().and_then(|d| d.poll_timeout()) {
            Some(at) => self.timers.set(Timer::Dtls, at),
            None => self.timers.stop(Timer::Dtls),
        }
    }

    pub(super) fn take_keys(&mut self, now: Mono, handshaken: &Handshaken) {
        if handshaken.fingerprint != self.fingerprint {
            self.end(EndCause::Fingerprint);
            return;
        }
        self.keys = Some(Keys {
            rtp: SrtpSealer::new(&handshaken.server),
            rtcp: SrtcpSealer::new(&handshaken.server),
            viewer_rtcp: SrtcpOpener::new(&handshaken.client),
        });
        self.go_live(now);
    }

    pub(super) fn go_live(&mut self, now: Mono) {
        if self.live || self.ended || self.keys.is_none() || self.ice.selected().is_none() {
            return;
        }
        self.live = true;
        self.timers.stop(Timer::Connect);
        self.timers.set(Timer::Report, now.after(FIRST_REPORT));
        self.actions.push_back(Action::Live);
        self.ask_key_frames(now);
    }
}

/// The index of an SRTCP packet, behind all the rest (RFC 3711 section 3.4).
fn srtcp_index(data: &[u8]) -> u32 {
    let word = data.last_chunk().map_or(0, |word| u32::from_be_bytes(*word));
    word & !(1 << 31)
}
