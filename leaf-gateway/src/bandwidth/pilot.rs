//! One viewer's adaptation as a whole: estimator, prober and a selector for each picture. The
//! session tells it what it sends and what the viewer reports, and does what it says.

#[cfg(test)]
mod tests;

use super::choice::{Selector, Wish};
use super::gcc::{Config, Estimator, State};
use super::probe::{CALM, Outcome, Probe, Prober};
use super::twcc::Feedback;
use soleil_protocol::pipeline::MediaKind;
use soleil_protocol::{Mono, Ssrc};
use std::time::Duration;

/// Feedback messages a second and at once that are looked at: browsers send 10 to 20. Each may
/// speak of two thousand packets, so a flood would cost more than the media.
pub const FEEDBACK_PER_SECOND: u64 = 50;
/// See [`FEEDBACK_PER_SECOND`]: what a round trip on a slow path may hold back.
pub const FEEDBACK_BURST: u64 = 50;

/// Layers of a track that are looked at: more than any ladder or simulcast has.
pub const MAX_LAYERS: usize = 8;

/// Before anything is known the link is taken to carry what the best layers take and so much more
/// (1/100): most links do, and the first second shows those that don't.
const OPTIMISM: u64 = 130;

/// A viewer of whom nothing at all was heard for so long was cut off: browsers check or report each
/// two and a half seconds at least. (One that is heard and reports on no packet gets none: they do
/// not reach it.)
const GONE: Duration = Duration::from_secs(3);

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A track gets another layer, from its next key frame on.
    Layer(usize, Ssrc),
    /// Until then nothing more of the present one is sent, nor sent again but by probes.
    Hold(usize),
    /// A track goes without the frames that no other frame needs, or with them again.
    Lean(usize, bool),
    /// A track is left out for now.
    Pause(usize),
    /// It is sent again, from the next key frame on.
    Resume(usize),
}

/// Counters since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Feedback messages taken.
    pub feedback: u64,
    /// Those that were malformed or too many.
    pub refused: u64,
    /// Probes sent.
    pub probes: u64,
    /// Changes to a better layer.
    pub ups: u64,
    /// Changes to a lesser layer.
    pub downs: u64,
    /// Times that frames which no other needs were left out from then on.
    pub thinned: u64,
    /// Pictures left out.
    pub pauses: u64,
}

#[derive(Debug)]
struct Lane {
    kind: MediaKind,
    /// Best first, with bits per second (0 if unknown).
    layers: Vec<(Ssrc, u64)>,
    selector: Selector,
    /// The layer that was last decided on.
    decided: Option<usize>,
    /// Nothing is sent until a layer begins.
    held: bool,
    /// What the session was last told; new layers change nothing in that.
    paused: bool,
    lean: bool,
}

impl Lane {
    fn rate(&self) -> u64 {
        self.layers.get(self.selector.current()).map_or(0, |l| l.1)
    }

    fn place(&self, ssrc: Ssrc) -> Option<usize> {
        self.layers.iter().position(|l| l.0 == ssrc)
    }
}

/// The adaptation of one viewer.
#[derive(Debug)]
pub struct Pilot {
    estimator: Estimator,
    prober: Prober,
    lanes: Vec<Lane>,
    goal: Option<u64>,
    tokens: u64,
    tokens_at: Mono,
    /// The last sign of life.
    heard_at: Mono,
    counts: Counts,
}

impl Pilot {
    /// For tracks of these kinds, in the session's order, each with the layer that it begins with.
    pub fn new(now: Mono, tracks: impl Iterator<Item = (MediaKind, Ssrc)>) -> Self {
        let lane = |(kind, ssrc)| Lane {
            kind,
            layers: vec![(ssrc, 0)],
            selector: Selector::new(0),
            decided: None,
            held: false,
            paused: false,
            lean: false,
        };
        Self {
            estimator: Estimator::new(Config::default()),
            prober: Prober::default(),
            lanes: tracks.map(lane).collect(),
            goal: None,
            tokens: FEEDBACK_BURST,
            tokens_at: now,
            heard_at: now,
            counts: Counts::default(),
        }
    }

