//! Which layer of a track a viewer gets. Up slowly, with a margin, after a time or a probe; down at
//! once; audio is counted first; what the viewer asks for wins. A layer is changed over at its key
//! frame, so a decision stands until [`Selector::switched`] says that it has happened.

#[cfg(test)]
mod tests;

use soleil_protocol::Mono;
use std::time::Duration;

/// The next better layer must fit with so much to spare (1/100).
const MARGIN: u64 = 115;

/// And for so long, unless a probe has shown that it does.
const HOLD: Duration = Duration::from_millis(1_500);

/// How long a probe's outcome stands for that.
const PROBE_HOLDS: Duration = Duration::from_secs(2);

/// No way up for so long after a way down; it doubles each time a layer could not be held for
/// [`PROOF`], up to two minutes: that bounds how often a viewer between two layers is moved.
const PENALTY: Duration = Duration::from_secs(5);
const MAX_PENALTY: Duration = Duration::from_secs(120);

/// A layer that was held for so long has proved that it fits.
const PROOF: Duration = Duration::from_secs(60);

/// Where less than this share of the present layer (1/100) gets through, hardly one of its pictures comes
/// whole: the way is cleared for the lower layer's key frame.
const HOLD_BELOW: u64 = 60;

/// A lower layer that has not begun after so long is not there, or has no key frames: longer than encoders
/// that don't listen take from one to the next. It is passed over for a while.
const GIVE_UP: Duration = Duration::from_secs(12);
const PASSED_OVER: Duration = Duration::from_secs(60);

/// Below this share of the lowest layer (1/100), for so long, its picture would only take the sound
/// with it.
const PAUSE_BELOW: u64 = 50;
const PAUSE_HOLD: Duration = Duration::from_secs(2);

/// A picture that was left out for so long is tried again where no probe can be made: what it would
/// consist of is gone by then.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// What the viewer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// The best that its link carries.
    #[default]
    Auto,
    /// This layer (0 is the best), whatever the link carries.
    Fixed(usize),
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The layer, 0 is the best. If it is not the present one: at its next key frame, which is to
    /// be asked for.
    pub layer: usize,
    /// Leave out frames that no other frame needs.
    pub drop_discardable: bool,
    /// Nothing more of the present layer: it would only stand in the lower one's way.
    pub hold: bool,
    /// No picture for now: the link hardly carries the sound.
    pub paused: bool,
    /// What a probe would have to show for something better, bits per second.
    pub goal: Option<u64>,
}

/// Chooses for one viewer and track.
#[derive(Debug)]
pub struct Selector {
    wish: Wish,
    current: usize,
    target: usize,
    paused: bool,
    paused_at: Mono,
    blind: bool,
    fits_since: Option<Mono>,
    starved_since: Option<Mono>,
    probed_at: Option<Mono>,
    went_up_at: Option<Mono>,
    /// When a lower layer than the present one was decided on.
    waits_since: Mono,
    /// One that did not begin, and until when it is passed over.
    absent: Option<(usize, Mono)>,
    blocked_until: Mono,
    penalty: Duration,
}

impl Selector {
    /// Begins with this layer.
    pub fn new(layer: usize) -> Self {
        Self {
            wish: Wish::Auto,
            current: layer,
            target: layer,
            paused: false,
            paused_at: Mono(0),
            blind: false,
            fits_since: None,
            starved_since: None,
            probed_at: None,
            went_up_at: None,
            waits_since: Mono(0),
            absent: None,
            blocked_until: Mono(0),
            penalty: PENALTY,
        }
    }

    /// What the viewer wants from now on.
    pub fn set_wish(&mut self, choice: Wish) {
        self.wish = choice;
    }

    /// What the viewer wants.
    pub fn wish(&self) -> Wish {
        self.wish
    }

    /// The layer that is being sent.
    pub fn current(&self) -> usize {
        self.current
    }

    /// The layer's key frame has come, and it is being sent.
    pub fn switched(&mut self, now: Mono, layer: usize) {
        if layer < self.current {
            self.went_up_at = Some(now);
        }
        self.current = layer;
        self.fits_since = None;
    }

    /// A probe has shown that the link carries the estimate.
    pub fn probed(&mut self, now: Mono) {
        self.probed_at = Some(now);
    }

    /// Whether a probe was wanted and could not be made.
    pub fn set_blind(&mut self, blind: bool) {
        self.blind = blind;
    }

