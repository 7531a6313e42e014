//! What follows from the estimate of a viewer's link: other layers, pauses, probes.

use super::{Action, Session};
use crate::bandwidth::pilot::{Change, Pilot};
use soleil_protocol::{Mono, Ssrc};

impl Session {
    /// What a track's layers take at present in bits per second, best first (0 if unknown).
    pub fn set_layers(&mut self, track: usize, layers: &[(Ssrc, u64)]) {
        if let Some(pilot) = self.pilot.as_mut() {
            pilot.set_layers(track, layers);
        }
    }

    /// The viewer's adaptation, if it reports on what arrives.
    pub fn pilot(&self) -> Option<&Pilot> {
        self.pilot.as_deref()
    }

    /// Looks at the estimate and does what follows from it.
    pub(super) fn steer(&mut self, now: Mono) {
        let Some(pilot) = self.pilot.as_mut().filter(|_| self.live) else { return };
        let mut changes = Vec::new();
        pilot.steer(now, |change| changes.push(change));
        for change in changes {
            match change {
                Change::Layer(track, source) => self.set_source(now, track, source),
                Change::Hold(track) => {
                    if let Some(t) = self.tracks.get_mut(track) {
                        t.hold();
                    }
                }
                Change::Lean(track, lean) => {
                    if let Some(t) = self.tracks.get_mut(track) {
                        t.set_lean(lean);
                    }
                }
                Change::Pause(track) => {
                    if let Some(t) = self.tracks.get_mut(track) {
                        t.pause();
                    }
                }
                Change::Resume(track) => {
                    if let Some(t) = self.tracks.get_mut(track) {
                        t.resume();
                        self.ask_key_frames(now);
                    }
                }
            }
        }
        self.send_probe(now);
    }

    /// An authentic datagram of the viewer has come.
    pub(super) fn alive(&mut self, now: Mono) {
        if self.pilot.as_mut().is_some_and(|pilot| pilot.alive(now)) {
            self.steer(now);
        }
    }

    /// A probe is packets that the viewer has had already, as RTX under new numbers.
    fn send_probe(&mut self, now: Mono) {
        let Some(pilot) = self.pilot.as_mut() else { return };
        let fit = |t: &super::track::OutTrack| t.setup.rtx.is_some() && t.setup.twcc_ext.is_some();
        let Some(i) = self.tracks.iter().position(fit) else { return };
        let Some(probe) = pilot.probe(now) else { return };
        let track = &self.tracks[i];
        // What is not a packet's number lies before the beginning.
        let originals = track.recent().map_while(|seq| track.original(seq));
        self.actions.extend(originals.take(probe.packets).map(|o| Action::Probe(i, o)));
    }
}
