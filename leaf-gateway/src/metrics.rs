//! The leaf's counters (Prometheus text is made in [`Metrics::render`]). Counters only, and some
//! gauges of each worker; rates are the reader's business.

use crate::session::EndCause;
use crate::session::dtls::DtlsError;
use crate::worker::MAX_WORKERS;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes over what is counted elsewhere, or a gauge.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

/// Why a join was refused over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400.
    BadOffer,
    /// 401 or 403.
    Ticket,
    /// 404.
    UnknownStream,
    /// 406.
    NoCommonCodec,
    /// 409.
    NotLive,
    /// 413 or 415.
    Body,
    /// 503: viewers.
    Full,
    /// 503: one address.
    Address,
    /// 503: handshakes.
    Handshakes,
    /// 503: the node is not ready, or leaves.
    NotReady,
}

const REFUSALS: [(Refusal, &str); 10] = [
    (Refusal::BadOffer, "bad_offer"),
    (Refusal::Ticket, "ticket"),
    (Refusal::UnknownStream, "unknown_stream"),
    (Refusal::NoCommonCodec, "no_common_codec"),
    (Refusal::NotLive, "not_live"),
    (Refusal::Body, "body"),
    (Refusal::Full, "full"),
    (Refusal::Address, "address"),
    (Refusal::Handshakes, "handshakes"),
    (Refusal::NotReady, "not_ready"),
];

const CAUSES: [EndCause; 9] = [
    EndCause::Deleted,
    EndCause::Closed,
    EndCause::ConsentLost,
    EndCause::NeverConnected,
    EndCause::Handshake(DtlsError::NoGcm),
    EndCause::Handshake(DtlsError::Failed),
    EndCause::Fingerprint,
    EndCause::StreamEnded,
    EndCause::Drained,
];

/// Bounds of the gauges of viewers' links, bits per second: the steps of usual ladders.
const ESTIMATES: [u64; 6] = [250_000, 500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000];

/// Gauges that each worker sets for itself.
#[derive(Debug, Default)]
struct Gauges {
    viewers: Counter,
    connecting: Counter,
    estimates: [Counter; ESTIMATES.len() + 1],
}

/// The gauges of all workers that there may be.
#[derive(Debug)]
struct Workers([Gauges; MAX_WORKERS]);

impl Default for Workers {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Gauges::default()))
    }
}

impl Workers {
    fn sum(&self, of: impl Fn(&Gauges) -> &Counter) -> u64 {
        self.0.iter().map(|gauges| of(gauges).get()).sum()
    }
}

macro_rules! counters {
    ($($field:ident, $name:literal, $help:literal;)*) => {
        /// All counters of the process.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: Counter,)*
            running: Counter,
            workers: Workers,
            refusals: [Counter; REFUSALS.len()],
            ends: [Counter; CAUSES.len()],
        }

        impl Metrics {
            fn plain(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$(($name, $help, self.$field.get()),)*].into_iter()
            }
        }
    };
}

