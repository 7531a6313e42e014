//! The forwarding plane as the control core and the operator see it: its counters turned into
//! reports (with rates) and into metrics.

use super::driver::Plane;
use super::media_thread::MediaHandle;
use crate::control::api::{LayerReport, LinkReport, PlaneReport};
use crate::media::api::{PeerSide, PlaneCommand};
use crate::media::stats::{LayerStats, LinkStats, PlaneStats};
use crate::ops::MetricsSource;
use crate::refusals::RefusalLog;
use soleil_protocol::{Mono, Now, PipelineId, Ssrc};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// The driver's end of the media thread.
pub(crate) struct MediaPlane {
    handle: MediaHandle,
    rates: Rates,
    refused: Refused,
}

impl MediaPlane {
    pub(crate) fn new(handle: MediaHandle) -> MediaPlane {
        MediaPlane { handle, rates: Rates::default(), refused: Refused::default() }
    }
}

impl Plane for MediaPlane {
    fn command(&mut self, command: PlaneCommand) {
        if !self.handle.command(command) {
            tracing::error!("a command to the forwarding plane is lost: too many wait");
        }
    }

    fn report(&mut self, now: Now) -> PlaneReport {
        let stats = self.handle.stats();
        for (kind, times) in self.refused.news(&stats, now.mono) {
            // What is on its way while links change is refused, too: nothing to warn of.
            match kind {
                FORGED => tracing::warn!(reason = kind, times, "media refused"),
                _ => tracing::info!(reason = kind, times, "media refused"),
            }
        }
        self.rates.report(&stats, now.mono)
    }
}

/// Packets that are not authentic, in the log.
const FORGED: &str = "media_forged";

/// What the plane has refused as of the last report, and what the log has told of it.
#[derive(Debug, Default)]
struct Refused {
    before: BTreeMap<&'static str, u64>,
    log: RefusalLog,
}

impl Refused {
    /// Kinds of which the log is to tell now, with their number.
    fn news(&mut self, stats: &PlaneStats, now: Mono) -> Vec<(&'static str, u64)> {
        let strays = &stats.strays;
        let links: u64 = stats.links.iter().map(|l| l.rtcp_refused).sum();
        let totals = [
            (FORGED, stats.layers.iter().map(|l| l.forged).sum::<u64>()),
            ("media_not_validated", strays.not_validated),
            ("media_malformed", strays.malformed + strays.unknown + strays.unknown_layer),
            ("rtcp_refused", strays.rtcp_refused + links),
            ("stun_refused", strays.stun_refused),
            ("links_refused", strays.links_refused),
        ];
        let mut lines = Vec::new();
        for (kind, total) in totals {
            // A layer or link that went away took its numbers along.
            let before = self.before.insert(kind, total).unwrap_or_default();
            let line = self.log.note(kind, total.saturating_sub(before), now);
            lines.extend(line.map(|times| (kind, times)));
        }
        lines.extend(self.log.overdue(now));
        lines
    }
}

/// The last snapshot: rates are differences. It holds what the plane knows and no more.
#[derive(Debug, Default)]
struct Rates {
    at: Mono,
    bytes_sent: u64,
    layers: BTreeMap<(PipelineId, Ssrc), LayerStats>,
}

