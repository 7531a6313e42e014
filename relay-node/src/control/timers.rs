//! The one table of timers of a node: each has a name, so that nobody has to ask why the core
//! woke. It knows when, not what to do.

use super::api::ConnId;
use soleil_protocol::{Mono, PipelineId};
use std::collections::{BTreeMap, BTreeSet};

/// Why the core wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// Go (back) to the root.
    Seek,
    /// The root owes an answer to the join.
    Join,
    /// The new parent owes an answer to the HELLO (or the dial hangs).
    Attach,
    /// Two thirds of the certificate's life are over.
    Renew,
    /// The overlap of a move is over: leave the old parent.
    Overlap,
    /// The root owes an answer to a move that failed, or does not believe that we are where we are.
    Return,
    /// The backup owes an answer, or it is time to try one again.
    Warm,
    /// The plane owes the positions for a new parent.
    Positions,
    /// Send STATS.
    Stats,
    /// Send a PING on this connection, or give it up.
    Ping(ConnId),
    /// This connection owes a HELLO.
    Greeting(ConnId),
    /// Nobody has wanted the pipeline for a while: stop it at the parent.
    Linger(PipelineId),
    /// The parent did not know the pipeline: ask again.
    PlayAgain(PipelineId),
    /// The parent's media have been silent: go back to the root unless they come back.
    Silence,
    /// The root has not spoken to this leaf for a while.
    Unheard,
    /// The parent has said for a while that it has no way to the root.
    CutOff,
    /// Neither parent nor backup has had a way to the root for a while: look for another one.
    Look,
    /// The grace of a KILL or a drain is over.
    Grace,
    /// The certificate of this child runs out.
    Certificate(ConnId),
    /// The child on this connection was killed and should have gone.
    Evict(ConnId),
}

/// When each timer of a core runs out. `T` names them.
#[derive(Debug)]
pub struct Timers<T> {
    due: BTreeMap<T, Mono>,
    order: BTreeSet<(Mono, T)>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<T: Ord + Clone> Timers<T> {
    /// Sets or moves a timer.
    pub fn set(&mut self, timer: T, at: Mono) {
        self.clear(&timer);
        self.due.insert(timer.clone(), at);
        self.order.insert((at, timer));
    }

    /// Sets a timer unless it runs already.
    pub fn set_if_idle(&mut self, timer: T, at: Mono) {
        if !self.is_set(&timer) {
            self.set(timer, at);
        }
    }

    /// Stops a timer.
    pub fn clear(&mut self, timer: &T) {
        if let Some(at) = self.due.remove(timer) {
            self.order.remove(&(at, timer.clone()));
        }
    }

    /// Whether a timer runs.
    pub fn is_set(&self, timer: &T) -> bool {
        self.due.contains_key(timer)
    }

    /// When the next one runs out.
    pub fn next(&self) -> Option<Mono> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes one that has run out, the earliest first.
    pub fn expired(&mut self, now: Mono) -> Option<T> {
        let (at, timer) = self.order.first().cloned()?;
        if at > now {
            return None;
        }
        self.clear(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_run_out_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Stats, Mono(20));
        timers.set(Timer::Join, Mono(10));
        timers.set(Timer::Seek, Mono(5));
        timers.set(Timer::Seek, Mono(30));
        timers.set_if_idle(Timer::Join, Mono(1));
        assert_eq!(timers.next(), Some(Mono(10)));
        assert_eq!(timers.expired(Mono(9)), None);
        assert_eq!(timers.expired(Mono(25)), Some(Timer::Join));
        assert_eq!(timers.expired(Mono(25)), Some(Timer::Stats));
        assert_eq!(timers.expired(Mono(25)), None);
        timers.clear(&Timer::Seek);
        assert_eq!(timers.next(), None);
    }
}
