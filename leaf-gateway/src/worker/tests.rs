//! A worker with its thread, its socket on loopback, and viewers with sockets of their own.

mod attack;
mod many;
mod tcp;

use super::*;
use crate::demand::Demand;
use crate::occupancy::{Limits, Occupancy};
use crate::session::EndCause;
use crate::session::dtls::DtlsContext;
use crate::session::tests::bench::{AUDIO, VIDEO, VIDEO_OUT, setup};
use crate::session::tests::client::{GCM, Viewer, nack, pli};
use relay_node::media::api::LocalSink;
use relay_node::media::api::{FrameMarks, LocalPacket};
use soleil_protocol::pipeline::{Codec, Layer, PipelineDef, Track};
use soleil_protocol::{Mono, PacketIndex};
use std::net::UdpSocket;
use std::time::Duration;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

struct Rig {
    clock: Clock,
    worker: Workers,
    sink: Box<dyn LocalSink>,
    upcalls: mpsc::Receiver<Upcall>,
    metrics: Arc<Metrics>,
    occupancy: Arc<Occupancy>,
    demand: Arc<Demand>,
    next: u64,
}

fn track(name: &str, ssrc: Ssrc, codec: Codec) -> Track {
    let layer = Layer {
        ssrc,
        payload_type: 96,
        width: None,
        height: None,
        bitrate: None,
        scalability: None,
    };
    Track {
        name: name.into(),
        codec,
        clock_rate: if codec == Codec::Opus { 48_000 } else { 90_000 },
        channels: 0,
        fmtp: String::new(),
        layers: vec![layer],
    }
}

fn rig() -> Rig {
    rig_at("127.0.0.1:0", None)
}

fn rig_at(listen: &str, tcp: Option<TcpLimits>) -> Rig {
    rig_of(1, listen, tcp)
}

fn rig_of(workers: usize, listen: &str, tcp: Option<TcpLimits>) -> Rig {
    let clock = Clock::start();
    let (upcalls_in, upcalls) = mpsc::channel(64);
    let metrics = Arc::<Metrics>::default();
    let config = WorkerConfig {
        listen: listen.parse().unwrap(),
        workers,
        clock,
        dtls: DtlsContext::new(clock).unwrap(),
        handshake_threads: 1,
        metrics: metrics.clone(),
        upcalls: upcalls_in,
    };
    let (worker, sink) = start_with_tcp(config, tcp).unwrap();
    let def = PipelineDef {
        id: PipelineId(1),
        name: "demo".into(),
        live: true,
        tracks: vec![track("video", VIDEO, Codec::Vp8), track("audio", AUDIO, Codec::Opus)],
    };
    worker.pipelines(&Arc::new(BTreeMap::from([(def.id, def)])));
    let limits = Limits { viewers: 99, per_address: 99, connecting: 99 };
    Rig {
        clock,
        worker,
        sink,
        upcalls,
        metrics,
        occupancy: Occupancy::new(limits),
        demand: Arc::default(),
        next: 100,
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.worker.stop();
    }
}

fn id(n: u32) -> SessionId {
    SessionId(format!("{n:034x}"))
}

struct Client {
    clock: Clock,
    socket: UdpSocket,
    viewer: Viewer,
    to: SocketAddr,
    next_check: Mono,
    datagrams: usize,
}

impl Rig {
    fn join(&self, n: u32, socket: UdpSocket) -> Client {
        let mut setup = setup(true);
        let seat = self.worker.seat();
        setup.credentials.local_ufrag = format!("{}leaf{n}", seat.letter());
        let credentials = setup.credentials.clone();
        self.worker.add(NewSession {
            id: seat.id(n.into()),
            setup,
            permit: self.occupancy.enter([127, 0, 0, 1].into()).unwrap(),
            seat,
            wanted: self.demand.want(PipelineId(1)),
            seed: [n as u8; 32],
        });
        let now = self.clock.now().mono;
        let mut client = Client {
            clock: self.clock,
            socket,
            viewer: Viewer::new(self.clock, credentials, &[GCM]),
            to: self.worker.local_addr(),
            next_check: now,
            datagrams: 0,
        };
        client.viewer.start_dtls(now);
        client
    }

    /// A viewer that is served: its streams have keys and the worker counts it as live.
    fn viewer(&self, n: u32) -> Client {
        let mut client = self.join(n, socket());
        let live = self.metrics.live.get();
        client.until("connected", |c| c.viewer.profile.is_some() && self.metrics.live.get() > live);
        client
    }

