//! The loop's parts by themselves, on times of the test's choice.

use super::media::PIPELINE_GRACE;
use super::*;
use crate::demand::Demand;
use crate::occupancy::{Limits, Occupancy};
use crate::session::tests::bench::{VIDEO, setup};
use crate::worker::SessionId;
use crate::worker::pool::Handshakes;
use crate::worker::seats::Seats;
use relay_node::io::udp::UdpOptions;
use relay_node::media::api::{FrameMarks, LocalPacket, LocalSink};
use soleil_protocol::PacketIndex;
use soleil_protocol::pipeline::{Codec, Layer, Track};
use std::sync::mpsc::{Sender, channel};

struct Bench {
    worker: Worker,
    sink: crate::worker::LeafSink,
    upcalls: mpsc::Receiver<Upcall>,
    commands: Sender<Command>,
    occupancy: Arc<Occupancy>,
    demand: Arc<Demand>,
    now: Mono,
}

fn def(id: u32, layers: &[u32]) -> (PipelineId, PipelineDef) {
    let layer = |ssrc: &u32| Layer {
        ssrc: Ssrc(*ssrc),
        payload_type: 96,
        width: None,
        height: None,
        bitrate: None,
        scalability: None,
    };
    let track = Track {
        name: "video".into(),
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: 0,
        fmtp: String::new(),
        layers: layers.iter().map(layer).collect(),
    };
    let id = PipelineId(id);
    (id, PipelineDef { id, name: format!("p{}", id.0), live: true, tracks: vec![track] })
}

fn pipelines<const N: usize>(
    defs: [(PipelineId, PipelineDef); N],
) -> Arc<BTreeMap<PipelineId, PipelineDef>> {
    Arc::new(BTreeMap::from(defs))
}

fn bench() -> Bench {
    let clock = Clock::start();
    let (upcalls_in, upcalls) = mpsc::channel(64);
    let metrics = Arc::<Metrics>::default();
    let config = WorkerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        workers: 1,
        clock,
        dtls: DtlsContext::new(clock).unwrap(),
        handshake_threads: 1,
        metrics: metrics.clone(),
        upcalls: upcalls_in,
    };
    let socket = UdpBatch::bind(config.listen, &UdpOptions::default()).unwrap();
    let waker = Waker::new().unwrap();
    let (commands, inbox) = channel();
    let (sink, mut inlets) = crate::worker::queue::queue(std::slice::from_ref(&waker), metrics);
    let pool = Handshakes::start(1, clock).unwrap().pool(&waker);
    let limits = Limits { viewers: 99, per_address: 99, connecting: 99 };
    let worker = Worker::new(config, socket, waker, inbox, inlets.remove(0), pool);
    Bench {
        now: clock.now().mono,
        worker,
        sink,
        upcalls,
        commands,
        occupancy: Occupancy::new(limits),
        demand: Arc::default(),
    }
}

impl Bench {
    fn add(&mut self, n: u32) -> Key {
        let mut setup = setup(true);
        setup.credentials.local_ufrag = format!("0leaf{n}");
        let id = SessionId(format!("{n:034x}"));
        let new = NewSession {
            id: id.clone(),
            setup,
            permit: self.occupancy.enter([192, 0, 2, 1].into()).unwrap(),
            seat: Seats::new(1).take(),
            wanted: self.demand.want(PipelineId(1)),
            seed: [n as u8; 32],
        };
        self.worker.add(self.now, new);
        self.worker.sessions.by_id(&id).unwrap()
    }

    fn set(&mut self, pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>) {
        self.worker.set_pipelines(self.now, pipelines);
    }

    fn deliver(&mut self, ssrc: u32, index: u64) {
        let pipeline = PipelineId(1);
        self.sink.deliver(LocalPacket {
            pipeline,
            ssrc: Ssrc(ssrc),
            index: PacketIndex(index),
            timestamp: 0,
            marker: false,
            payload_type: 96,
            capture: 0,
            marks: FrameMarks(FrameMarks::KEY_START),
            payload: b"payload",
        });
        self.sink.flush();
        let batch = self.worker.inlet.next().unwrap();
        self.worker.take_batch(self.now, &batch);
        self.worker.inlet.recycle(batch);
    }

    fn ended(&self, cause: EndCause) -> u64 {
        self.worker.metrics.ended_by(cause)
    }
}

#[test]
fn the_wheel_holds_one_entry_per_session_however_often_it_is_woken() {
    let mut b = bench();
    let key = b.add(1);
    for i in 0..300u64 {
        b.now = b.now.after(Duration::from_millis(20));
        // What asks for an earlier time than the one it is in the wheel for.
        let entry = b.worker.sessions.get_mut(key).unwrap();
        entry.scheduled = entry.scheduled.max(Mono(u64::MAX - i));
        b.worker.reschedule(b.now, key);
        let mut due = Vec::new();
        b.worker.wheel.expire(b.now, &mut due);
        for key in due {
            b.worker.wake(b.now, key);
        }
    }
    // Connect and consent lie beyond the wheel: entries that were doubled on purpose have come
    // out at its rim, and none has bred.
    for _ in 0..300 {
        b.now = b.now.after(Duration::from_millis(20));
        let mut due = Vec::new();
        b.worker.wheel.expire(b.now, &mut due);
        for key in due {
            b.worker.wake(b.now, key);
        }
    }
    assert!(b.worker.wheel.len() <= 1, "{}", b.worker.wheel.len());
}

