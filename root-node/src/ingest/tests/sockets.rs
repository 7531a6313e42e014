//! The driver on real sockets: what strangers send, and what leaves.

use super::super::driver::{IngestHandle, IngestTask, Order, Outlet};
use super::super::layer::LayerStart;
use super::super::stream::{StreamEvent, StreamIngest, TrackSpec};
use super::*;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use relay_node::clock::Clock;
use relay_node::media::api::PipelineKey;
use relay_node::media::packet::HopPacket;
use soleil_protocol::{Epoch, PipelineId};
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
enum Out {
    Packet(Bytes),
    Event(StreamEvent),
}

struct Capture(mpsc::UnboundedSender<Out>);

impl Outlet for Capture {
    fn packets(&self, packets: Vec<Bytes>) {
        for packet in packets {
            let _ = self.0.send(Out::Packet(packet));
        }
    }

    fn event(&self, _: PipelineId, event: StreamEvent) {
        let _ = self.0.send(Out::Event(event));
    }
}

struct Running {
    handle: IngestHandle,
    out: mpsc::UnboundedReceiver<Out>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    fn start() -> Self {
        let tracks = vec![TrackSpec {
            name: "video".into(),
            codec: Codec::H264,
            payload_type: 96,
            clock_rate: 90_000,
            channels: 0,
            fmtp: String::new(),
            layers: 1,
            made: 0,
        }];
        let mut random = StdRng::seed_from_u64(1);
        let mut start = |_: &TrackSpec, _| {
            let (index, reserved) = (PacketIndex(100), PacketIndex(1 << 40));
            Ok::<_, Infallible>(LayerStart { ssrc: Ssrc(7), index, reserved })
        };
        let core =
            StreamIngest::new(PipelineId(1), "demo", tracks, MAX_PAYLOAD, &mut start, &mut || {
                random.next_u32()
            })
            .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (handle, task) = IngestTask::bind("demo", core, &[any], &[], Clock::start()).unwrap();
        let (tx, out) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        tokio::spawn(task.run(Capture(tx), stop.clone()));
        Self { handle, out, stop }
    }

    async fn next(&mut self) -> Out {
        tokio::time::timeout(Duration::from_secs(10), self.out.recv()).await.unwrap().unwrap()
    }

    /// Waits until the counters say so.
    async fn until(&mut self, condition: impl Fn(&super::super::Counters) -> bool) {
        let mut counters = self.handle.counters.clone();
        let seen = counters.wait_for(|layers| condition(&layers[0].3));
        tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap().unwrap();
    }
}

async fn sender_to(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

const IDR: [u8; 4] = [0x65, 1, 2, 3];

#[tokio::test]
async fn strangers_are_counted_and_the_stream_flows() {
    let mut ingest = Running::start();
    let key = PipelineKey { key: [1; 16], salt: [2; 12] };
    assert!(ingest.handle.order(Order::Key(Epoch(3), key)));
    let port = ingest.handle.ports[0];
    let rtcp = SocketAddr::new(port.ip(), port.port() + 1);
    // Random bytes on both ports, before anybody sends media.
    let mut random = StdRng::seed_from_u64(2);
    let noise = sender_to(port).await;
    let noise_rtcp = sender_to(rtcp).await;
    let mut junk = vec![0; 1400];
    for i in 0..200 {
        random.fill_bytes(&mut junk);
        // Never by chance a valid packet of the port's payload type.
        junk[0] &= 0x7f;
        noise.send(&junk[..i * 7 % 1400]).await.unwrap();
        let _ = noise_rtcp.send(&junk[..i]).await;
    }
    ingest.until(|c| c.dropped_total() >= 200).await;
    // The broadcaster, and somebody else who wants its place.
    let broadcaster = sender_to(port).await;
    broadcaster.send(&packet(1, 10, 0, true, &IDR)).await.unwrap();
    assert!(matches!(ingest.next().await, Out::Event(StreamEvent::Live(true))));
    let Out::Packet(first) = ingest.next().await else { panic!() };
    let second = sender_to(port).await;
    second.send(&packet(2, 500, 0, true, &IDR)).await.unwrap();
    broadcaster.send(&packet(1, 11, 3000, true, &IDR)).await.unwrap();
    broadcaster.send(&[0x80, 96, 0]).await.unwrap();
    let Out::Packet(next) = ingest.next().await else { panic!() };
    ingest.until(|c| c.dropped(DropReason::SecondSender) == 1).await;
    let (first, next) = (HopPacket::parse(&first).unwrap(), HopPacket::parse(&next).unwrap());
    assert_eq!(first.mki, 3);
    assert_eq!(next.header.index.0, first.header.index.0 + 1);
    assert_eq!(next.header.timestamp, first.header.timestamp.wrapping_add(3000));
    assert!(first.header.marks.key_start() && first.header.marker);
    ingest.until(|c| c.accepted == 2 && c.sent == 2).await;
}

#[tokio::test]
async fn a_broadcaster_that_shows_rtcp_is_asked_for_key_frames() {
    let mut ingest = Running::start();
    let port = ingest.handle.ports[0];
    let broadcaster = sender_to(port).await;
    // Not sealed: there is no key yet.
    broadcaster.send(&packet(1, 10, 0, true, &[0x41, 1])).await.unwrap();
    ingest.until(|c| c.dropped(DropReason::NoKey) == 1).await;
    broadcaster.send(&sender_report(1, 1 << 60, 0)).await.unwrap();
    let mut buffer = [0; 200];
    let answer = tokio::time::timeout(Duration::from_secs(10), broadcaster.recv(&mut buffer));
    let length = answer.await.unwrap().unwrap();
    let pli = &buffer[length - 12..length];
    assert_eq!((pli[1], &pli[8..]), (206, &[0, 0, 0, 1][..]));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap();
    let mut start = |_: &TrackSpec, _| Err(());
    let core =
        StreamIngest::new(PipelineId(1), "x", vec![], MAX_PAYLOAD, &mut start, &mut || 1).unwrap();
    let error = IngestTask::bind("x", core, &[addr], &[], Clock::start()).err().unwrap();
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}