    fn media(&mut self, count: u64, key: bool) {
        for i in 0..count {
            self.next += 1;
            self.sink.deliver(LocalPacket {
                pipeline: PipelineId(1),
                ssrc: VIDEO,
                index: PacketIndex(self.next),
                timestamp: self.next as u32 * 3_000,
                marker: true,
                payload_type: 96,
                capture: self.next << 32,
                marks: FrameMarks(if key && i == 0 { FrameMarks::KEY_START } else { 0 }),
                payload: &[7; 900],
            });
        }
        self.sink.flush();
    }

    /// Waits for something that no viewer is needed for.
    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = self.clock.now().mono.after(DEADLINE);
        while !done() {
            assert!(self.clock.now().mono < until, "never: {what}");
            std::thread::yield_now();
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    socket
}

impl Client {
    /// Takes what is there and says what there is to say.
    fn pump(&mut self) {
        let mut buffer = [0; 2_048];
        let now = self.clock.now().mono;
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            assert_eq!(from, self.to);
            self.datagrams += 1;
            self.viewer.receive(now, &buffer[..len]);
        }
        if self.viewer.poll_timeout().is_some_and(|at| at <= now) {
            self.viewer.handle_timeout(now);
        }
        if self.next_check <= now {
            let check = self.viewer.check(true, 1);
            self.socket.send_to(&check, self.to).unwrap();
            self.next_check = now.after(Duration::from_millis(200));
        }
        for data in std::mem::take(&mut self.viewer.out) {
            self.socket.send_to(&data, self.to).unwrap();
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Client) -> bool) {
        let until = self.clock.now().mono.after(DEADLINE);
        while !done(self) {
            assert!(self.clock.now().mono < until, "never: {what}");
            self.pump();
        }
    }

    fn rtcp(&mut self, plain: &[u8]) {
        let sealed = self.viewer.seal(plain).unwrap();
        self.socket.send_to(&sealed, self.to).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_served_and_goes() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    assert_eq!(rig.occupancy.counts(), (1, 0), "it is no longer connecting");
    rig.media(5, true);
    client.until("five packets", |c| c.viewer.seen.len() == 5);
    assert_eq!(client.viewer.unopened, 0);
    let ufrags = rig.worker.ufrags(id(1)).await.unwrap();
    assert_eq!(ufrags, ("0leaf1".into(), "page".into()));
    assert!(rig.worker.remove(id(1)).await);
    client.until("goodbye", |c| c.viewer.closed);
    assert!(!rig.worker.remove(id(1)).await);
    assert_eq!(rig.worker.ufrags(id(1)).await, None);
    assert_eq!(rig.occupancy.counts(), (0, 0));
    assert!(rig.demand.watch().borrow().is_empty());
    assert_eq!(rig.metrics.ended_by(EndCause::Deleted), 1);
}

#[test]
fn lost_packets_key_frames_and_figures() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    rig.media(3, true);
    client.until("media", |c| c.viewer.seen.len() == 3);
    let seq = client.viewer.seen[1].seq;
    client.rtcp(&nack(VIDEO_OUT, &[(seq, 0)]));
    client.until("the packet again", |c| c.viewer.seen.len() == 4);
    client.rtcp(&pli(VIDEO_OUT));
    let (mut asked, mut figures) = (false, None);
    client.until("key frame and figures", |_| {
        while let Ok(upcall) = rig.upcalls.try_recv() {
            match upcall {
                Upcall::KeyFrame(pipeline, ssrc) => {
                    asked |= (pipeline, ssrc) == (PipelineId(1), VIDEO);
                }
                Upcall::Figures { figures: all, .. } => {
                    figures = all.first().filter(|f| f.nacks == 1).copied().or(figures);
                }
            }
        }
        asked && figures.is_some()
    });
    let figures = figures.unwrap();
    assert_eq!((figures.viewers, figures.key_frames), (1, 1));
    assert!(figures.bytes >= 4 * 900);
    assert_eq!(rig.metrics.resends.get(), 1);
}