#[test]
fn a_session_ends_with_its_pipeline_but_not_at_once() {
    let mut b = bench();
    b.set(pipelines([def(1, &[VIDEO.0])]));
    b.add(1);
    b.set(pipelines([]));
    b.worker.every_second(b.now.after(PIPELINE_GRACE - Duration::from_millis(1)));
    assert_eq!(b.ended(EndCause::StreamEnded), 0);
    // The root was away for a moment only.
    b.set(pipelines([def(1, &[VIDEO.0])]));
    b.worker.every_second(b.now.after(2 * PIPELINE_GRACE));
    assert_eq!(b.ended(EndCause::StreamEnded), 0);
    b.set(pipelines([]));
    b.worker.every_second(b.now.after(PIPELINE_GRACE));
    assert_eq!(b.ended(EndCause::StreamEnded), 1);
    assert_eq!(b.occupancy.counts(), (0, 0), "its place is free");
    assert!(b.demand.watch().borrow().is_empty());
}

#[test]
fn packets_go_into_rings_of_defined_layers_only() {
    let mut b = bench();
    b.set(pipelines([def(1, &[VIDEO.0])]));
    b.deliver(VIDEO.0, 1);
    b.deliver(VIDEO.0, 1);
    b.deliver(999, 1);
    let m = &b.worker.metrics;
    assert_eq!((m.late.get(), m.strays.get(), b.worker.rings.len()), (1, 1, 1));
    b.set(pipelines([def(1, &[5])]));
    assert!(b.worker.rings.is_empty(), "rings go with their layers");
}

#[test]
fn rings_are_bounded_whatever_is_defined() {
    let mut b = bench();
    let layers: Vec<u32> = (1_000..1_000 + 2 * MAX_RINGS as u32).collect();
    b.set(pipelines([def(1, &layers)]));
    for ssrc in layers {
        b.deliver(ssrc, 1);
    }
    assert_eq!(b.worker.rings.len(), MAX_RINGS);
}

#[test]
fn tracks_follow_their_pipelines_layers() {
    let mut b = bench();
    b.set(pipelines([def(1, &[VIDEO.0])]));
    let key = b.add(1);
    b.set(pipelines([def(1, &[555, 556])]));
    let entry = b.worker.sessions.get_mut(key).unwrap();
    assert_eq!(entry.session.sources().next(), Some((0, Ssrc(555))));
    b.set(pipelines([def(1, &[556, 555])]));
    let entry = b.worker.sessions.get_mut(key).unwrap();
    assert_eq!(entry.session.sources().next(), Some((0, Ssrc(555))), "a layer that is there stays");
}

#[test]
fn who_comes_after_the_drain_finds_nobody() {
    let mut b = bench();
    b.add(1);
    let (tx, mut rx) = tokio::sync::oneshot::channel();
    b.commands.send(Command::Drain(tx)).unwrap();
    let late = NewSession {
        id: SessionId(format!("{:034x}", 2)),
        setup: setup(true),
        permit: b.occupancy.enter([192, 0, 2, 1].into()).unwrap(),
        seat: Seats::new(1).take(),
        wanted: b.demand.want(PipelineId(1)),
        seed: [2; 32],
    };
    b.commands.send(Command::Add(Box::new(late))).unwrap();
    assert!(b.worker.take_commands().unwrap());
    assert_eq!(rx.try_recv(), Ok(()));
    assert_eq!(b.ended(EndCause::Drained), 2);
    assert_eq!(b.occupancy.counts(), (0, 0));
    b.commands.send(Command::Stop).unwrap();
    assert!(!b.worker.take_commands().unwrap());
}

#[test]
fn figures_are_of_the_last_second() {
    let mut b = bench();
    b.add(1);
    b.add(2);
    b.worker.every_second(b.now);
    let Ok(Upcall::Figures { figures, .. }) = b.upcalls.try_recv() else { panic!("no figures") };
    assert_eq!(figures.len(), 1);
    assert_eq!((figures[0].viewers, figures[0].bytes), (0, 0), "none has media yet");
    assert_eq!(b.worker.metrics.viewers(), 2);
    for _ in 0..100 {
        b.worker.every_second(b.now);
    }
    assert!(b.upcalls.len() <= 64, "nobody listens: nothing piles up");
}

#[test]
fn datagrams_for_nobody_are_counted() {
    let mut b = bench();
    let from = "192.0.2.9:1".parse().unwrap();
    let mut viewer = crate::session::tests::client::Viewer::new(
        b.worker.clock,
        setup(true).credentials,
        &[crate::session::tests::client::GCM],
    );
    for mut data in [viewer.check(true, 1), vec![], vec![0; 20], vec![22; 40], vec![0x80; 40]] {
        b.worker.take_datagram(b.now, from, &mut data);
    }
    assert_eq!(b.worker.metrics.unknown.get(), 5);
}

#[test]
fn a_socket_that_fails_now_and_then_is_kept_and_one_that_always_does_is_not() {
    let mut b = bench();
    let error = || std::io::Error::from_raw_os_error(12);
    let mut received = RecvBatch::new(1);
    for _ in 0..3 {
        for _ in 1..MAX_RECV_FAILURES {
            b.worker.recv_failed(error()).unwrap();
        }
        b.worker.receive(&mut received).unwrap();
    }
    for _ in 1..MAX_RECV_FAILURES {
        b.worker.recv_failed(error()).unwrap();
    }
    b.worker.recv_failed(error()).unwrap_err();
}
