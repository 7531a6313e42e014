//! Counter-offers (WHEP section 4.2.2): a viewer whose offer has no codec of the stream hears
//! what the stream has, as an offer of ours, and may answer it. The place is taken meanwhile.

use crate::occupancy::Permit;
use crate::session::track::TrackSetup;
use crate::worker::{Seat, SessionId};
use soleil_protocol::{Mono, PipelineId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a counter-offer stands; the draft says so where no other time is named.
pub const COUNTER_OFFER_LIFETIME: Duration = Duration::from_secs(30);

/// What a counter-offer has promised.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) until: Mono,
    pub(super) pipeline: PipelineId,
    pub(super) tracks: Vec<TrackSetup>,
    pub(super) ufrag: String,
    pub(super) password: String,
    pub(super) cname: String,
    pub(super) permit: Permit,
    pub(super) seat: Seat,
}

/// All that wait for an answer. Each holds a place among those who connect, which bounds them.
#[derive(Debug, Default)]
pub struct CounterOffers(Mutex<HashMap<SessionId, Waiting>>);

impl CounterOffers {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one until it is answered.
    pub(super) fn keep(&self, id: SessionId, waiting: Waiting) {
        self.lock().insert(id, waiting);
    }

    /// Whether one of this name stands.
    pub(super) fn stands(&self, now: Mono, id: &SessionId) -> bool {
        self.lock().get(id).is_some_and(|w| w.until > now)
    }

    /// Takes one out, to be answered or dropped.
    pub(super) fn take(&self, now: Mono, id: &SessionId) -> Option<Waiting> {
        self.lock().remove(id).filter(|w| w.until > now)
    }

    /// Gives the places of those back that nobody has answered.
    pub(crate) fn expire(&self, now: Mono) {
        self.lock().retain(|_, w| w.until > now);
    }

    /// The leaf leaves: nobody is served any more.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}
