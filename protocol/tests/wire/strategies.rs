//! Any message, within the limits: what the properties are checked against.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use soleil_protocol::limits::*;
use soleil_protocol::message::*;
use soleil_protocol::pipeline::{Codec, EpochKey, Layer, PipelineDef, Track, Wrapped};
use soleil_protocol::scalability::{self, Between, Scalability};
use soleil_protocol::stats::RULES;
use soleil_protocol::{
    Address, Epoch, Incarnation, LinkId, Millis, NodeId, PacketIndex, PipelineId, Rank, Role, Ssrc,
};
use std::net::SocketAddr;

fn id() -> impl Strategy<Value = NodeId> {
    "[A-Za-z0-9._-]{1,64}".prop_map(|name| NodeId::new(&name).expect("legal"))
}

/// Text with everything that needs escaping, as a reader keeps it: legal in XML, trimmed, bounded.
fn text(max: usize) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => proptest::char::range(' ', '~'),
        2 => select(vec!['<', '>', '&', '"', '\'', ']', '\r', '\n', '\t', ';', '#', '\u{85}']),
        1 => any::<char>(),
    ];
    vec(character, 0..24).prop_map(move |characters| {
        let legal = |c: &char| match *c {
            '\u{0}'..='\u{1f}' => matches!(c, '\t' | '\n' | '\r'),
            '\u{fffe}' | '\u{ffff}' => false,
            _ => true,
        };
        let mut text = String::new();
        for c in characters.into_iter().filter(legal) {
            if text.len() + c.len_utf8() <= max {
                text.push(c);
            }
        }
        text.trim_matches([' ', '\t', '\n', '\r']).to_owned()
    })
}

fn some_text(max: usize) -> impl Strategy<Value = String> {
    text(max - 1).prop_map(|text| format!("x{text}"))
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..=max.min(80))
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(std::net::IpAddr::from),
        any::<[u16; 8]>().prop_map(std::net::IpAddr::from),
    ];
    (ip, 1u16..)
        .prop_map(|(ip, port)| SocketAddr::new(ip, port))
        .prop_filter("one can send to it", |a| !a.ip().is_multicast() && !a.ip().is_unspecified())
}

fn host_port() -> impl Strategy<Value = HostPort> {
    ("[A-Za-z0-9.:-]{1,40}", any::<u16>()).prop_map(|(host, port)| HostPort { host, port })
}

fn wrapped() -> impl Strategy<Value = Wrapped> {
    (bytes(MAX_ENC), bytes(MAX_SEALED)).prop_map(|(enc, sealed)| Wrapped { enc, sealed })
}

fn pipeline() -> impl Strategy<Value = PipelineId> {
    any::<u32>().prop_map(PipelineId)
}

fn ssrc() -> impl Strategy<Value = Ssrc> {
    any::<u32>().prop_map(Ssrc)
}

fn index() -> impl Strategy<Value = PacketIndex> {
    (0..1u64 << 48).prop_map(PacketIndex)
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation)
}

fn hello() -> impl Strategy<Value = Body> {
    let names = (
        id(),
        of(host_port()),
        of(host_port()),
        vec(pipeline(), 0..4),
        any::<u32>(),
        of(select(vec![Role::Root, Role::Relay, Role::Leaf])),
        incarnation(),
        any::<(u32, u32, u64)>(),
    );
    let rest = (
        text(MAX_WORD),
        vec((some_text(MAX_WORD), text(MAX_WORD)), 0..4),
        vec(address(), 0..4),
        of("https?://[a-z0-9./:&;-]{1,40}"),
        of(bytes(MAX_CSR)),
        of(any::<[u8; KEY_BYTES]>()),
        of(bytes(MAX_TICKET)),
        of(any::<[u8; NONCE_BYTES]>()),
        any::<bool>(),
    );
    (names, rest).prop_map(|(n, r)| {
        Body::Hello(Box::new(Hello {
            name: n.0,
            server: n.1,
            client: n.2,
            pipelines: n.3,
            version: n.4,
            role: n.5,
            incarnation: n.6,
            capacity: Capacity { children: n.7.0, viewers: n.7.1, egress: n.7.2 },
            region: r.0,
            labels: r.1,
            media: r.2,
            http: r.3,
            csr: r.4,
            wrap_key: r.5.map(|k| k.to_vec()),
            ticket: r.6,
            nonce: r.7.map(|n| n.to_vec()),
            warm: r.8,
        }))
    })
}

