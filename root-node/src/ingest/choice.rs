//! Which of several sources is on air: the first in order of preference that sends. Pure: it hears
//! of each packet, and says whether it is to be taken.
//!
//! * The source on air is left when its picture (or its sound, if it has none) stops for [`SILENCE`], or
//!   when it is known to have gone; the best one that sends takes over at once.
//! * A better one takes the air back when it has sent without a pause for a while ([`STEADY`]), with a key
//!   frame, so that viewers see no hole.
//! * One that fails again soon has to be steady for twice as long the next time, up to
//!   [`LONGEST_STEADY`]: viewers are not thrown to and fro.

use soleil_protocol::Mono;
use std::time::Duration;

/// A source without packets for so long is left. Encoders and networks pause for less; it is as long
/// as a port keeps a sender ([`LOCK_TIME`](super::layer::LOCK_TIME)).
pub const SILENCE: Duration = Duration::from_secs(2);
/// A better source has to send for so long before it takes the air from another one.
pub const STEADY: Duration = Duration::from_secs(5);
/// The same if a slate is on air, which nobody wants to see.
pub const STEADY_OVER_SLATE: Duration = Duration::from_secs(1);
/// However often it has failed, it has not to be steady for longer.
pub const LONGEST_STEADY: Duration = Duration::from_secs(60);
/// Whoever was on air for so long has no failures behind him.
pub const FORGIVEN: Duration = Duration::from_secs(60);
/// So long a key frame is waited for: encoders make one every two seconds, or when they are asked, which
/// is done when the source is on air.
pub const KEY_FRAME_WAIT: Duration = Duration::from_secs(3);

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A broadcaster: plain RTP to the stream's ports, or WHIP.
    Broadcaster,
    /// One of the stream's sources, by its number in the configuration.
    Source(usize),
}

/// A way for the stream to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Who sends by it.
    pub via: Via,
    /// It is a slate.
    pub slate: bool,
}

/// One packet of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// It is of a picture.
    pub picture: bool,
    /// A key frame begins with it.
    pub key: bool,
}

/// What is known of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    way: Way,
    /// When it was heard, if that is not too long ago.
    picture: Option<Mono>,
    sound: Option<Mono>,
    /// It has had a picture since it began: its sound alone is no sign of life.
    shows: bool,
    /// Since when without a pause.
    since: Mono,
    /// How often in a row another one had to take over from it.
    failures: u32,
}

impl Candidate {
    /// The sign of life that counts, if it sends.
    fn heard(&self) -> Option<Mono> {
        if self.shows { self.picture } else { self.sound }
    }

    fn note(&mut self, now: Mono, heard: Heard) {
        let began = self.heard().is_none();
        if heard.picture {
            (self.picture, self.shows) = (Some(now), true);
        } else {
            self.sound = Some(now);
        }
        if began {
            self.since = now;
        }
    }

    fn expire(&mut self, now: Mono) {
        let fresh = |at: &Mono| now.since(*at) < SILENCE;
        self.picture = self.picture.filter(fresh);
        self.sound = self.sound.filter(fresh);
        self.shows &= self.picture.is_some() || self.sound.is_some();
    }
}

/// The choice of one stream.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The best one first.
    candidates: Vec<Candidate>,
    /// Who is on air, and since when.
    on_air: Option<(usize, Mono)>,
}

impl Choice {
    /// Of these, the best one first.
    pub fn new(ways: Vec<Way>) -> Self {
        let candidate = |way| Candidate {
            way,
            picture: None,
            sound: None,
            shows: false,
            since: Mono(0),
            failures: 0,
        };
        Self { candidates: ways.into_iter().map(candidate).collect(), on_air: None }
    }

    /// Who is on air, as of the last event; nobody if nobody sends.
    pub fn on_air(&self) -> Option<Via> {
        let (number, _) = self.on_air?;
        self.candidates.get(number).filter(|c| c.heard().is_some()).map(|c| c.way.via)
    }

