//! Does what sessions want done, and adds their figures up.

use super::Worker;
use crate::metrics::Metrics;
use crate::session::{Action, EndCause, SessionStats};
use crate::worker::stats::Figures;
use crate::worker::{Key, Upcall};
use soleil_protocol::{Mono, PipelineId};

impl Worker {
    /// Does what a session wants done, until it wants nothing more.
    pub(super) fn settle(&mut self, now: Mono, key: Key) {
        loop {
            let Some(entry) = self.sessions.get_mut(key) else { return };
            let Some(action) = entry.session.poll_action() else { break };
            match action {
                Action::Send(to, data) => self.outbox.push(to, &data),
                Action::Dtls(job) => self.pool.submit(key, job),
                Action::Address { addr, validated } => {
                    self.sessions.claim(now, key, addr, validated);
                    self.tell_claim(addr, validated);
                }
                Action::Live => {
                    entry.permit.connected();
                    self.metrics.live.add(1);
                }
                Action::Start(track, ssrc) => {
                    let ring = self.rings.get(&ssrc);
                    if ring.is_some_and(|ring| entry.session.start(now, track, ring)) {
                        self.begin_start(now, key);
                    } else {
                        let upcall = Upcall::KeyFrame(entry.session.pipeline(), ssrc);
                        let _ = self.upcalls.try_send(upcall);
                    }
                }
                Action::KeyFrame(ssrc) => {
                    let upcall = Upcall::KeyFrame(entry.session.pipeline(), ssrc);
                    let _ = self.upcalls.try_send(upcall);
                }
                Action::Probe(track, original) => {
                    let ring = self.rings.get(&original.source.ssrc);
                    let packet = ring.and_then(|r| r.get(original.source, original.index));
                    let Some(packet) = packet else { continue };
                    let start = self.outbox.bytes.len();
                    let bytes = &mut self.outbox.bytes;
                    if let Some(to) = entry.session.probe(now, track, &original, packet, bytes) {
                        self.outbox.commit(to, start);
                    }
                }
                Action::Resend(track, original) => {
                    let ring = self.rings.get(&original.source.ssrc);
                    let packet = ring.and_then(|r| r.get(original.source, original.index));
                    let Some(packet) = packet else {
                        self.metrics.missed.add(1);
                        continue;
                    };
                    let start = self.outbox.bytes.len();
                    let bytes = &mut self.outbox.bytes;
                    if let Some(to) = entry.session.resend(now, track, &original, packet, bytes) {
                        self.outbox.commit(to, start);
                    }
                }
                Action::Ended(cause) => {
                    tracing::debug!(session = entry.id.0, cause = cause.label(), "session over");
                    if let EndCause::Handshake(error) = cause {
                        tracing::info!(session = entry.id.0, %error, "a viewer can't connect");
                    }
                    count(&self.metrics, &entry.session.stats(), &entry.counted);
                    self.metrics.end(cause);
                    let ended = self.sessions.remove(key);
                    self.finish_tcp(now, ended);
                    return;
                }
            }
            if self.outbox.is_full() {
                self.flush();
            }
        }
        self.reschedule(now, key);
    }

    pub(super) fn reschedule(&mut self, now: Mono, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if let Some(at) = entry.session.poll_timeout().filter(|at| *at < entry.scheduled) {
            entry.scheduled = self.wheel.insert(at.max(now), key);
        }
    }

    pub(super) fn flush(&mut self) {
        self.flush_tcp();
        let flushed = self.outbox.flush(&self.socket, &self.waker, self.clock);
        self.metrics.datagrams.add(flushed.sent);
        self.metrics.refused.add(flushed.refused);
        self.metrics.dropped.add(flushed.dropped);
    }

    pub(super) fn every_second(&mut self, now: Mono) {
        self.expire_tcp(now);
        let ended: Vec<PipelineId> =
            self.gone.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in ended {
            self.gone.remove(&id);
            for key in self.sessions.of_pipeline(id).to_vec() {
                self.close(now, key, EndCause::StreamEnded);
            }
        }
        self.tell_layers(now);
        let mut figures = Figures::default();
        let (mut all, mut connecting) = (0, 0);
        for entry in self.sessions.entries_mut() {
            let stats = entry.session.stats();
            let live = entry.session.is_live();
            all += 1;
            connecting += u64::from(!live);
            count(&self.metrics, &stats, &entry.counted);
            figures.add(entry.session.pipeline(), live, &stats, &entry.counted);
            entry.counted = stats;
        }
        self.metrics.set_sessions(self.number, all, connecting);
        let pilots = self.sessions.entries_mut().filter_map(|entry| entry.session.pilot());
        let estimates = pilots.filter_map(|pilot| pilot.estimate(now));
        self.metrics.set_estimates(self.number, estimates);
        let figures = Upcall::Figures { worker: self.number, figures: figures.take() };
        let _ = self.upcalls.try_send(figures);
    }
}

fn count(metrics: &Metrics, now: &SessionStats, before: &SessionStats) {
    metrics.packets.add(now.packets - before.packets);
    metrics.bytes.add(now.bytes - before.bytes);
    metrics.nacks.add(now.nacks - before.nacks);
    metrics.resends.add(now.resends - before.resends);
    metrics.key_frames.add(now.key_frames - before.key_frames);
    metrics.forged.add(now.forged - before.forged);
    let (after, before) = (&now.adaptation, &before.adaptation);
    metrics.feedback.add(after.feedback - before.feedback);
    metrics.feedback_refused.add(after.refused - before.refused);
    metrics.probes.add(after.probes - before.probes);
    metrics.layer_ups.add(after.ups - before.ups);
    metrics.layer_downs.add(after.downs - before.downs);
    metrics.thinned.add(after.thinned - before.thinned);
    metrics.pauses.add(after.pauses - before.pauses);
}