fn childs_update() -> impl Strategy<Value = Body> {
    let child = (id(), incarnation(), id(), 1u32..)
        .prop_map(|(id, incarnation, parent, weight)| Child { id, incarnation, parent, weight });
    (vec(child, 0..5), vec((id(), incarnation()), 0..5))
        .prop_map(|(added, removed)| Body::ChildsUpdate(ChildsUpdate { added, removed }))
}

fn error() -> impl Strategy<Value = Body> {
    let code = select(vec![
        ErrorCode::Malformed,
        ErrorCode::UnknownType,
        ErrorCode::UnknownNode,
        ErrorCode::Forged,
        ErrorCode::Unauthorized,
        ErrorCode::Full,
        ErrorCode::UnknownPipeline,
        ErrorCode::Version,
        ErrorCode::Internal,
    ]);
    (code, text(MAX_SENTENCE), of(any::<u64>().prop_map(Millis)), text(MAX_TYPE)).prop_map(
        |(code, text, failed_time, failed_type)| {
            Body::Error(ErrorReport { code, text, failed_time, failed_type })
        },
    )
}

fn redirect() -> impl Strategy<Value = Body> {
    let identity = (id(), incarnation(), bytes(80), bytes(80), any::<[u8; KEY_BYTES]>()).prop_map(
        |(id, incarnation, certificate, authority, key)| Identity {
            id,
            incarnation,
            certificate,
            authority,
            ticket_key: key.to_vec(),
        },
    );
    let version = 1..5u32;
    let offer =
        (id(), host_port(), vec(address(), 0..3), any::<u64>(), version, bytes(80), wrapped())
            .prop_map(|(id, server, media, link, version, ticket, credential)| ParentOffer {
                id,
                server,
                media,
                link: LinkId(link),
                version,
                ticket,
                credential,
            });
    let mode = select(vec![MoveMode::Overlap, MoveMode::AtOnce]);
    (any::<u32>(), mode, of(identity), vec(offer, 0..3)).prop_map(
        |(rank, mode, identity, parents)| {
            Body::Redirect(Box::new(Redirect { rank: Rank(rank), mode, identity, parents }))
        },
    )
}

fn mode() -> impl Strategy<Value = Scalability> {
    let between = select(vec![
        Between::Always,
        Between::KeyFrames,
        Between::KeyFramesShifted,
        Between::Never,
    ]);
    let count = 1..=scalability::MAX_LAYERS;
    (count.clone(), count, between, any::<bool>()).prop_map(|(s, t, between, h)| {
        let mode = Scalability::new(s, t, between).expect("in range");
        if h { mode.three_halves() } else { mode }
    })
}

fn pipe_def() -> impl Strategy<Value = Body> {
    let payload_type = prop_oneof![0u8..64, 96u8..128];
    let size = (of(any::<u32>()), of(any::<u32>()));
    let layer = (payload_type, size, of(any::<u64>()), of(mode())).prop_map(
        |(payload_type, (width, height), bitrate, scalability)| Layer {
            ssrc: Ssrc(0),
            payload_type,
            width,
            height,
            bitrate,
            scalability,
        },
    );
    let codec = select(vec![Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::Opus]);
    let track = (some_text(MAX_WORD), codec, 1u32.., any::<u8>(), text(MAX_FMTP), vec(layer, 1..4))
        .prop_map(|(name, codec, clock_rate, channels, fmtp, layers)| Track {
            name,
            codec,
            clock_rate,
            channels,
            fmtp,
            layers,
        });
    let key = (any::<u32>(), wrapped()).prop_map(|(e, key)| EpochKey { epoch: Epoch(e), key });
    let def = (pipeline(), some_text(MAX_STREAM_NAME), any::<bool>(), vec(track, 0..4));
    let removed = vec((id(), incarnation()), 0..5);
    (def, any::<u32>(), vec(key, 0..3), removed).prop_map(|(def, first, keys, removed)| {
        let (id, name, live, mut tracks) = def;
        // An SSRC belongs to one layer only.
        for (n, layer) in tracks.iter_mut().flat_map(|t| &mut t.layers).enumerate() {
            layer.ssrc = Ssrc(first.wrapping_add(n as u32));
        }
        Body::PipeDef(PipeDef { def: PipelineDef { id, name, live, tracks }, keys, removed })
    })
}

