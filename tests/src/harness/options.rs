//! What kind of tree a test wants.

use crate::emulator::LinkConfig;

/// What stands in a hop.
#[derive(Debug, Clone, Default)]
pub struct Hop {
    /// A UDP emulator in the media path (a link that does nothing still records).
    pub emulate: Option<LinkConfig>,
    /// A tap in the control link.
    pub tap: bool,
}

/// A stream of the root.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// H264, VP8, VP9 or AV1.
    pub codec: &'static str,
}

/// What kind of tree.
#[derive(Debug, Clone)]
pub struct Options {
    /// Relays; the first ones below the root.
    pub relays: usize,
    /// Leaves.
    pub leaves: usize,
    /// How many nodes the root takes itself.
    pub root_children: usize,
    /// How many nodes each relay takes.
    pub relay_children: usize,
    /// Between the root and its children.
    pub root_hop: Hop,
    /// Between relays and their children.
    pub relay_hop: Hop,
    /// Between leaves and their viewers.
    pub viewer_hop: Option<LinkConfig>,
    /// Between broadcasters over WHIP and the root.
    pub whip_hop: Option<LinkConfig>,
    /// Streams; each has ports of its own.
    pub streams: Vec<Stream>,
    /// Layers of each stream's picture.
    pub layers: u16,
    /// The ladder of each stream's picture.
    pub ladder: Vec<&'static str>,
    /// The root is one that the test can steer: it can say where nodes are, and move them.
    pub steered: bool,
    /// INTERFACE's demo ports instead of free ones.
    pub demo_ports: bool,
    /// Log directives of all nodes.
    pub log: String,
    /// Where leaves listen for viewers' media; an IPv6 address in brackets.
    pub viewer_host: &'static str,
    /// More lines for the root's configuration.
    pub root_extra: String,
    /// More lines for the leaves' configuration.
    pub leaf_extra: String,
    /// Viewers that a leaf takes; its own default if `None`.
    pub leaf_viewers: Option<usize>,
    /// Sessions that a leaf gives to one address; here all viewers have the same.
    pub leaf_per_address: usize,
    /// Threads of a leaf that serve viewers (`webrtc.workers`).
    pub leaf_workers: usize,
    /// The core that leaves stay on.
    pub leaf_core: Option<usize>,
}

impl Default for Options {
    /// Root, relay, leaf, and stream `demo` as H.264 and Opus.
    fn default() -> Self {
        Self {
            relays: 1,
            leaves: 1,
            root_children: 1,
            relay_children: 8,
            root_hop: Hop::default(),
            relay_hop: Hop::default(),
            viewer_hop: None,
            viewer_host: "127.0.0.1",
            whip_hop: None,
            streams: vec![Stream { name: "demo".into(), codec: "H264" }],
            layers: 1,
            ladder: Vec::new(),
            steered: false,
            demo_ports: false,
            log: "info".into(),
            root_extra: String::new(),
            leaf_extra: String::new(),
            leaf_viewers: None,
            leaf_per_address: 5_000,
            leaf_workers: 1,
            leaf_core: None,
        }
    }
}