    /// The transport-wide number that the next packet has to carry.
    pub fn next_number(&self) -> u16 {
        self.estimator.next_number()
    }

    /// The packet with that number has left, with so many bytes.
    pub fn on_sent(&mut self, now: Mono, size: usize) {
        self.estimator.on_sent(now, size);
    }

    /// Like [`on_sent`](Self::on_sent), for a packet of the probe that [`probe`](Self::probe) told.
    pub fn on_probe_sent(&mut self, now: Mono, size: usize) {
        self.estimator.on_probe_sent(now, size);
    }

    /// What the layers of a track take at present, best first, with 0 where that is not known.
    pub fn set_layers(&mut self, track: usize, layers: &[(Ssrc, u64)]) {
        let layers = &layers[..layers.len().min(MAX_LAYERS)];
        let Some(lane) = self.lanes.get_mut(track).filter(|_| !layers.is_empty()) else { return };
        let same = lane.layers.len() == layers.len()
            && lane.layers.iter().zip(layers).all(|(a, b)| a.0 == b.0);
        if !same {
            let sent = lane.layers.get(lane.selector.current()).map(|l| l.0);
            let at = sent.and_then(|ssrc| layers.iter().position(|l| l.0 == ssrc));
            let wished = match lane.selector.wish() {
                Wish::Fixed(i) => lane.layers.get(i).map(|l| l.0),
                Wish::Auto => None,
            };
            let wished = wished.and_then(|ssrc| layers.iter().position(|l| l.0 == ssrc));
            lane.selector = Selector::new(at.unwrap_or(0));
            lane.selector.set_wish(wished.map_or(Wish::Auto, Wish::Fixed));
            (lane.decided, lane.held) = (None, false);
        }
        lane.layers.clear();
        lane.layers.extend_from_slice(layers);
        let best: u64 = self.lanes.iter().filter_map(|l| l.layers.first()).map(|l| l.1).sum();
        self.estimator.assume(best * OPTIMISM / 100);
    }

    /// The viewer's own wish for a track; a layer that is not there is left to us.
    pub fn set_wish(&mut self, track: usize, layer: Option<Ssrc>) {
        let Some(lane) = self.lanes.get_mut(track) else { return };
        let wish = layer.and_then(|ssrc| lane.place(ssrc)).map_or(Wish::Auto, Wish::Fixed);
        lane.selector.set_wish(wish);
    }

    /// A track is sent from another layer now.
    pub fn switched(&mut self, now: Mono, track: usize, ssrc: Ssrc) {
        let Some(lane) = self.lanes.get_mut(track) else { return };
        lane.held = false;
        let Some(place) = lane.place(ssrc) else { return };
        let before = lane.selector.current();
        self.counts.ups += u64::from(place < before);
        self.counts.downs += u64::from(place > before);
        if place != before {
            lane.selector.switched(now, place);
            self.prober.reset(now);
        }
    }

    /// Takes an RTCP packet of transport-wide feedback.
    pub fn on_feedback(&mut self, now: Mono, packet: &[u8]) {
        let earned = now.since(self.tokens_at).as_micros() as u64 * FEEDBACK_PER_SECOND / 1_000_000;
        if earned > 0 {
            self.tokens = (self.tokens + earned).min(FEEDBACK_BURST);
            self.tokens_at = now;
        }
        let Some(feedback) = Feedback::parse(packet).filter(|_| self.tokens > 0) else {
            self.counts.refused += 1;
            return;
        };
        self.tokens -= 1;
        self.heard_at = now;
        self.counts.feedback += 1;
        if let Some(outcome) = self.estimator.on_feedback(now, &feedback) {
            self.probed(now, outcome);
        }
    }