fn pipe_def_info() -> impl Strategy<Value = Body> {
    let layer = (ssrc(), index(), index(), any::<u32>()).prop_map(|(ssrc, last, first, epoch)| {
        LayerInfo { ssrc, last, first, epoch: Epoch(epoch) }
    });
    let state = select(vec![PipelineState::Idle, PipelineState::Flowing, PipelineState::Unknown]);
    (pipeline(), state, vec(layer, 0..5)).prop_map(|(pipeline, state, layers)| {
        Body::PipeDefInfo(PipeDefInfo { pipeline, state, layers })
    })
}

fn number() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![
        POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO,
        (-1_000_000i64..1_000_000).prop_map(|n| n as f64),
        0.0..1.0f64,
    ]
}

fn containers() -> impl Strategy<Value = Vec<StatsContainer>> {
    let known = select(RULES.iter().map(|rule| rule.name.to_owned()).collect::<Vec<_>>());
    let name = prop_oneof![known, "[A-Za-z0-9._-]{1,32}"]
        .prop_filter("spelled as we write it", |name| name != "cumpklost");
    let stat = (name, number(), of(number().prop_map(f64::abs)))
        .prop_map(|(name, value, weight)| Stat { name, value, weight });
    let container = (any::<(u64, u64, u32)>(), of(pipeline()), vec(stat, 0..6)).prop_map(
        |((start, end, children), id, stats)| StatsContainer { start, end, children, id, stats },
    );
    vec(container, 0..4)
}

fn body() -> impl Strategy<Value = Body> {
    let reason = || text(MAX_SENTENCE);
    let echo = || text(MAX_ECHO).prop_map(|token| Echo { token });
    prop_oneof![
        4 => hello(),
        1 => reason().prop_map(|reason| Body::Bye(Bye { reason })),
        2 => childs_update(),
        2 => error(),
        1 => (any::<u32>(), reason())
            .prop_map(|(grace_secs, reason)| Body::Kill(Kill { grace_secs, reason })),
        1 => echo().prop_map(Body::Ping),
        1 => echo().prop_map(Body::Pong),
        3 => redirect(),
        3 => pipe_def(),
        2 => pipe_def_info(),
        2 => (pipeline(), vec((ssrc(), of(index())), 0..5))
            .prop_map(|(pipeline, layers)| Body::PlayPipeline(Play { pipeline, layers })),
        1 => (pipeline(), vec(ssrc(), 0..5))
            .prop_map(|(pipeline, layers)| Body::StopPipeline(Stop { pipeline, layers })),
        1 => (pipeline(), reason()).prop_map(|(pipeline, reason)| {
            Body::RemovePipeline(RemovePipeline { pipeline, reason })
        }),
        1 => (pipeline(), vec(id(), 0..5))
            .prop_map(|(pipeline, path)| Body::RoutePipeline(RoutePipeline { pipeline, path })),
        2 => containers().prop_map(Body::Stats),
        1 => of(pipeline())
            .prop_map(|pipeline| Body::ReqFullStats(ReqFullStats { pipeline })),
        2 => (containers(), of(any::<u64>()))
            .prop_map(|(containers, end)| Body::FullStats(FullStats { containers, end })),
    ]
}

/// Any message that the protocol allows.
pub fn message() -> impl Strategy<Value = Message> {
    let from = of(prop_oneof![Just(Address::Root), id().prop_map(Address::Node)]);
    let to = of(prop_oneof![Just(Address::Root), Just(Address::All), id().prop_map(Address::Node)]);
    (any::<u64>(), from, to, body())
        .prop_map(|(time, from, to, body)| Message { time: Millis(time), from, to, body })
        .prop_filter("not from the root to the root", |m| {
            m.from != Some(Address::Root) || m.to != Some(Address::Root)
        })
}