counters! {
    joins, "soleil_leaf_joins_total", "Sessions created over WHEP.";
    live, "soleil_leaf_live_total", "Sessions that got as far as media.";
    handshakes, "soleil_leaf_handshakes_total", "DTLS handshake steps done.";
    packets, "soleil_leaf_packets_total", "Media datagrams written for viewers.";
    bytes, "soleil_leaf_bytes_total", "Their bytes.";
    datagrams, "soleil_leaf_datagrams_total", "Datagrams handed to the kernel.";
    refused, "soleil_leaf_datagrams_refused_total", "Datagrams that the kernel refused.";
    dropped, "soleil_leaf_datagrams_dropped_total", "Datagrams that found the socket full.";
    received, "soleil_leaf_datagrams_received_total", "Datagrams received.";
    unknown, "soleil_leaf_datagrams_unknown_total", "Datagrams that belong to no session.";
    handed, "soleil_leaf_datagrams_handed_total", "Datagrams handed to the worker that has their session.";
    handed_lost, "soleil_leaf_datagrams_handed_lost_total", "Of these, lost: too many at once, or too long.";
    worker_failures, "soleil_leaf_worker_failures_total", "Workers that have failed.";
    moves, "soleil_leaf_moves_total", "Viewers seen at another port by their RTCP.";
    tcp_connections, "soleil_leaf_tcp_connections_total", "TCP connections accepted.";
    tcp_refused, "soleil_leaf_tcp_refused_total", "TCP connections over a limit or of strangers.";
    tcp_packets, "soleil_leaf_tcp_packets_total", "Packets written to TCP connections.";
    tcp_dropped, "soleil_leaf_tcp_dropped_total", "Packets for TCP connections that did not drain.";
    tcp_stalls, "soleil_leaf_tcp_stalls_total", "TCP connections that stopped to drain.";
    nacks, "soleil_leaf_nacks_total", "Packets that viewers reported lost.";
    resends, "soleil_leaf_resends_total", "Packets sent again.";
    missed, "soleil_leaf_resends_missed_total", "Lost packets that the ring no longer has.";
    key_frames, "soleil_leaf_key_frame_requests_total", "Key-frame requests of viewers.";
    feedback, "soleil_leaf_feedback_total", "Transport-wide feedback messages taken.";
    feedback_refused, "soleil_leaf_feedback_refused_total", "Feedback that was malformed or too much.";
    probes, "soleil_leaf_probes_total", "Probes for more bandwidth.";
    layer_ups, "soleil_leaf_layer_ups_total", "Changes of a viewer to a better layer.";
    layer_downs, "soleil_leaf_layer_downs_total", "Changes of a viewer to a lesser layer.";
    thinned, "soleil_leaf_thinned_total", "Times that frames which no other frame needs were left out.";
    pauses, "soleil_leaf_pauses_total", "Pictures left out so that the sound gets through.";
    starts, "soleil_leaf_cached_starts_total", "Beginnings out of the key-frame cache.";
    forged, "soleil_leaf_srtp_failures_total", "SRTCP that was not authentic or replayed.";
    late, "soleil_leaf_packets_late_total", "Packets that came twice or too late for the ring.";
    overruns, "soleil_leaf_packets_overrun_total", "Packets that found the viewer thread behind.";
    event_streams, "soleil_leaf_event_streams_total", "Event streams created.";
    event_streams_cut, "soleil_leaf_event_streams_cut_total", "Of these, cut: nobody read them.";
    limited, "soleil_leaf_requests_limited_total", "Requests over their address's rate.";
    strays, "soleil_leaf_packets_stray_total", "Packets of layers that nobody has defined.";
}

impl Metrics {
    /// A join was refused.
    pub fn refuse(&self, refusal: Refusal) {
        if let Some(i) = REFUSALS.iter().position(|(r, _)| *r == refusal) {
            self.refusals[i].add(1);
        }
    }

    /// How often joins were refused for this reason.
    pub fn refused_for(&self, refusal: Refusal) -> u64 {
        REFUSALS.iter().position(|(r, _)| *r == refusal).map_or(0, |i| self.refusals[i].get())
    }

    /// A session ended.
    pub fn end(&self, cause: EndCause) {
        if let Some(i) = CAUSES.iter().position(|c| c.label() == cause.label()) {
            self.ends[i].add(1);
        }
    }

    /// How many sessions ended so.
    pub fn ended_by(&self, cause: EndCause) -> u64 {
        CAUSES.iter().position(|c| c.label() == cause.label()).map_or(0, |i| self.ends[i].get())
    }

    /// Sets a worker's gauges: its sessions, and those of them that are still connecting.
    pub fn set_sessions(&self, worker: usize, viewers: u64, connecting: u64) {
        if let Some(gauges) = self.workers.0.get(worker) {
            gauges.viewers.set(viewers);
            gauges.connecting.set(connecting);
        }
    }

    /// Sets a worker's gauges of how much its viewers' links are thought to carry (bits per second).
    pub fn set_estimates(&self, worker: usize, estimates: impl Iterator<Item = u64>) {
        let mut counts = [0; ESTIMATES.len() + 1];
        for estimate in estimates {
            let below = ESTIMATES.iter().position(|e| estimate < *e).unwrap_or(ESTIMATES.len());
            counts[below] += 1;
        }
        for (gauge, count) in
            self.workers.0.get(worker).iter().flat_map(|gauges| gauges.estimates.iter().zip(counts))
        {
            gauge.set(count);
        }
    }

