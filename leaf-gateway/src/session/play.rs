//! Media and what belongs to it: forwarding, resends, key frames, reports, the goodbye.

use super::rtcp::{self, Feedback};
use super::timers::{Timer, Timers};
use super::track::{Forwarded, OutTrack};
use super::{Action, EndCause, Session, SessionStats};
use crate::bandwidth::pilot::Pilot;
use crate::rewriter::{Original, Source};
use crate::ring::{PacketRing, Stored};
use relay_node::media::srtp::SrtpSealer;
use soleil_protocol::pipeline::MediaKind;
use soleil_protocol::{Mono, Ssrc};
use std::net::SocketAddr;
use std::time::Duration;

/// A viewer's key-frame requests are passed on at most this often; upstream merges further.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(200);

/// How often a key frame is asked for while a track waits for one to begin with.
const KEY_FRAME_RETRY: Duration = Duration::from_millis(500);

/// What a session needs for the packets of one pass, looked up once for all of them.
pub struct Delivery<'s> {
    now: Mono,
    to: SocketAddr,
    sealer: &'s SrtpSealer,
    tracks: &'s mut [OutTrack],
    stats: &'s mut SessionStats,
    timers: &'s mut Timers,
    pilot: Option<&'s mut Pilot>,
    woke: bool,
}

impl Delivery<'_> {
    /// Where its packets go.
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// Whether the session has to be asked for its next timeout again.
    pub fn woke(&self) -> bool {
        self.woke
    }

    /// Appends the packet as the viewer gets it to `out`, if a track plays its source.
    pub fn forward(&mut self, source: Source, packet: &Stored, out: &mut Vec<u8>) -> Forwarded {
        let track = self.tracks.iter_mut().enumerate().find(|(_, t)| t.plays(source.ssrc));
        let Some((i, track)) = track else { return Forwarded::Nothing };
        let before = out.len();
        let waited = track.waiting;
        let number = self.pilot.as_ref().map_or(0, |p| p.next_number());
        let done = track.forward(self.now, self.sealer, source, packet, number, out);
        if done == Forwarded::Nothing {
            if track.wants_start() && !waited {
                // Fallen out of step: ask at the next opportunity.
                self.timers.set(Timer::KeyFrame, self.now);
                self.woke = true;
            }
        } else {
            self.stats.packets += 1;
            self.stats.bytes += (out.len() - before) as u64;
            if let Some(pilot) = self.pilot.as_mut().filter(|_| track.setup.twcc_ext.is_some()) {
                pilot.on_sent(self.now, out.len() - before);
                if done == Forwarded::Began {
                    pilot.switched(self.now, i, source.ssrc);
                }
            }
        }
        done
    }

    /// Whether a track is on its way from the last key frame to the present.
    pub fn is_starting(&self) -> bool {
        self.tracks.iter().any(OutTrack::is_starting)
    }

    /// The next packet of such a start whose time has come, out of its layer's ring, with its
    /// source; forward it.
    pub fn next_of_start<'r>(
        &mut self,
        ring_of: impl Fn(Ssrc) -> Option<&'r PacketRing>,
    ) -> Option<(Source, &'r Stored)> {
        let Self { now, tracks, timers, woke, .. } = self;
        for track in tracks.iter_mut().filter(|t| t.is_starting()) {
            let ring = ring_of(track.setup.source);
            if let Some((ring, packet)) =
                ring.and_then(|r| Some((r, track.next_of_start(*now, r)?)))
            {
                return Some((ring.source(), packet));
            }
            if ring.is_none_or(|r| !track.began_with(r.source())) {
                // The layer has gone or begun anew.
                track.end_start();
                track.waiting = true;
                timers.set(Timer::KeyFrame, *now);
                *woke = true;
            }
        }
        None
    }
}

impl Session {
    /// Gives a track another layer; it changes over at that layer's next key frame.
    pub fn set_source(&mut self, now: Mono, track: usize, source: Ssrc) {
        let Some(t) = self.tracks.get_mut(track).filter(|t| t.setup.source != source) else {
            return;
        };
        t.setup.source = source;
        t.end_start();
        t.waiting = true;
        if self.live {
            self.ask_key_frames(now);
        }
    }

    /// Lets a track begin with the last key frame in the ring; `false` if it has to wait for one.
    pub fn start(&mut self, now: Mono, track: usize, ring: &PacketRing) -> bool {
        let started = self.tracks.get_mut(track).is_some_and(|t| t.start(now, ring));
        if let Some(pilot) = self.pilot.as_mut().filter(|_| started) {
            pilot.switched(now, track, ring.source().ssrc);
        }
        started
    }

