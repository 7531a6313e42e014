//! Egress: a relay takes as many children as the streams on air fit into what it can send, by what
//! the root measures of them.

use super::*;

/// A second in which the root seals so many bits of pipeline 1.
fn second(rig: &mut Rig, bitrate: u64) {
    let layer = LayerReport {
        pipeline: PipelineId(1),
        ssrc: Ssrc(7),
        received: 0,
        lost: 0,
        jitter_ms: 0.0,
        bitrate,
        nacks: 0,
        plis: 0,
        drops: 0,
        first: None,
        last: None,
        epoch: None,
    };
    // Sound is another layer; the other pipeline is nobody's.
    let sound = LayerReport { ssrc: Ssrc(8), bitrate: 64_000, ..layer.clone() };
    let other = LayerReport { pipeline: PipelineId(2), bitrate: 1 << 40, ..layer.clone() };
    let layers = vec![layer, sound, other];
    rig.step(Event::PlaneReport(PlaneReport { layers, ..PlaneReport::default() }));
    rig.wait(SEC / 2);
}

#[test]
fn a_relay_takes_what_fits_into_its_egress() {
    let mut rig = Rig::new(4);
    let mut relay = hello(Role::Relay, "a", 1);
    relay.capacity.egress = 10_000_000;
    rig.attach_by(relay, 1);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    rig.command(RootCommand::SetLive(PipelineId(1), true));
    second(&mut rig, 4_000_000);
    let parent = |rig: &mut Rig, name: &str, key| {
        let said = rig.join(Role::Leaf, hello(Role::Leaf, name, key));
        said[0].rsplit(' ').next().unwrap().split(',').next().unwrap().to_owned()
    };
    // 4.5 Mbit/s each by the planner's reckoning.
    assert_eq!(parent(&mut rig, "x", 2), "a");
    assert_eq!(parent(&mut rig, "y", 3), "a");
    assert_eq!(parent(&mut rig, "z", 4), "root");
}