#[test]
fn random_bytes_on_the_port_disturb_nobody() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    let stranger = socket();
    let mut noise = 1u64;
    for len in 0..1_200usize {
        let data: Vec<u8> = (0..len)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (noise >> 56) as u8
            })
            .collect();
        stranger.send_to(&data, rig.worker.local_addr()).unwrap();
        // The viewer's own address, too: anybody can write it on a datagram.
        client.socket.send_to(&data, rig.worker.local_addr()).unwrap();
    }
    rig.wait("strangers are counted", || rig.metrics.unknown.get() > 0);
    rig.media(5, true);
    client.until("media all the same", |c| c.viewer.seen.len() == 5);
    let mut buffer = [0; 64];
    assert!(stranger.recv_from(&mut buffer).is_err(), "a stranger gets no answer");
    assert_eq!(rig.occupancy.counts(), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_every_viewer() {
    let mut rig = rig();
    let mut clients: Vec<Client> = (1..4).map(|n| rig.viewer(n)).collect();
    rig.media(2, true);
    for client in &mut clients {
        client.until("media", |c| c.viewer.seen.len() == 2);
    }
    rig.worker.drain().await;
    assert_eq!(rig.occupancy.counts(), (0, 0));
    for client in &mut clients {
        client.viewer.rtcp.clear();
        client.until("goodbye", |c| c.viewer.closed);
    }
    assert_eq!(rig.metrics.ended_by(EndCause::Drained), 3);
}

#[test]
fn a_page_that_is_reloaded_behind_the_same_address_connects() {
    let mut rig = rig();
    let first = rig.viewer(1);
    let again = first.socket.try_clone().unwrap();
    drop(first);
    let mut second = rig.join(2, again);
    let live = rig.metrics.live.get();
    second.until("the new session is live", |_| rig.metrics.live.get() > live);
    rig.media(3, true);
    // What the old session still sends there can't be opened, and harms nobody.
    second.until("media of the new session", |c| c.viewer.seen.len() == 3);
}

#[test]
fn one_viewer_that_is_deaf_costs_the_others_nothing() {
    let mut rig = rig();
    let _deaf = rig.viewer(1);
    let mut client = rig.viewer(2);
    let mut seen = 0;
    for _ in 0..40 {
        rig.media(10, true);
        seen += 10;
        client.until("media", |c| c.viewer.seen.len() == seen);
    }
}

#[test]
fn packets_for_a_worker_that_is_gone_are_counted() {
    let mut rig = rig();
    rig.worker.stop();
    let alive = rig.metrics.clone();
    let mut sink = std::mem::replace(&mut rig.sink, Box::new(Nowhere));
    rig.wait("the worker has gone", || {
        sink.deliver(LocalPacket {
            pipeline: PipelineId(1),
            ssrc: VIDEO,
            index: PacketIndex(1),
            timestamp: 0,
            marker: false,
            payload_type: 96,
            capture: 0,
            marks: FrameMarks(0),
            payload: b"x",
        });
        sink.flush();
        alive.overruns.get() > 0
    });
}

struct Nowhere;

impl LocalSink for Nowhere {
    fn deliver(&mut self, _: LocalPacket<'_>) {}
    fn flush(&mut self) {}
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let rig = rig();
    let (upcalls, _) = mpsc::channel(1);
    let result = start(WorkerConfig {
        listen: rig.worker.local_addr(),
        workers: 1,
        clock: rig.clock,
        dtls: DtlsContext::new(rig.clock).unwrap(),
        handshake_threads: 1,
        metrics: Arc::default(),
        upcalls,
    });
    assert!(result.is_err());
}

#[test]
fn a_worker_that_breaks_says_why_and_gives_places_back() {
    for (how, word) in [(Breakage::Socket, "socket"), (Breakage::Panic, "panicked")] {
        let rig = rig();
        let _client = rig.viewer(1);
        let failure = rig.worker.failure();
        assert!(failure.borrow().is_none());
        rig.worker.break_down(0, how);
        rig.wait("the failure is told", || failure.borrow().is_some());
        assert!(failure.borrow().as_ref().unwrap().contains(word));
        rig.wait("places are free", || rig.occupancy.counts() == (0, 0));
        assert!(rig.demand.watch().borrow().is_empty());
    }
}

#[test]
fn a_worker_that_is_stopped_has_not_failed() {
    let mut rig = rig();
    let failure = rig.worker.failure();
    rig.worker.stop();
    rig.wait("it has gone", || failure.has_changed().is_err());
    assert!(failure.borrow().is_none());
    rig.media(1, true);
}