    /// The session's part in a pass over the viewers; `None` if no media flows to it now.
    pub fn delivery(&mut self, now: Mono) -> Option<Delivery<'_>> {
        if !self.live {
            return None;
        }
        let to = self.media_address(now)?;
        let Self { keys, tracks, stats, timers, pilot, .. } = self;
        let (sealer, pilot) = (&keys.as_ref()?.rtp, pilot.as_deref_mut());
        Some(Delivery { now, to, sealer, tracks, stats, timers, pilot, woke: false })
    }

    /// Appends a packet that the viewer has lost to `out` and returns where it goes.
    pub fn resend(
        &mut self,
        now: Mono,
        track: usize,
        original: &Original,
        packet: &Stored,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let to = self.send_again(now, track, original, packet, false, out)?;
        self.stats.resends += 1;
        Some(to)
    }

    /// The same for a packet of a probe, which the viewer need not have lost.
    pub fn probe(
        &mut self,
        now: Mono,
        track: usize,
        original: &Original,
        packet: &Stored,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        self.send_again(now, track, original, packet, true, out)
    }

    fn send_again(
        &mut self,
        now: Mono,
        track: usize,
        original: &Original,
        packet: &Stored,
        probe: bool,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        if !self.live {
            return None;
        }
        let (keys, to) = (self.keys.as_ref()?, self.media_address(now)?);
        let before = out.len();
        let number = self.pilot.as_ref().map_or(0, |p| p.next_number());
        let track = self.tracks.get_mut(track)?;
        if !track.resend(&keys.rtp, original, packet, number, out) {
            return None;
        }
        let size = out.len() - before;
        if let Some(pilot) = self.pilot.as_mut().filter(|_| track.setup.twcc_ext.is_some()) {
            if probe {
                pilot.on_probe_sent(now, size);
            } else {
                pilot.on_sent(now, size);
            }
        }
        self.stats.packets += 1;
        self.stats.bytes += size as u64;
        Some(to)
    }

    /// Ends the session and tells the viewer: BYE and a DTLS alert.
    pub fn close(&mut self, now: Mono, cause: EndCause) {
        if self.ended {
            return;
        }
        let to = self.media_address(now);
        if let (Some(keys), Some(to)) = (self.keys.as_mut(), to) {
            let ssrcs: Vec<u32> = self.tracks.iter().map(|t| t.setup.ssrc).collect();
            let mut out = Vec::with_capacity(128);
            rtcp::write_bye(&mut out, &ssrcs, &self.cname);
            if keys.rtcp.seal(&mut out, 0).is_ok() {
                self.actions.push_back(Action::Send(to, out));
            }
            if let Some(dtls) = self.dtls.as_mut() {
                dtls.close(now);
                while let Some(data) = dtls.poll_transmit() {
                    self.actions.push_back(Action::Send(to, data));
                }
            }
        }
        self.end(cause);
    }

    /// The nominated address, as long as its validation holds.
    pub(super) fn media_address(&self, now: Mono) -> Option<SocketAddr> {
        self.ice.selected().filter(|to| self.ice.is_validated(now, *to))
    }

    /// Wants a beginning for every picture that waits for one, and looks again later.
    pub(super) fn ask_key_frames(&mut self, now: Mono) {
        let mut waits = false;
        for (i, t) in self.tracks.iter().enumerate().filter(|(_, t)| t.wants_start()) {
            if t.setup.kind == MediaKind::Video {
                waits = true;
                self.actions.push_back(Action::Start(i, t.setup.source));
            }
        }
        if waits {
            self.timers.set(Timer::KeyFrame, now.after(KEY_FRAME_RETRY));
        } else {
            self.timers.stop(Timer::KeyFrame);
        }
    }

    pub(super) fn send_reports(&mut self, now: Mono) {
        let to = self.media_address(now);
        let (Some(keys), Some(to)) = (self.keys.as_mut(), to) else { return };
        for t in &mut self.tracks {
            let Some(report) = t.sender_report(now) else { continue };
            let mut out = Vec::with_capacity(96);
            rtcp::write_sender_report(&mut out, &report, &self.cname);
            if keys.rtcp.seal(&mut out, 0).is_ok() {
                self.actions.push_back(Action::Send(to, out));
            }
        }
    }

    pub(super) fn handle_rtcp(&mut self, now: Mono, data: &mut [u8]) {
        let Some(keys) = self.keys.as_mut() else { return };
        let Ok(plain) = keys.viewer_rtcp.open(data) else {
            self.stats.forged += 1;
            return;
        };
        let estimate = self.pilot.as_ref().and_then(|pilot| pilot.estimate(now));
        self.resends.earn(now, estimate);
        let Self { tracks, stats, actions, resends, key_frame_at, pilot, .. } = self;
        let mut heard = false;
        rtcp::read(plain, |item| match item {
            Feedback::Transport(packet) => {
                if let Some(pilot) = pilot.as_mut() {
                    pilot.on_feedback(now, packet);
                    heard = true;
                }
            }
            Feedback::Report(block) => {
                if let Some(t) = tracks.iter_mut().find(|t| t.setup.ssrc == block.ssrc) {
                    t.take_report(now, &block);
                }
            }
            Feedback::Nack { ssrc, seq, mask } => {
                let Some(i) = tracks.iter().position(|t| t.setup.ssrc == ssrc) else { return };
                let track = &tracks[i];
                // What the pilot knows is the newer.
                let rtt = pilot.as_ref().and_then(|p| p.rtt()).or_else(|| track.rtt());
                for seq in rtcp::nacked(seq, mask) {
                    stats.nacks += 1;
                    if let Some(original) =
                        track.original(seq).filter(|o| track.setup.nack && !track.is_held(o))
                        && resends.take(now, i, original.output, rtt)
                    {
                        actions.push_back(Action::Resend(i, original));
                    }
                }
            }
            Feedback::KeyFrame { ssrc } => {
                let Some(t) = tracks.iter().find(|t| t.setup.ssrc == ssrc) else { return };
                stats.key_frames += 1;
                if key_frame_at.is_none_or(|at| now.since(at) >= KEY_FRAME_INTERVAL) {
                    *key_frame_at = Some(now);
                    actions.push_back(Action::KeyFrame(t.setup.source));
                }
            }
        });
        self.alive(now);
        if heard {
            self.steer(now);
        }
    }
}