    fn probed(&mut self, now: Mono, outcome: Outcome) {
        self.prober.done(now, outcome);
        for lane in &mut self.lanes {
            lane.selector.set_blind(outcome == Outcome::Unsent);
            if matches!(outcome, Outcome::Carries(_)) {
                lane.selector.probed(now);
            }
        }
    }

    /// The viewer has given an authentic sign of life, whatever it says. `true` if it is back after
    /// a silence: then [`steer`](Self::steer). A picture without sound that was left out meanwhile
    /// would wait for feedback in vain: there is nothing sent to give feedback on.
    pub fn alive(&mut self, now: Mono) -> bool {
        let gone = now.since(self.heard_at) >= GONE;
        self.heard_at = now;
        gone && self.estimator.revive(now)
    }

    /// Looks at the choices; to be called after feedback and now and then without. `change` is
    /// called for what is to be done.
    pub fn steer(&mut self, now: Mono, mut change: impl FnMut(Change)) {
        // A picture without sound that is left out leaves nothing to give feedback on.
        if let Some(outcome) = self.estimator.conclude(now) {
            self.probed(now, outcome);
        }
        // Where nothing is heard the estimate only falls, and what is sent may well come.
        let fresh = !self.estimator.is_silent(now);
        let estimate = self.estimator.heard().then(|| self.estimator.target(now));
        let total: u64 = self.lanes.iter().map(Lane::rate).sum();
        self.goal = None;
        for (track, lane) in self.lanes.iter_mut().enumerate() {
            if lane.kind == MediaKind::Audio {
                continue;
            }
            let others = total - lane.rate();
            let mut rates = [0; MAX_LAYERS];
            for (rate, layer) in rates.iter_mut().zip(&lane.layers) {
                *rate = layer.1;
            }
            let rates = &rates[..lane.layers.len().min(MAX_LAYERS)];
            let decision = lane.selector.decide(now, estimate, others, rates);
            let before = lane.decided.replace(decision.layer);
            if before.unwrap_or(lane.selector.current()) != decision.layer
                && let Some((ssrc, _)) = lane.layers.get(decision.layer)
            {
                change(Change::Layer(track, *ssrc));
            }
            if fresh && decision.hold && !std::mem::replace(&mut lane.held, true) {
                change(Change::Hold(track));
            }
            let lean = std::mem::replace(&mut lane.lean, decision.drop_discardable);
            if lean != lane.lean {
                self.counts.thinned += u64::from(lane.lean);
                change(Change::Lean(track, lane.lean));
            }
            let paused = std::mem::replace(&mut lane.paused, decision.paused);
            if lane.paused && !paused {
                self.counts.pauses += 1;
                change(Change::Pause(track));
            } else if paused && !lane.paused {
                change(Change::Resume(track));
            }
            self.goal = self.goal.max(decision.goal);
        }
    }

    /// The probe to send now, if any: so many redundant packets, at once, each of which is told by
    /// [`on_probe_sent`](Self::on_probe_sent); none of them if there is nothing to send.
    pub fn probe(&mut self, now: Mono) -> Option<Probe> {
        self.goal?;
        let at_ease = now.since(self.heard_at) < GONE && self.estimator.at_ease(now, CALM);
        let probe = self.prober.poll(now, self.estimator.target(now), self.goal, at_ease)?;
        self.counts.probes += 1;
        self.estimator.begin_probe(now, probe.rate);
        Some(probe)
    }

    /// Bits per second that the link carries, once there was feedback.
    pub fn estimate(&self, now: Mono) -> Option<u64> {
        self.estimator.heard().then(|| self.estimator.target(now))
    }

    /// Round-trip time, once there was feedback.
    pub fn rtt(&self) -> Option<Duration> {
        self.estimator.heard().then(|| self.estimator.state().rtt)
    }

    /// What the estimator knows.
    pub fn state(&self) -> State {
        self.estimator.state()
    }

    /// Counters.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