    /// Whether somebody sends, on air or not.
    pub fn sends(&self, now: Mono, via: Via) -> bool {
        self.number(via).is_some_and(|number| self.alive(now, number))
    }

    /// Whether somebody who is preferred to this one is on air.
    pub fn is_behind(&self, now: Mono, via: Via) -> bool {
        let (Some((on_air, _)), Some(own)) = (self.on_air, self.number(via)) else { return false };
        on_air < own && self.alive(now, on_air)
    }

    /// Whether a key frame would put it on air.
    pub fn awaits_key(&self, now: Mono, via: Via) -> bool {
        self.number(via).is_some_and(|own| self.due(now, own).is_some())
    }

    /// A packet has come: is it to be taken?
    pub fn handle(&mut self, now: Mono, via: Via, heard: Heard) -> bool {
        let Some(own) = self.number(via) else { return false };
        self.expire(now);
        if let Some(candidate) = self.candidates.get_mut(own) {
            candidate.note(now, heard);
        }
        self.settle(now);
        match self.on_air {
            Some((on_air, _)) if on_air == own => true,
            None => {
                self.on_air = Some((own, now));
                true
            }
            Some(_) => {
                let Some(due) = self.due(now, own) else { return false };
                let shows = self.candidates.get(own).is_some_and(|c| c.shows);
                let takes = heard.key || !shows || now.since(due) >= KEY_FRAME_WAIT;
                if takes {
                    self.on_air = Some((own, now));
                }
                takes
            }
        }
    }

    /// Somebody is known to send no more.
    pub fn gone(&mut self, now: Mono, via: Via) {
        let Some(candidate) = self.number(via).and_then(|own| self.candidates.get_mut(own)) else {
            return;
        };
        (candidate.picture, candidate.sound, candidate.shows) = (None, None, false);
        self.handle_timeout(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.expire(now);
        self.settle(now);
    }

    /// When to call [`Choice::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Mono> {
        let (number, _) = self.on_air?;
        Some(self.candidates.get(number)?.heard()?.after(SILENCE))
    }

    fn number(&self, via: Via) -> Option<usize> {
        self.candidates.iter().position(|c| c.way.via == via)
    }

    fn alive(&self, now: Mono, number: usize) -> bool {
        let heard = self.candidates.get(number).and_then(Candidate::heard);
        heard.is_some_and(|heard| now.since(heard) < SILENCE)
    }

    fn expire(&mut self, now: Mono) {
        for candidate in &mut self.candidates {
            candidate.expire(now);
        }
    }

    /// If the one on air is silent, the best one that sends takes over. Nobody does: it stays, and whoever
    /// comes first is next.
    fn settle(&mut self, now: Mono) {
        let Some((on_air, since)) = self.on_air else { return };
        let Some(next) = self.candidates.iter().position(|c| c.heard().is_some()) else { return };
        let Some(candidate) = self.candidates.get_mut(on_air) else { return };
        if candidate.heard().is_some() {
            return;
        }
        let forgiven = now.since(since) >= FORGIVEN;
        candidate.failures = if forgiven { 1 } else { candidate.failures.saturating_add(1) };
        self.on_air = Some((next, now));
    }

    /// Since when it may take the air from a worse one.
    fn due(&self, now: Mono, own: usize) -> Option<Mono> {
        let (on_air, _) = self.on_air?;
        let (candidate, worse) = (self.candidates.get(own)?, self.candidates.get(on_air)?);
        if own >= on_air || candidate.heard().is_none() {
            return None;
        }
        let once = if worse.way.slate { STEADY_OVER_SLATE } else { STEADY };
        let doubled = once.saturating_mul(1 << candidate.failures.saturating_sub(1).min(16));
        let due = candidate.since.after(doubled.min(LONGEST_STEADY));
        (due <= now).then_some(due)
    }
}
