//! Which ports everything gets, and the root's configuration, which names most of them.

use super::HarnessError;
use super::options::{Hop, Options};
use super::ports::{Ports, is_free};
use std::fmt::Write;
use std::path::Path;

/// The ports of one node.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodePorts {
    pub(super) overlay: u16,
    pub(super) media: u16,
    pub(super) ops: u16,
    pub(super) http: u16,
    pub(super) viewers: u16,
}

/// Which ports everything gets.
pub(super) struct Plan {
    pub(super) root: NodePorts,
    pub(super) root_hop_media: u16,
    pub(super) root_hop_overlay: u16,
    /// What the root announces to broadcasters over WHIP.
    pub(super) whip_hop: u16,
    pub(super) relays: Vec<NodePorts>,
    /// What relays announce for media and overlay.
    pub(super) relay_hops: Vec<(u16, u16)>,
    pub(super) leaves: Vec<NodePorts>,
    pub(super) streams: Vec<u16>,
}

impl Plan {
    pub(super) fn new(options: &Options) -> Result<Self, HarnessError> {
        let mut free = Ports::default();
        if options.demo_ports {
            return Self::demo(options);
        }
        let mut node = || -> Result<NodePorts, HarnessError> {
            let p = free.take(5)?;
            Ok(NodePorts { overlay: p, media: p + 1, ops: p + 2, http: p + 3, viewers: p + 4 })
        };
        let root = node()?;
        let relays = (0..options.relays).map(|_| node()).collect::<Result<Vec<_>, _>>()?;
        let leaves = (0..options.leaves).map(|_| node()).collect::<Result<Vec<_>, _>>()?;
        // A port for each layer and one for the sound, each with its RTCP.
        let ports = 2 * (options.layers.max(1) + 1);
        let streams =
            options.streams.iter().map(|_| free.take(ports)).collect::<Result<Vec<_>, _>>()?;
        let mut hop = |hop: &Hop, p: NodePorts| -> Result<(u16, u16), HarnessError> {
            let media = if hop.emulate.is_some() { free.take(1)? } else { p.media };
            let overlay = if hop.tap { free.take(1)? } else { p.overlay };
            Ok((media, overlay))
        };
        let (root_hop_media, root_hop_overlay) = hop(&options.root_hop, root)?;
        let relay_hops =
            relays.iter().map(|p| hop(&options.relay_hop, *p)).collect::<Result<Vec<_>, _>>()?;
        let whip_hop = if options.whip_hop.is_some() { free.take(1)? } else { root.viewers };
        Ok(Self {
            root,
            root_hop_media,
            root_hop_overlay,
            whip_hop,
            relays,
            relay_hops,
            leaves,
            streams,
        })
    }

    /// INTERFACE "Demo ports". Leaves have no children, but hops and links of their own all the
    /// same: 7461 and following.
    fn demo(options: &Options) -> Result<Self, HarnessError> {
        let root = NodePorts { overlay: 7443, media: 7443, ops: 9100, http: 8080, viewers: 8189 };
        let numbered = |count: usize, make: fn(u16) -> NodePorts| -> Vec<NodePorts> {
            (1..=count as u16).map(make).collect()
        };
        let relays = numbered(options.relays, |n| NodePorts {
            overlay: 7450 + n,
            media: 7450 + n,
            ops: 9100 + n,
            http: 0,
            viewers: 0,
        });
        let leaves = numbered(options.leaves, |n| NodePorts {
            overlay: 7460 + n,
            media: 7460 + n,
            ops: 9110 + n,
            http: 8090 + n,
            viewers: 8190 + n,
        });
        let streams = vec![5004];
        let ports = [&root].into_iter().chain(&relays).chain(&leaves);
        let all = ports
            .flat_map(|p| [p.overlay, p.media, p.ops, p.http, p.viewers])
            .chain(5004..=5007)
            .filter(|port| *port != 0);
        let mut taken: Vec<String> =
            all.filter(|port| !is_free(*port)).map(|port| format!("port {port}")).collect();
        taken.dedup();
        if !taken.is_empty() {
            return Err(HarnessError::InUse(taken.join(", ")));
        }
        let relay_hops = relays.iter().map(|p| (p.media, p.overlay)).collect();
        Ok(Self {
            root,
            root_hop_media: root.media,
            root_hop_overlay: root.overlay,
            whip_hop: root.viewers,
            relays,
            relay_hops,
            leaves,
            streams,
        })
    }
}

/// With this all streams can be broadcast over WHIP.
pub const PUBLISH_TOKEN: &str = "anybody-on-this-machine";

pub(super) fn root_config(options: &Options, plan: &Plan, directory: &Path) -> String {
    let p = plan.root;
    let mut config = format!(
        "[node]\nname = \"root\"\ndata_dir = \"{}\"\ndrain_timeout = \"5s\"\n\
         [overlay]\nlisten = \"127.0.0.1:{}\"\nannounce = \"127.0.0.1:{}\"\n\
         [media]\nlisten = \"127.0.0.1:{}\"\nannounce = [\"127.0.0.1:{}\"]\n\
         [capacity]\nchildren = {}\n[http]\nlisten = \"127.0.0.1:{}\"\n\
         [webrtc]\nlisten = \"127.0.0.1:{}\"\nannounce = [\"127.0.0.1:{}\"]\n\
         [ops]\nlisten = \"127.0.0.1:{}\"\n[log]\nlevel = \"{}\"\nformat = \"text\"\n{}",
        directory.join("root").display(),
        p.overlay,
        plan.root_hop_overlay,
        p.media,
        plan.root_hop_media,
        options.root_children,
        p.http,
        p.viewers,
        plan.whip_hop,
        p.ops,
        options.log,
        options.root_extra,
    );
    for (stream, port) in options.streams.iter().zip(&plan.streams) {
        let layers: Vec<_> =
            (0..options.layers.max(1)).map(|n| layer_port(*port, n).to_string()).collect();
        let _ = write!(
            config,
            "\n[[stream]]\nname = \"{}\"\npublish_token = \"{PUBLISH_TOKEN}\"\nladder = {:?}\n\
             [[stream.track]]\nname = \"video\"\ncodec = \"{}\"\npayload_type = 96\nports = [{}]\n\
             [[stream.track]]\nname = \"audio\"\ncodec = \"opus\"\npayload_type = 111\nports = [{}]\n",
            stream.name,
            options.ladder,
            stream.codec,
            layers.join(", "),
            port + 2
        );
    }
    config
}

/// The port of a layer of the picture, for the stream whose ports begin here: the best layer, the
/// sound, then the other layers, each with its RTCP.
pub(super) fn layer_port(first: u16, layer: u16) -> u16 {
    match layer {
        0 => first,
        more => first + 2 * (more + 1),
    }
}
