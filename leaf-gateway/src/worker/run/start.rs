//! Viewers that begin with the last key frame: their cursors run through the rings, faster than the
//! stream, until they have caught up with it.

use super::Worker;
use crate::ring::PacketRing;
use crate::session::Delivery;
use crate::session::track::Forwarded;
use crate::worker::Key;
use crate::worker::outbox::Outbox;
use soleil_protocol::{Mono, Ssrc};
use std::collections::HashMap;
use std::time::Duration;

/// How often cursors go on: a third of a frame's time, so that a viewer gets a frame or two at a
/// time, at five times the rate.
const INTERVAL: Duration = Duration::from_millis(10);

/// Those who are beginning.
#[derive(Debug, Default)]
pub(super) struct Starts {
    keys: Vec<Key>,
    next: Option<Mono>,
}

impl Starts {
    /// When cursors go on.
    pub(super) fn due(&self) -> Option<Mono> {
        self.next
    }
}

impl Worker {
    /// A viewer begins: its key frame leaves at once.
    pub(super) fn begin_start(&mut self, now: Mono, key: Key) {
        self.metrics.starts.add(1);
        if self.serve(now, key) {
            self.starts.keys.push(key);
            self.starts.next.get_or_insert(now.after(INTERVAL));
        }
    }

    /// Moves all cursors on, if it is time.
    pub(super) fn serve_starts(&mut self, now: Mono) {
        if self.starts.next.is_none_or(|at| at > now) {
            return;
        }
        let mut keys = std::mem::take(&mut self.starts.keys);
        keys.retain(|key| self.serve(now, *key));
        self.starts.next = (!keys.is_empty()).then(|| now.after(INTERVAL));
        self.starts.keys = keys;
    }

    /// Moves a viewer's cursor on; `false` once it has caught up, or is gone.
    fn serve(&mut self, now: Mono, key: Key) -> bool {
        let Some(entry) = self.sessions.get_mut(key) else { return false };
        let Some(mut delivery) = entry.session.delivery(now) else { return false };
        serve_start(&mut delivery, &self.rings, &mut self.outbox);
        let (goes_on, woke) = (delivery.is_starting(), delivery.woke());
        if self.outbox.is_full() {
            self.flush();
        }
        if woke {
            self.reschedule(now, key);
        }
        goes_on
    }
}

/// Forwards what a viewer's start has come to.
pub(super) fn serve_start(
    delivery: &mut Delivery<'_>,
    rings: &HashMap<Ssrc, PacketRing>,
    outbox: &mut Outbox,
) {
    while let Some((source, packet)) = delivery.next_of_start(|ssrc| rings.get(&ssrc)) {
        let start = outbox.bytes.len();
        if delivery.forward(source, packet, &mut outbox.bytes) != Forwarded::Nothing {
            outbox.commit(delivery.to(), start);
        }
    }
}
