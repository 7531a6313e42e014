//! What comes from outside the tree: the source's packets, and the viewers of leaves.

use super::world::Sim;
use relay_node::control::api::NodeCommand;
use relay_node::media::api::FrameMarks;
use relay_node::media::packet::HopHeader;
use root_node::core::api::RootCommand;
use soleil_protocol::message::{Stat, StatsContainer};
use soleil_protocol::pipeline::{Codec, Layer, PipelineDef, Track};
use soleil_protocol::{PacketIndex, PipelineId, Ssrc};

/// What the source sends under an index.
pub(super) fn payload(ssrc: Ssrc, index: PacketIndex) -> Vec<u8> {
    let length = 200 + (index.0 % 7) as usize;
    (0..length).map(|i| (index.0 as usize + ssrc.0 as usize + i) as u8).collect()
}

impl Sim {
    /// What this leaf's viewers are from now on, and their mean round trip in milliseconds.
    pub fn set_audience(&mut self, node: usize, pipeline: PipelineId, viewers: u32, rtt_ms: f64) {
        let of =
            |name: &str, value, weight| Stat { name: name.into(), value, weight: Some(weight) };
        let mut stats = vec![of("viewers", f64::from(viewers), 1.0)];
        if viewers > 0 {
            stats.push(of("rtt", rtt_ms, f64::from(viewers)));
        }
        self.nodes[node].viewers = viewers;
        self.nodes[node].rtt_ms = Some(rtt_ms);
        let container = StatsContainer { start: 0, end: 0, children: 0, id: Some(pipeline), stats };
        self.command(node, NodeCommand::LocalStats(vec![container]));
    }

    /// What this leaf's viewers are from now on.
    pub fn set_viewers(&mut self, node: usize, pipeline: PipelineId, viewers: u32) {
        self.nodes[node].viewers = viewers;
        let stat = Stat { name: "viewers".into(), value: f64::from(viewers), weight: Some(1.0) };
        let stats = vec![stat];
        let container = StatsContainer { start: 0, end: 0, children: 0, id: Some(pipeline), stats };
        self.command(node, NodeCommand::LocalStats(vec![container]));
    }

    /// Defines a live pipeline of one video (SSRC `10 * id`) and one audio layer (`10 * id + 1`).
    pub fn define(&mut self, id: u32) -> PipelineId {
        let track = |name: &str, codec, ssrc| Track {
            name: name.into(),
            codec,
            clock_rate: if codec == Codec::Opus { 48_000 } else { 90_000 },
            channels: 0,
            fmtp: String::new(),
            layers: vec![Layer {
                ssrc: Ssrc(ssrc),
                payload_type: 96,
                width: None,
                height: None,
                bitrate: None,
                scalability: None,
            }],
        };
        self.root(RootCommand::DefinePipeline(PipelineDef {
            id: PipelineId(id),
            name: format!("stream-{id}"),
            live: true,
            tracks: vec![
                track("video", Codec::H264, 10 * id),
                track("audio", Codec::Opus, 10 * id + 1),
            ],
        }));
        PipelineId(id)
    }

    /// The source sends one packet.
    pub fn send_media(&mut self, pipeline: PipelineId, ssrc: Ssrc, index: PacketIndex) {
        let now = self.clock(0);
        let header = HopHeader {
            ssrc,
            payload_type: 96,
            marker: true,
            index,
            timestamp: (self.now / 11) as u32,
            capture: now.wall.ntp(),
            marks: FrameMarks::default(),
        };
        let mut packet = Vec::new();
        let sealer = self.sealers.get(&pipeline).expect("the pipeline has a key");
        sealer.seal(&header, &payload(ssrc, index), &mut packet).expect("it fits");
        let root = &mut self.nodes[0];
        let plane = root.plane.as_mut().expect("a simulation with media");
        plane.inject(now, &packet, &mut root.sink);
        self.after(0);
    }
}