    /// Decides. `estimate` is what the link carries (`None` while nobody knows), `audio` what goes
    /// before the picture, `layers` what each of the track's layers takes, best first (0 if that
    /// is not known); all in bits per second.
    pub fn decide(
        &mut self,
        now: Mono,
        estimate: Option<u64>,
        audio: u64,
        layers: &[u64],
    ) -> Decision {
        let last = layers.len().saturating_sub(1);
        self.current = self.current.min(last);
        self.target = self.target.min(last);
        let need = |layer: usize| audio.saturating_add(layers.get(layer).copied().unwrap_or(0));
        let estimate = match (self.wish, estimate) {
            (Wish::Fixed(layer), estimate) => {
                self.target = layer.min(last);
                (self.paused, self.fits_since, self.starved_since) = (false, None, None);
                let short = estimate.is_some_and(|e| e < need(self.target));
                return Decision { goal: None, ..self.decision(short) };
            }
            (Wish::Auto, None) => return Decision { goal: None, ..self.decision(false) },
            (Wish::Auto, Some(estimate)) => estimate,
        };
        self.take_back(now, layers);
        if estimate < need(self.target) {
            self.go_down(now, estimate, layers, &need);
        } else {
            self.go_up(now, estimate, layers, &need);
        }
        let last = layers.iter().rposition(|rate| *rate > 0).unwrap_or(last);
        self.pause(now, estimate, audio, need(last), self.target >= last);
        let better = self.target.checked_sub(1).filter(|l| layers.get(*l).is_some_and(|b| *b > 0));
        let goal = match better {
            _ if self.paused => Some(need(last)),
            Some(better) if now >= self.blocked_until => Some(with_margin(need(better))),
            _ => None,
        };
        let down = self.target > self.current;
        let hold = down && estimate < need(self.current).saturating_mul(HOLD_BELOW) / 100;
        Decision { goal, hold, ..self.decision(estimate < need(self.target)) }
    }

    fn decision(&self, short: bool) -> Decision {
        Decision {
            layer: self.target,
            // On the way down the present layer is too much until the lower one's key frame.
            drop_discardable: short || self.target > self.current,
            hold: false,
            paused: self.paused,
            goal: None,
        }
    }

    /// Whether a layer is sent by the source, as far as is known.
    fn lives(&self, now: Mono, layer: usize, layers: &[u64]) -> bool {
        let absent = self.absent.is_some_and(|(l, until)| l == layer && now < until);
        !absent && layers.get(layer).is_some_and(|rate| *rate > 0)
    }

    /// A lower layer that is silent or does not begin is not waited for.
    fn take_back(&mut self, now: Mono, layers: &[u64]) {
        if self.target <= self.current {
            return;
        }
        let late = now.since(self.waits_since) >= GIVE_UP;
        if late {
            self.absent = Some((self.target, now.after(PASSED_OVER)));
        }
        if late || !self.lives(now, self.target, layers) {
            self.target = self.current;
        }
    }

    fn go_down(&mut self, now: Mono, estimate: u64, layers: &[u64], need: &impl Fn(usize) -> u64) {
        self.fits_since = None;
        let mut lower = (self.target + 1..layers.len()).filter(|l| self.lives(now, *l, layers));
        let lowest = lower.clone().next_back();
        let Some(lower) = lower.find(|l| need(*l) <= estimate).or(lowest) else { return };
        self.waits_since = now;
        if self.target < self.current {
            // It was only on its way up: nothing was switched, and nothing failed.
            self.target = lower.max(self.current);
            return;
        }
        self.target = lower;
        self.penalty = match self.went_up_at.take() {
            Some(at) if now.since(at) < PROOF => (self.penalty * 2).min(MAX_PENALTY),
            _ => PENALTY,
        };
        self.blocked_until = now.after(self.penalty);
    }

    fn go_up(&mut self, now: Mono, estimate: u64, layers: &[u64], need: &impl Fn(usize) -> u64) {
        // One step at a time, each of which has to prove itself, and none while one is pending.
        let better = self.target.checked_sub(1).filter(|_| self.target == self.current);
        let fits = better.filter(|l| {
            layers.get(*l).is_some_and(|b| *b > 0) && estimate >= with_margin(need(*l))
        });
        let Some(better) = fits.filter(|_| now >= self.blocked_until) else {
            self.fits_since = None;
            return;
        };
        let since = *self.fits_since.get_or_insert(now);
        let probed = self.probed_at.is_some_and(|at| now.since(at) <= PROBE_HOLDS);
        if probed || now.since(since) >= HOLD {
            self.target = better;
            self.fits_since = None;
        }
    }

    fn pause(&mut self, now: Mono, estimate: u64, audio: u64, lowest: u64, on_lowest: bool) {
        if self.paused {
            let over = self.blind && now.since(self.paused_at) >= MAX_PAUSE;
            self.paused = estimate < lowest && !over;
            return;
        }
        let picture = lowest - audio;
        if !on_lowest || estimate >= audio + picture * PAUSE_BELOW / 100 {
            self.starved_since = None;
            return;
        }
        let since = *self.starved_since.get_or_insert(now);
        if now.since(since) >= PAUSE_HOLD {
            (self.paused, self.paused_at, self.starved_since) = (true, now, None);
        }
    }
}

fn with_margin(rate: u64) -> u64 {
    rate.saturating_mul(MARGIN) / 100
}