impl Rates {
    fn report(&mut self, stats: &PlaneStats, now: Mono) -> PlaneReport {
        let seconds = now.since(self.at).as_secs_f64();
        let per_second = |bytes: u64| {
            if seconds > 0.0 { (8.0 * bytes as f64 / seconds) as u64 } else { 0 }
        };
        let bytes_sent: u64 = stats.links.iter().map(|link| link.bytes_sent).sum();
        // A link that went away took its bytes along: then this interval reads low.
        let egress = per_second(bytes_sent.saturating_sub(self.bytes_sent));
        let mut came = 0;
        let mut missed = 0;
        let layers = stats.layers.iter().map(|layer| {
            let before = self.layers.get(&(layer.pipeline, layer.ssrc)).copied();
            let before = before.unwrap_or_default();
            came += layer.packets.saturating_sub(before.packets);
            missed += layer.missed.saturating_sub(before.missed);
            LayerReport {
                pipeline: layer.pipeline,
                ssrc: layer.ssrc,
                received: layer.packets,
                lost: layer.lost,
                jitter_ms: milliseconds(layer.jitter),
                bitrate: per_second(layer.bytes.saturating_sub(before.bytes)),
                // Each packet that did not come on its own is asked for.
                nacks: layer.missed,
                plis: layer.key_frame_requests,
                drops: layer.no_route,
                first: None,
                last: layer.highest,
                epoch: None,
            }
        });
        let layers = layers.collect();
        let upward =
            (came + missed > 0).then(|| (missed as f64 / came.max(missed) as f64).min(1.0));
        let links = stats.links.iter().map(|link| LinkReport {
            link: link.id,
            rtt_ms: link.rtt.map(milliseconds),
            fraction_lost: match link.peer {
                PeerSide::Parent => upward,
                PeerSide::Child => reported_loss(link),
            },
        });
        let links = links.collect();
        self.at = now;
        self.bytes_sent = bytes_sent;
        self.layers = stats.layers.iter().map(|l| ((l.pipeline, l.ssrc), *l)).collect();
        PlaneReport { egress, layers, links, ..PlaneReport::default() }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The mean of what a child's last Receiver Reports say (RFC 3550 section 6.4.1: 1/256).
fn reported_loss(link: &LinkStats) -> Option<f64> {
    let reports = &link.reports;
    if reports.is_empty() {
        return None;
    }
    let sum: f64 = reports.iter().map(|report| f64::from(report.fraction_lost) / 256.0).sum();
    Some(sum / reports.len() as f64)
}

/// The forwarding plane's metrics.
pub(crate) struct MediaMetrics {
    handle: MediaHandle,
}

impl MediaMetrics {
    pub(crate) fn new(handle: MediaHandle) -> MediaMetrics {
        MediaMetrics { handle }
    }
}

impl MetricsSource for MediaMetrics {
    fn write_metrics(&self, out: &mut String) {
        write_stats(&self.handle.stats(), out);
    }
}

type LayerCounter = (&'static str, &'static str, fn(&LayerStats) -> u64);
type LinkGauge = (&'static str, &'static str, fn(&LinkStats) -> Option<f64>);
type LinkCounter = (&'static str, &'static str, fn(&LinkStats) -> u64);

const LAYER_COUNTERS: &[LayerCounter] = &[
    ("packets", "Authentic packets, each counted once.", |l| l.packets),
    ("bytes", "Their bytes as UDP payload.", |l| l.bytes),
    ("forwarded", "Copies handed on.", |l| l.forwarded),
    ("missed", "Packets lost on the hop before repair.", |l| l.missed),
    ("repaired", "Packets that came after they had been asked for.", |l| l.repaired),
    ("lost", "Packets lost after repair.", |l| l.lost),
    ("duplicates", "Packets seen before.", |l| l.duplicates),
    ("too_old", "Packets older than the replay window.", |l| l.too_old),
    ("forged", "Packets that are not authentic.", |l| l.forged),
    ("unknown_key", "Packets of an unknown epoch.", |l| l.unknown_key),
    ("no_route", "Packets that nobody here has asked for.", |l| l.no_route),
    ("key_frames", "Starts of key frames.", |l| l.key_frames),
    ("key_frame_requests", "Merged key-frame requests.", |l| l.key_frame_requests),
    ("absorbed", "NACKs answered once the packet came.", |l| l.absorbed),
];

const LINK_COUNTERS: &[LinkCounter] = &[
    ("packets_sent", "Media packets sent.", |l| l.packets_sent),
    ("bytes_sent", "Their bytes as UDP payload.", |l| l.bytes_sent),
    ("packets_received", "Authentic media packets received.", |l| l.packets_received),
    ("bytes_received", "Their bytes as UDP payload.", |l| l.bytes_received),
    ("resent", "Packets sent again for a NACK.", |l| l.resent),
    ("nacks_sent", "Packets asked of the peer.", |l| l.nacks_sent),
    ("nacks_received", "Packets that the peer asked for.", |l| l.nacks_received),
    ("unavailable", "Of these, what cannot be had.", |l| l.unavailable),
    ("plis_sent", "Key-frame requests sent.", |l| l.plis_sent),
    ("plis_received", "Key-frame requests received.", |l| l.plis_received),
    ("rtcp_refused", "RTCP under the peer's name that is refused.", |l| l.rtcp_refused),
    ("dropped", "Packets not sent since a limit was reached.", |l| l.dropped),
];

fn write_stats(stats: &PlaneStats, out: &mut String) {
    for (name, help, value) in LAYER_COUNTERS {
        let name = format!("soleil_layer_{name}_total");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for layer in &stats.layers {
            let (pipeline, ssrc, value) = (layer.pipeline, layer.ssrc, value(layer));
            let _ = writeln!(out, "{name}{{pipeline=\"{pipeline}\",ssrc=\"{ssrc}\"}} {value}");
        }
    }
    for (name, help, value) in LINK_COUNTERS {
        let name = format!("soleil_hop_{name}_total");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for link in &stats.links {
            let peer = match link.peer {
                PeerSide::Parent => "parent",
                PeerSide::Child => "child",
            };
            let _ = writeln!(out, "{name}{{link=\"{}\",peer=\"{peer}\"}} {}", link.id, value(link));
        }
    }
    let gauges: [LinkGauge; 2] = [
        ("open", "Whether the peer's address is validated.", |l| {
            Some(f64::from(u8::from(l.address.is_some() && !l.silent)))
        }),
        ("rtt_seconds", "Smoothed round-trip time.", |l| l.rtt.map(|rtt| rtt.as_secs_f64())),
    ];
    for (name, help, value) in gauges {
        let name = format!("soleil_hop_{name}");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for link in &stats.links {
            if let Some(value) = value(link) {
                let _ = writeln!(out, "{name}{{link=\"{}\"}} {value}", link.id);
            }
        }
    }
    let strays = &stats.strays;
    let name = "soleil_media_strays_total";
    let _ = writeln!(out, "# HELP {name} Datagrams that concern no layer and no link, by reason.");
    let _ = writeln!(out, "# TYPE {name} counter");
    for (reason, value) in [
        ("unknown", strays.unknown),
        ("stun_refused", strays.stun_refused),
        ("rtcp_refused", strays.rtcp_refused),
        ("not_validated", strays.not_validated),
        ("malformed", strays.malformed),
        ("unknown_layer", strays.unknown_layer),
        ("conflicts", strays.conflicts),
        ("links_refused", strays.links_refused),
    ] {
        let _ = writeln!(out, "{name}{{reason=\"{reason}\"}} {value}");
    }
    let io = &stats.io;
    let name = "soleil_media_datagrams_total";
    let _ = writeln!(out, "# HELP {name} Datagrams of the media socket, by what became of them.");
    let _ = writeln!(out, "# TYPE {name} counter");
    for (result, value) in [
        ("received", io.received),
        ("sent", io.sent),
        ("refused", io.refused),
        ("dropped", io.dropped),
        ("commands_lost", io.commands_lost),
        ("injected_lost", io.injected_lost),
    ] {
        let _ = writeln!(out, "{name}{{result=\"{result}\"}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(packets: u64, missed: u64) -> LayerStats {
        LayerStats {
            pipeline: PipelineId(1),
            ssrc: Ssrc(2),
            packets,
            bytes: packets * 1000,
            missed,
            ..LayerStats::default()
        }
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let mut rates = Rates::default();
        let stats = |packets, missed| PlaneStats {
            layers: vec![layer(packets, missed)],
            ..PlaneStats::default()
        };
        rates.report(&stats(100, 0), Mono(1_000_000));
        let report = rates.report(&stats(200, 5), Mono(2_000_000));
        assert_eq!(report.layers[0].bitrate, 800_000);
        assert_eq!(report.layers[0].received, 200);
        // A plane that began anew, or time that stands still: no nonsense.
        let report = rates.report(&stats(10, 0), Mono(3_000_000));
        assert_eq!(report.layers[0].bitrate, 0);
        let report = rates.report(&stats(20, 0), Mono(3_000_000));
        assert_eq!(report.layers[0].bitrate, 0);
    }

    #[test]
    fn the_log_tells_of_forgeries_in_few_lines_that_speak_for_all() {
        let mut refused = Refused::default();
        let mut told = 0;
        let mut lines = 0;
        for second in 0..60 {
            let forged = LayerStats { forged: (second + 1) * 1_000, ..layer(1, 0) };
            let stats = PlaneStats { layers: vec![forged], ..PlaneStats::default() };
            for (kind, times) in refused.news(&stats, Mono(second * 1_000_000)) {
                assert_eq!(kind, FORGED);
                told += times;
                lines += 1;
            }
        }
        assert!((10..=15).contains(&lines), "{lines} lines in a minute");
        assert!(told >= 55_000, "{told}");
        // The layer is gone and comes back: nothing happened.
        let none = refused.news(&PlaneStats::default(), Mono(100_000_000));
        assert!(none.iter().all(|(_, times)| *times <= 5_000), "{none:?}");
        assert!(refused.news(&PlaneStats::default(), Mono(200_000_000)).is_empty());
    }

    #[test]
    fn metrics_name_layer_and_stray() {
        let mut out = String::new();
        write_stats(&PlaneStats { layers: vec![layer(3, 0)], ..PlaneStats::default() }, &mut out);
        assert!(out.contains("soleil_layer_packets_total{pipeline=\"1\",ssrc=\"2\"} 3\n"), "{out}");
        assert!(out.contains("soleil_media_strays_total{reason=\"stun_refused\"} 0\n"), "{out}");
    }
}
