//! Tells sessions what the layers of their tracks take: measured, or as declared.

use super::Worker;
use crate::session::Session;
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{Mono, PipelineId, Ssrc};
use std::collections::HashMap;

/// Layers of each track of a pipeline, by the track's name.
type Layers = HashMap<String, Vec<(Ssrc, u64)>>;

impl Worker {
    /// What all sessions' layers take at present.
    pub(super) fn tell_layers(&mut self, now: Mono) {
        let all: HashMap<PipelineId, Layers> =
            self.pipelines.iter().map(|(id, def)| (*id, self.layers(now, def))).collect();
        for entry in self.sessions.entries_mut() {
            if let Some(layers) = all.get(&entry.session.pipeline()) {
                tell(&mut entry.session, layers);
            }
        }
    }

    /// The same for a new session.
    pub(super) fn set_layers(&self, now: Mono, session: &mut Session) {
        if let Some(def) = self.pipelines.get(&session.pipeline()) {
            tell(session, &self.layers(now, def));
        }
    }

    fn layers(&self, now: Mono, def: &PipelineDef) -> Layers {
        // Of a silent one the declared rate says nothing.
        let ring = |ssrc: Ssrc| self.rings.get(&ssrc).filter(|ring| !ring.is_silent(now));
        let layers = def.tracks.iter().map(|track| {
            let each = track.layers.iter();
            let rates = each.map(|l| {
                let rate = ring(l.ssrc).and_then(|ring| ring.rate(now).or(l.bitrate));
                (l.ssrc, rate.unwrap_or(0))
            });
            (track.name.clone(), rates.collect())
        });
        layers.collect()
    }
}

fn tell(session: &mut Session, layers: &Layers) {
    if session.pilot().is_none() {
        return;
    }
    let tracks: Vec<usize> = session.sources().map(|(track, _)| track).collect();
    for track in tracks {
        let layers = session.track_name(track).and_then(|name| layers.get(name));
        if let Some(layers) = layers {
            session.set_layers(track, layers);
        }
    }
}
