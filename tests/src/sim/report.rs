//! What the driver would make of the plane's counters, for the core's `PlaneReport`.

use relay_node::control::api::{LayerReport, LinkReport, PlaneReport};
use relay_node::media::stats::PlaneStats;

/// The report of a node that has a plane.
pub(super) fn of(stats: &PlaneStats) -> PlaneReport {
    let layers = stats.layers.iter().map(|l| LayerReport {
        pipeline: l.pipeline,
        ssrc: l.ssrc,
        received: l.packets,
        lost: l.lost,
        jitter_ms: l.jitter.as_secs_f64() * 1_000.0,
        bitrate: 0,
        nacks: l.nacks,
        plis: l.key_frame_requests,
        drops: l.no_route,
        first: l.oldest,
        last: l.highest,
        epoch: l.epoch,
    });
    let links = stats.links.iter().map(|l| LinkReport {
        link: l.id,
        rtt_ms: l.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
        fraction_lost: l.fraction_lost,
    });
    PlaneReport {
        cpu: 10.0,
        layers: layers.collect(),
        links: links.collect(),
        ..PlaneReport::default()
    }
}
