//! What happens by time. Every link has a table of named timers; their times are rounded up to a
//! grid, so that a node with many links wakes up a few times per period, not for each.

use super::Plane;
use crate::media::api::{PeerSide, PlaneEvent};
use crate::media::link::{Link, State};
use soleil_protocol::{Mono, Now};
use std::time::Duration;

/// The grid in microseconds: a tenth of a heartbeat.
const GRID: u64 = 5_000;

/// A call that is later than this after it was due means that our own thread had no processor:
/// then it is not the peers who were silent.
const STALL: Duration = Duration::from_millis(50);

fn grid(at: Mono) -> Mono {
    Mono(at.0.div_ceil(GRID).saturating_mul(GRID))
}

impl Plane {
    /// Does what is due. Call it when [`Plane::poll_timeout`] says so; earlier does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.pump_due.is_some_and(|at| now.mono >= at) {
            self.pump(now.mono);
        }
        let Some(due) = self.due.filter(|due| now.mono >= *due) else { return };
        let late = now.mono.since(due);
        for key in 0..self.links.end() {
            self.link_timers(now, key, late);
        }
        self.send_nacks(now.mono);
        for key in 0..self.layers.end() {
            if self.layers.get_mut(key).is_some_and(|l| l.requests.take_due(now.mono)) {
                self.send_key_frame_request(key);
            }
        }
        self.due = self.next_due();
    }

    fn next_due(&self) -> Option<Mono> {
        let links = self.links.iter().filter_map(|(_, l)| self.link_due(l));
        let layers = self
            .layers
            .iter()
            .flat_map(|(_, l)| [l.repair.next_due(), l.requests.next_due()].into_iter().flatten());
        links.chain(layers).min()
    }

    fn link_due(&self, link: &Link) -> Option<Mono> {
        let t = &link.timers;
        let silence = |limit| grid(link.heard.after(limit));
        match (link.peer, link.state) {
            (PeerSide::Child, State::Opening) => None,
            (PeerSide::Child, _) => {
                Some(t.heartbeat.min(t.report).min(silence(self.config.child_silence)))
            }
            (PeerSide::Parent, State::Opening) => Some(t.binding),
            (PeerSide::Parent, State::Silent) => Some(t.binding.min(t.report)),
            (PeerSide::Parent, State::Open) => {
                Some(t.binding.min(t.report).min(t.feedback).min(silence(self.config.silence)))
            }
        }
    }

    fn link_timers(&mut self, now: Now, key: usize, late: Duration) {
        let Some(link) = self.links.get_mut(key) else { return };
        if late >= STALL {
            link.heard = link.heard.after(late).min(now.mono);
        }
        let quiet = now.mono.since(link.heard);
        let (peer, state, id) = (link.peer, link.state, link.id);
        match peer {
            PeerSide::Parent => {
                if state == State::Open && quiet >= self.config.silence {
                    link.state = State::Silent;
                    link.attempts = 0;
                    link.timers.binding = now.mono;
                    self.event(PlaneEvent::LinkSilent(id));
                }
                self.parent_timers(now, key);
            }
            PeerSide::Child if state == State::Open => {
                if quiet >= self.config.child_silence {
                    self.child_silent(key);
                    self.event(PlaneEvent::LinkSilent(id));
                    return;
                }
                self.child_timers(now, key);
            }
            PeerSide::Child => {}
        }
    }

    /// Our link to a parent: binding requests, reports, feedback.
    fn parent_timers(&mut self, now: Now, key: usize) {
        let config = &self.config;
        let Some(link) = self.links.get_mut(key) else { return };
        if now.mono >= link.timers.binding {
            let well = link.state == State::Open && link.heard_rtcp;
            let pause = if well {
                link.attempts = 0;
                config.keepalive
            } else {
                (config.binding * (1 << link.attempts.min(8))).min(config.keepalive)
            };
            link.timers.binding = grid(now.mono.after(pause));
            let known = link.address.filter(|_| link.state == State::Open);
            // All addresses get their turn at each length of the pause.
            let count = link.addresses.len().max(1);
            let next = link.addresses.iter().cycle().nth(link.attempts as usize % count).copied();
            link.attempts = if well { 0 } else { link.attempts.saturating_add(1) };
            if let Some(to) = known.or(next) {
                self.send_binding(now.mono, key, to);
            }
        }
        let config = &self.config;
        let Some(link) = self.links.get_mut(key).filter(|l| l.is_open()) else { return };
        let (report, feedback) = (now.mono >= link.timers.report, now.mono >= link.timers.feedback);
        if report {
            link.timers.report = grid(now.mono.after(config.report));
        }
        if feedback {
            link.timers.feedback = grid(now.mono.after(config.feedback));
        }
        if report {
            self.send_report(now, key);
        }
        if feedback {
            self.send_feedback(now, key);
        }
    }

    /// Our link to a child: heartbeats and reports.
    fn child_timers(&mut self, now: Now, key: usize) {
        let config = &self.config;
        let Some(link) = self.links.get_mut(key) else { return };
        let (heartbeat, report) =
            (now.mono >= link.timers.heartbeat, now.mono >= link.timers.report);
        if heartbeat {
            link.timers.heartbeat = grid(now.mono.after(config.heartbeat));
        }
        if report {
            link.timers.report = grid(now.mono.after(config.report));
        }
        if heartbeat {
            self.send_heartbeat(key);
        }
        if report {
            self.send_report(now, key);
        }
    }

    /// A child is gone: no media until it opens its path again; then it goes on where it stopped,
    /// as far as the rings reach.
    fn child_silent(&mut self, key: usize) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.state = State::Opening;
        link.queue.clear();
        for route in &mut link.routes {
            if let Some(layer) = self.layers.get(route.layer) {
                route.cursor.get_or_insert(layer.end());
            }
        }
        if let Some(address) = link.address.take() {
            self.release_address(key, address);
        }
    }
}
