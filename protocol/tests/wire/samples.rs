//! One message of each type, as the documentation shows them.

use soleil_protocol::message::*;
use soleil_protocol::pipeline::{Codec, EpochKey, Layer, PipelineDef, Track, Wrapped};
use soleil_protocol::{
    Address, Epoch, Incarnation, LinkId, Millis, NodeId, PacketIndex, PipelineId, Rank, Role, Ssrc,
};

pub fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("a legal id")
}

fn host(host: &str, port: u16) -> HostPort {
    HostPort { host: host.into(), port }
}

fn wrapped() -> Wrapped {
    Wrapped { enc: vec![7; 32], sealed: vec![9; 48] }
}

/// The address of a node, `^` or `*`; nothing for an empty text.
fn address(text: &str) -> Option<Address> {
    (!text.is_empty()).then(|| text.parse().expect("an address"))
}

fn message(from: &str, to: &str, body: Body) -> Message {
    Message { time: Millis(1_767_225_600_000), from: address(from), to: address(to), body }
}

/// Whether the tests shall write what they expect instead of comparing (`UPDATE_EXPECT=1`).
pub fn updating() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

/// Heading for the documentation, and the message.
pub fn all() -> Vec<(&'static str, Message)> {
    let mut list = nodes();
    list.extend(streams());
    list.extend(statistics());
    list
}

fn nodes() -> Vec<(&'static str, Message)> {
    let to_root = Hello {
        server: Some(host("192.0.2.7", 7451)),
        client: Some(host("192.0.2.7", 40312)),
        role: Some(Role::Leaf),
        capacity: Capacity { children: 0, viewers: 1000, egress: 2_500_000_000 },
        region: "eu-west".into(),
        labels: vec![("rack".into(), "12".into())],
        media: vec!["192.0.2.7:8191".parse().expect("an address")],
        http: Some("https://leaf7.example.net".into()),
        csr: Some(b"PKCS #10 request".to_vec()),
        wrap_key: Some(vec![1; 32]),
        ..Hello::new(id("leaf-7"))
    };
    let to_parent = Hello {
        role: Some(Role::Leaf),
        incarnation: Incarnation(3),
        capacity: to_root.capacity,
        media: to_root.media.clone(),
        pipelines: vec![PipelineId(1)],
        ticket: Some(b"signed ticket".to_vec()),
        nonce: Some(vec![2; 16]),
        ..Hello::new(id("leaf-7"))
    };
    let to_backup = Hello {
        role: Some(Role::Leaf),
        incarnation: Incarnation(3),
        ticket: Some(b"signed ticket".to_vec()),
        nonce: Some(vec![2; 16]),
        warm: true,
        ..Hello::new(id("leaf-7"))
    };
    let redirect = Redirect {
        rank: Rank(2),
        mode: MoveMode::Overlap,
        identity: Some(Identity {
            id: id("leaf-7"),
            incarnation: Incarnation(3),
            certificate: b"certificate of the node".to_vec(),
            authority: b"certificate of the root".to_vec(),
            ticket_key: vec![3; 32],
        }),
        parents: vec![ParentOffer {
            id: id("relay-1"),
            server: host("relay1.example.net", 7451),
            media: vec!["[2001:db8::1]:8190".parse().expect("an address")],
            link: LinkId(42),
            version: 2,
            ticket: b"signed ticket".to_vec(),
            credential: wrapped(),
        }],
    };
    let update = ChildsUpdate {
        added: vec![Child {
            id: id("leaf-7"),
            incarnation: Incarnation(3),
            parent: id("relay-1"),
            weight: 1,
        }],
        removed: vec![(id("leaf-4"), Incarnation(1))],
    };
    let error = ErrorReport {
        code: ErrorCode::UnknownNode,
        text: "no node leaf-9".into(),
        failed_time: Some(Millis(1_767_225_599_950)),
        failed_type: "kill".into(),
    };
    let echo = Echo { token: "17".into() };
    vec![
        ("HELLO to the root", message("", "^", Body::Hello(Box::new(to_root)))),
        ("HELLO to a parent", message("leaf-7", "relay-1", Body::Hello(Box::new(to_parent)))),
        ("HELLO to a backup", message("leaf-7", "relay-2", Body::Hello(Box::new(to_backup)))),
        ("BYE", message("leaf-7", "relay-1", Body::Bye(Bye { reason: "maintenance".into() }))),
        ("CHILDSUPDATE", message("relay-1", "", Body::ChildsUpdate(update))),
        ("ERROR", message("^", "relay-1", Body::Error(error))),
        (
            "KILL",
            message("^", "leaf-7", Body::Kill(Kill { grace_secs: 30, reason: "too old".into() })),
        ),
        ("PING", message("", "", Body::Ping(echo.clone()))),
        ("PONG", message("", "", Body::Pong(echo))),
        ("REDIRECT", message("^", "leaf-7", Body::Redirect(Box::new(redirect)))),
    ]
}