    /// So many workers there are; before any counts.
    pub fn set_workers(&self, count: usize) {
        self.running.set(count as u64);
    }

    /// Sessions at present.
    pub fn viewers(&self) -> u64 {
        self.workers.sum(|gauges| &gauges.viewers)
    }

    /// Prometheus text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let family = |name: &str, help: &str, kind: &str| {
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
        };
        for (name, help, value) in self.plain() {
            let head = family(name, help, "counter");
            let _ = writeln!(out, "{head}{name} {value}");
        }
        for (name, help, value) in [
            ("soleil_leaf_viewers", "Sessions at present.", self.viewers()),
            (
                "soleil_leaf_connecting",
                "Sessions without media yet.",
                self.workers.sum(|gauges| &gauges.connecting),
            ),
        ] {
            let head = family(name, help, "gauge");
            let _ = writeln!(out, "{head}{name} {value}");
        }
        let name = "soleil_leaf_estimate_viewers";
        let help = "Viewers by what their links are thought to carry, up to so many bit/s.";
        out.push_str(&family(name, help, "gauge"));
        let labels = ESTIMATES.iter().map(u64::to_string).chain(["+Inf".to_owned()]);
        for (i, label) in labels.enumerate() {
            let viewers = self.workers.sum(|gauges| &gauges.estimates[i]);
            let _ = writeln!(out, "{name}{{to=\"{label}\"}} {viewers}");
        }
        let name = "soleil_leaf_worker_viewers";
        out.push_str(&family(name, "Sessions of each worker at present.", "gauge"));
        let workers = self.running.get() as usize;
        for (worker, gauges) in self.workers.0.iter().enumerate().take(workers) {
            let _ = writeln!(out, "{name}{{worker=\"{worker}\"}} {}", gauges.viewers.get());
        }
        let name = "soleil_leaf_join_failures_total";
        out.push_str(&family(name, "Joins refused, by reason.", "counter"));
        for ((_, label), counter) in REFUSALS.iter().zip(&self.refusals) {
            let _ = writeln!(out, "{name}{{reason=\"{label}\"}} {}", counter.get());
        }
        let name = "soleil_leaf_sessions_ended_total";
        out.push_str(&family(name, "Sessions ended, by cause.", "counter"));
        for (cause, counter) in CAUSES.iter().zip(&self.ends) {
            let _ = writeln!(out, "{name}{{cause=\"{}\"}} {}", cause.label(), counter.get());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_rendered_once() {
        let metrics = Metrics::default();
        metrics.joins.add(3);
        metrics.refuse(Refusal::Full);
        metrics.end(EndCause::Handshake(DtlsError::TimedOut));
        metrics.set_workers(3);
        metrics.set_sessions(0, 3, 2);
        metrics.set_sessions(2, 2, 0);
        metrics.set_sessions(MAX_WORKERS, 9, 9);
        metrics.set_estimates(0, [300_000, 2_500_000].into_iter());
        metrics.set_estimates(2, [2_600_000, 90_000_000].into_iter());
        let text = metrics.render();
        for line in [
            "soleil_leaf_joins_total 3",
            "soleil_leaf_viewers 5",
            "soleil_leaf_connecting 2",
            "soleil_leaf_worker_viewers{worker=\"1\"} 0",
            "soleil_leaf_worker_viewers{worker=\"2\"} 2",
            "soleil_leaf_estimate_viewers{to=\"4000000\"} 2",
            "soleil_leaf_estimate_viewers{to=\"+Inf\"} 1",
            "soleil_leaf_join_failures_total{reason=\"full\"} 1",
            "soleil_leaf_sessions_ended_total{cause=\"handshake_failed\"} 1",
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}");
        }
        assert!(!text.contains("worker=\"3\""), "only those that there are");
        assert_eq!(metrics.refused_for(Refusal::Full), 1);
        assert_eq!(metrics.ended_by(EndCause::Handshake(DtlsError::Failed)), 1);
    }
}
