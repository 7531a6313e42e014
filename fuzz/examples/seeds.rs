//! Makes the seeds of the corpora from packets that our own code writes:
//! `cargo run --example seeds`, in this directory. Only files that are not there are written.

use relay_node::media::api::{FrameMarks, PipelineKey};
use relay_node::media::packet::{HopHeader, Sealer};
use relay_node::media::{rtcp, stun};
use soleil_fuzz::plane::World;
use soleil_protocol::{Epoch, PacketIndex, Ssrc};
use std::path::Path;

fn save(target: &str, name: &str, data: &[u8]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let file = dir.join(name);
    let saved = std::fs::create_dir_all(&dir).and_then(|()| match file.exists() {
        true => Ok(()),
        false => std::fs::write(&file, data),
    });
    saved.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

fn pieces(first: Option<u8>, parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out: Vec<u8> = first.into_iter().collect();
    for (how, bytes) in parts {
        out.push(*how);
        out.extend((bytes.len() as u16).to_be_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

fn hop() {
    let sealer = Sealer::new(&PipelineKey { key: [1; 16], salt: [2; 12] }, Epoch(1));
    let mut packet = Vec::new();
    let header = HopHeader {
        ssrc: Ssrc(700),
        payload_type: 96,
        marker: true,
        index: PacketIndex(0x1_0005),
        timestamp: 90_000,
        capture: 1 << 40,
        marks: FrameMarks(FrameMarks::KEY_START),
    };
    sealer.seal(&header, b"payload", &mut packet).unwrap();
    save("hop_packet", "sealed", &packet);
    save("hop_packet", "shortest", &packet[packet.len() - 49..]);

    let me = Ssrc(7);
    let block = rtcp::ReportBlock { ssrc: Ssrc(700), fraction_lost: 3, ..Default::default() };
    let make = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    let indexes: Vec<PacketIndex> = [5, 6, 9, 40].map(PacketIndex).to_vec();
    let all = [
        ("sr", make(&|o| rtcp::sender_report(o, me, 1 << 40, 5, 6))),
        ("rr", make(&|o| rtcp::receiver_report(o, me, &[block, block]))),
        (
            "nack",
            make(&|o| {
                rtcp::nack(o, me, Ssrc(700), &indexes);
            }),
        ),
        ("pli", make(&|o| rtcp::pli(o, me, Ssrc(700)))),
        ("heartbeat", make(&|o| rtcp::heartbeat(o, me, &[(Ssrc(700), PacketIndex(9))]))),
        (
            "congestion",
            make(&|o| {
                rtcp::congestion(o, me, Ssrc(700), 3, [Some(1), None, Some(2)].into_iter(), 9);
            }),
        ),
    ];
    for (name, bytes) in &all {
        save("hop_rtcp", name, bytes);
    }
    save("hop_rtcp", "compound", &all.iter().flat_map(|(_, b)| b.clone()).collect::<Vec<_>>());

    let key = stun::password_key("0123456789abcdef");
    let (mut request, mut v4, mut v6) = (Vec::new(), Vec::new(), Vec::new());
    stun::write_request(&mut request, &[5; 12], "child-1:1", &key);
    stun::write_success(&mut v4, &[5; 12], "192.0.2.1:7000".parse().unwrap(), &key);
    stun::write_success(&mut v6, &[5; 12], "[2001:db8::1]:7000".parse().unwrap(), &key);
    for (name, bytes) in [("request", &request), ("success-v4", &v4), ("success-v6", &v6)] {
        save("hop_stun", name, bytes);
    }

    // The plane: real datagrams that passed while its paths opened, then operations.
    let world = World::new();
    let to_node: Vec<(u8, Vec<u8>)> = world
        .sent
        .iter()
        .filter(|(_, to, _)| to.to_string() == "10.0.0.1:7000")
        .map(|(from, _, data)| {
            (if from.to_string().starts_with("10.0.0.0") { 0 } else { 0x20 }, data.clone())
        })
        .collect();
    save("hop_plane", "real-datagrams", &pieces(None, &to_node[..to_node.len().min(20)]));
    save(
        "hop_plane",
        "loss-and-repair",
        &[0x03, 0x33, 0x15, 0x55, 0, 0x03, 0x13, 0x25, 0x0f, 0, 0x28, 0, 0, 0x03, 0x25, 1, 9],
    );
    save(
        "hop_plane",
        "replays",
        &[0x09, 0, 0x09, 1, 0x09, 2, 0x39, 3, 0xb9, 4, 0x28, 0, 0, 0x09, 9],
    );
    save(
        "hop_plane",
        "links-come-and-go",
        &[0x1a, 0x1b, 9, 0x18, 0, 0, 0x2a, 0x6b, 8, 0x1e, 3, 0x28, 0, 0, 0x0d, 0x2c, 0x2d, 0x0e, 9],
    );
    save(
        "hop_plane",
        "any-index",
        &[0x02, 5, 0, 0x02, 1, 39, 0x42, 255, 20, 0x28, 0, 0, 0x22, 3, 2],
    );
    save(
        "hop_plane",
        "silence",
        &[0xf8, 255, 0, 0xf8, 255, 0, 0xf8, 255, 0, 0xf8, 0, 0, 0x03, 0xf8, 0, 0],
    );
}

fn leaf() {
    for name in ["chromium_offer", "firefox_like_offer"] {
        let path = format!("{}/../leaf-gateway/tests/data/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
        save("leaf_sdp", name, &std::fs::read(path).expect("the leaf's test data"));
    }
    use leaf_gateway::session::{rtcp, stun};
    let (mut success, mut conflict) = (Vec::new(), Vec::new());
    let password = "0123456789abcdefghijklmn";
    stun::success(&mut success, &[3; 12], "192.0.2.1:5000".parse().unwrap(), password);
    stun::role_conflict(&mut conflict, &[3; 12], password);
    save("leaf_stun", "success", &success);
    save("leaf_stun", "role-conflict", &conflict);
    let mut report = Vec::new();
    let said = rtcp::SenderReport { ssrc: 10, ntp: 1 << 40, rtp: 9, packets: 4, octets: 400 };
    rtcp::write_sender_report(&mut report, &said, "name");
    save("leaf_rtcp", "sender-report", &report);
    let mut compound = vec![0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 10];
    compound.extend([5; 20]);
    compound.extend([0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 10, 0, 7, 0x80, 1]);
    compound.extend([0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 10]);
    compound.extend([0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 1, 0, 0, 0]);
    save("leaf_rtcp", "report-nack-pli-fir", &compound);
}

/// An offer of three layers, as small as one can be.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a v\r\n\
    a=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\na=fingerprint:sha-256 DA:7B:57:DC:28:CE:\
    04:4F:31:79:85:C4:31:67:EB:27:58:29:ED:77:2A:0D:24:AE:ED:AD:30:BC:BD:F1:9C:02\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=mid:v\r\na=sendonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
    a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na=rtpmap:96 VP8/90000\r\n\
    a=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:98 H264/90000\r\n\
    a=fmtp:98 packetization-mode=1;profile-level-id=42e01f\r\na=rid:h send\r\na=rid:m send\r\n\
    a=simulcast:send h;~m\r\na=ssrc-group:FID 1 2\r\n";

fn whip() {
    let of = |what: u8, rest: &[u8]| [&[what], rest].concat();
    save("root_whip", "offer-vp8", &of(2, OFFER.as_bytes()));
    save("root_whip", "offer-h264", &of(3, OFFER.as_bytes()));
    let fragment = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\nm=audio 9 RTP/AVP 0\r\n\
        a=mid:0\r\na=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
    save("root_whip", "fragment", &of(1, fragment.as_bytes()));
    let mut request = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
    request.extend([7; 12]);
    request.extend([0, 6, 0, 9]);
    request.extend(b"ours:them\0\0\0");
    save("root_whip", "request", &of(0, &request));
}

/// Transport-wide feedback: base number, chunks, deltas; the rest is filled in.
fn twcc(base: u16, count: u16, serial: u8, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
    let mut out = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    out.extend(base.to_be_bytes());
    out.extend(count.to_be_bytes());
    out.extend([0, 1, 2, serial]);
    out.extend(chunks.iter().flat_map(|c| c.to_be_bytes()));
    out.extend_from_slice(deltas);
    out.resize(out.len().next_multiple_of(4), 0);
    out[3] = (out.len() / 4 - 1) as u8;
    out
}

fn estimator() {
    let feedback = |message: Vec<u8>| {
        let mut op = vec![255, 0, message.len() as u8];
        op.extend(message);
        op
    };
    // Twenty packets: a run of small deltas, fourteen bits with losses, seven pairs.
    let first = twcc(0, 20, 0, &[0x2006, 0x8000 | 0x2aaa], &[4; 13]);
    let second = twcc(20, 27, 1, &[0xc000 | 0x1a64, 0x2014], &[9; 40]);
    let late = twcc(3, 3, 2, &[0x4003], &[0xff, 0xf0, 0, 9, 1, 0]);
    let ops: Vec<Vec<u8>> = vec![
        vec![20, 150, 132],
        feedback(first.clone()),
        vec![30, 140, 119, 120],
        feedback(second),
        vec![94, 137, 150],
        feedback(late),
        vec![203],
        feedback(twcc(47, 94, 3, &[0x205e], &[2; 94])),
    ];
    save("leaf_twcc", "all-chunks", &ops.concat());
    let lost = twcc(0, 99, 9, &[0x0063], &[]);
    save("leaf_twcc", "all-lost", &[vec![99, 150, 200], feedback(lost), vec![205]].concat());
    let repeated: Vec<Vec<u8>> = (0..6).map(|_| feedback(first.clone())).collect();
    save("leaf_twcc", "repeated", &[vec![20, 150], repeated.concat()].concat());
}

fn ingest() {
    let rtp = |seq: u16, marker: u8, payload: &[u8]| {
        let mut out = vec![0x80, 96 | marker];
        out.extend(seq.to_be_bytes());
        out.extend([0, 0, 1, 0, 0, 0, 0, 1]);
        out.extend_from_slice(payload);
        out
    };
    let sps = [0x67, 0x42, 0xe0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe9, 0x48, 0x28];
    let large: Vec<u8> = std::iter::once(0x65).chain((0..900).map(|i| i as u8)).collect();
    let stap = [&[0x78, 0, 11][..], &sps, &[0, 2, 0x68, 0xce]].concat();
    let frames = [
        (0x04, rtp(1, 0, &stap)),
        (0x04, rtp(2, 0x80, &large)),
        (0x84, rtp(3, 0, &[0x7c, 0x85, 1, 2, 3])),
        (0x00, rtp(4, 0x80, &[0x7c, 0x45, 4, 5])),
        (0x00, rtp(6, 0x80, &[0x41, 1, 2])),
        (0xfc, rtp(5, 0x80, &[0x41, 1, 2])),
        (0x03, rtp(7, 0, &[0x41, 9])),
    ];
    save("root_ingest", "h264", &pieces(Some(0), &frames));
    let mut report = vec![0x80, 200, 0, 6, 0, 0, 0, 1];
    report.extend((3_913_056_000u64 << 32).to_be_bytes());
    report.extend([0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 9, 9]);
    let with_rtcp =
        [(0x02, vec![0x41, 1]), (0x01, report.clone()), (0x00, report), (0xfe, vec![0x41, 2])];
    save("root_ingest", "h264-and-reports", &pieces(Some(0), &with_rtcp));
    let behind = |payloads: &[&[u8]]| -> Vec<(u8, Vec<u8>)> {
        payloads.iter().map(|p| (0x86, p.to_vec())).collect()
    };
    let vp8_key =
        [&[0x90, 0x80, 0x81, 1][..], &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0, 5, 0xd0, 2], &[7; 700]]
            .concat();
    save(
        "root_ingest",
        "vp8",
        &pieces(Some(1), &behind(&[&vp8_key, &[0x90, 0x80, 0x81, 2, 0x11, 0, 0]])),
    );
    let vp9_key = [&[0x8a, 0x81, 1, 0x18, 5, 0, 2, 0xd0][..], &[3; 600]].concat();
    save("root_ingest", "vp9", &pieces(Some(2), &behind(&[&vp9_key, &[0x8c, 0x81, 2, 1, 2, 3]])));
    let av1_key = [&[0x18, 0x0a, 0x0b][..], &[0; 11], &[0x32], &[9; 500]].concat();
    save("root_ingest", "av1", &pieces(Some(3), &behind(&[&av1_key, &[0x10, 0x32, 1, 2, 3]])));
    save("root_ingest", "opus", &pieces(Some(4), &behind(&[&[0xfc, 1, 2, 3], &[0xfc]])));
}

/// Packets for `root_layers`: the descriptor, if there is one, then the payload.
fn layered(codec: u8, packets: &[(Option<&[u8]>, &[u8])]) -> Vec<u8> {
    let mut out = vec![codec];
    for (descriptor, payload) in packets {
        out.push(u8::from(descriptor.is_some()));
        for part in descriptor.iter().chain([payload]) {
            out.extend((part.len() as u16).to_be_bytes());
            out.extend_from_slice(part);
        }
    }
    out
}

fn layers() {
    // Three temporal layers as a browser describes them, two of its templates, one with a chain of its own.
    let key: &[u8] = &[
        0x85, 0x00, 0x28, 0x80, 0xa2, 0x14, 0xea, 0xa8, 0x60, 0x41, 0x4d, 0x14, 0x10, 0x20, 0x84,
        0x27, 0x01, 0xdf, 0x01, 0x0d,
    ];
    let (base, top): (&[u8], &[u8]) = (&[0xc6, 0x00, 0x29], &[0xc8, 0x00, 0x2a]);
    let own: &[u8] = &[0xc8, 0x00, 0x2c, 0x08, 0x28, 0x20];
    let payload: &[u8] = &[0x10, 0x32, 1, 2, 3];
    let all: Vec<(Option<&[u8]>, &[u8])> =
        [key, top, base, own].into_iter().map(|d| (Some(d), payload)).collect();
    save("root_layers", "av1-described", &layered(3, &all));
    let group: &[u8] = &[
        0xae, 0x80, 0, 0, 0, 0x18, 2, 0x80, 1, 0x68, 4, 0x14, 4, 0x54, 1, 0x34, 2, 0x58, 1, 3, 0x55,
    ];
    let packets: Vec<(Option<&[u8]>, &[u8])> = vec![
        (None, group),
        (None, &[0xec, 0x80, 1, 0x40, 0, 0x55]),
        (None, &[0xec, 0x80, 2, 0x20, 0, 0x55]),
        (None, &[0xec, 0x80, 3, 0x40, 0, 0x55]),
    ];
    save("root_layers", "vp9-group", &layered(2, &packets));
    let spatial: &[u8] = &[0xbe, 0x80, 0, 0, 0x30, 1, 64, 0, 180, 2, 128, 1, 104, 0x55];
    let packets: Vec<(Option<&[u8]>, &[u8])> = vec![
        (None, spatial),
        (None, &[0xbc, 0x80, 0, 0x03, 0x55]),
        (None, &[0xfc, 0x80, 1, 0, 2, 0x55]),
        (None, &[0xfc, 0x80, 1, 0x02, 2, 0x55]),
    ];
    save("root_layers", "vp9-flexible", &layered(2, &packets));
    let sequence: &[u8] = &[0x18, 0x0a, 3, 1, 2, 3, 0x36, 0x40, 9];
    save(
        "root_layers",
        "av1-alone",
        &layered(3, &[(None, sequence), (None, &[0x10, 0x36, 0x40, 1])]),
    );
    let vp8: &[u8] = &[0x90, 0xe0, 0x80, 0x01, 0x05, 0x80, 0x01, 0xff];
    save("root_layers", "vp8", &layered(1, &[(None, vp8)]));
}

fn main() {
    hop();
    leaf();
    whip();
    estimator();
    ingest();
    layers();
}