fn streams() -> Vec<(&'static str, Message)> {
    let layer = |ssrc, height, bitrate| Layer {
        ssrc: Ssrc(ssrc),
        payload_type: 96,
        width: Some(height * 16 / 9),
        height: Some(height),
        bitrate: Some(bitrate),
        scalability: "L1T3".parse().ok(),
    };
    let video = Track {
        name: "video".into(),
        codec: Codec::H264,
        clock_rate: 90_000,
        channels: 0,
        fmtp: "profile-level-id=42e01f;packetization-mode=1".into(),
        layers: vec![layer(3_735_928_559, 720, 2_500_000), layer(3_735_928_560, 360, 600_000)],
    };
    let audio = Track {
        name: "audio".into(),
        codec: Codec::Opus,
        clock_rate: 48_000,
        channels: 2,
        fmtp: "stereo=1".into(),
        layers: vec![Layer {
            ssrc: Ssrc(287_454_020),
            payload_type: 111,
            width: None,
            height: None,
            bitrate: None,
            scalability: None,
        }],
    };
    let def = PipelineDef {
        id: PipelineId(1),
        name: "demo".into(),
        live: true,
        tracks: vec![video, audio],
    };
    let keys = vec![EpochKey { epoch: Epoch(1), key: wrapped() }];
    let pipe_def = PipeDef { def, keys, removed: vec![(id("leaf-4"), Incarnation(9))] };
    let info = PipeDefInfo {
        pipeline: PipelineId(1),
        state: PipelineState::Flowing,
        layers: vec![LayerInfo {
            ssrc: Ssrc(3_735_928_559),
            last: PacketIndex(70_000),
            first: PacketIndex(68_000),
            epoch: Epoch(1),
        }],
    };
    let play = Play {
        pipeline: PipelineId(1),
        layers: vec![(Ssrc(3_735_928_559), Some(PacketIndex(69_500))), (Ssrc(287_454_020), None)],
    };
    let stop = Stop { pipeline: PipelineId(1), layers: vec![Ssrc(3_735_928_560)] };
    let remove = RemovePipeline { pipeline: PipelineId(1), reason: "the stream is over".into() };
    let route = RoutePipeline { pipeline: PipelineId(1), path: vec![id("relay-1"), id("leaf-7")] };
    vec![
        ("PIPEDEF", message("^", "relay-1", Body::PipeDef(pipe_def))),
        ("PIPEDEFINFO", message("relay-1", "", Body::PipeDefInfo(info))),
        ("PLAYPIPELINE", message("leaf-7", "", Body::PlayPipeline(play))),
        ("STOPPIPELINE", message("leaf-7", "", Body::StopPipeline(stop))),
        ("REMOVEPIPELINE", message("^", "*", Body::RemovePipeline(remove))),
        ("ROUTEPIPELINE", message("^", "relay-1", Body::RoutePipeline(route))),
    ]
}

fn statistics() -> Vec<(&'static str, Message)> {
    let stat = |name: &str, value, weight| Stat { name: name.into(), value, weight };
    let container = |id: Option<u32>, stats| StatsContainer {
        start: 1_767_225_599,
        end: 1_767_225_600,
        children: 3,
        id: id.map(PipelineId),
        stats,
    };
    let node = container(None, vec![stat("cpuload", 12.5, Some(4.0))]);
    let pipeline = container(
        Some(1),
        vec![
            stat("injitter", 1.75, Some(4.0)),
            stat("cumpktlost", 12.0, Some(4.0)),
            stat("viewers", 250.0, Some(4.0)),
            stat("fractionlost", 0.002, Some(250.0)),
        ],
    );
    let request = ReqFullStats { pipeline: Some(PipelineId(1)) };
    let full = FullStats {
        containers: vec![container(Some(1), vec![stat("injitter", 2.5, None)])],
        end: Some(1_767_225_600),
    };
    vec![
        ("STATS", message("", "", Body::Stats(vec![node, pipeline]))),
        ("REQFULLSTATS", message("^", "leaf-7", Body::ReqFullStats(request))),
        ("FULLSTATS", message("leaf-7", "^", Body::FullStats(full))),
    ]
}
