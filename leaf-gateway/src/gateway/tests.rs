//! What the node is told, and a whole leaf with viewers who come by HTTP and go with the leaf.

mod control;
mod events;
mod many;

use super::*;
use crate::session::tests::bench::VIDEO;
use crate::session::tests::client::{GCM, Viewer, fingerprint};
use crate::session::{EndCause, ice::Credentials};
use relay_node::media::api::{FrameMarks, LocalPacket};
use soleil_protocol::pipeline::{Codec, Layer, Track};
use soleil_protocol::{PacketIndex, Ssrc};
use std::sync::mpsc::RecvTimeoutError::Timeout;
use std::sync::mpsc::{Receiver, channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const OFFER: &str = include_str!("../../tests/data/chromium_offer.sdp");
const DEADLINE: Duration = Duration::from_secs(20);
const DEMO: PipelineId = PipelineId(1);

type Pipelines = Arc<BTreeMap<PipelineId, PipelineDef>>;

fn pipelines(ids: &[u32]) -> Pipelines {
    let layer = Layer {
        ssrc: VIDEO,
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
        layers: vec![layer],
    };
    let def = |id: u32| PipelineDef {
        id: PipelineId(id),
        name: format!("stream{id}"),
        live: true,
        tracks: vec![track.clone()],
    };
    Arc::new(ids.iter().map(|id| (PipelineId(*id), def(*id))).collect())
}

struct Rig {
    clock: Clock,
    leaf: RunningLeaf,
    sink: Box<dyn LocalSink>,
    commands: Receiver<NodeCommand>,
    _pipelines: watch::Sender<Pipelines>,
    http: SocketAddr,
}

async fn rig() -> Rig {
    rig_of(1).await
}

async fn rig_of(workers: usize) -> Rig {
    rig_with(workers, |_| {}).await
}

async fn rig_with(workers: usize, change: impl FnOnce(&mut LeafConfig)) -> Rig {
    let clock = Clock::start();
    let mut config = LeafConfig::default();
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    config.webrtc.listen = "127.0.0.1:0".parse().unwrap();
    config.webrtc.workers = workers;
    config.play.require_ticket = false;
    change(&mut config);
    let (leaf, sink) = Leaf::bind(&config, clock).await.unwrap();
    let http = leaf.http_addr();
    let (tx, commands) = channel();
    let pipelines = watch::Sender::new(pipelines(&[1]));
    let node = NodeSide {
        pipelines: pipelines.subscribe(),
        identity: watch::Sender::new(None).subscribe(),
        lack: watch::Sender::new(None).subscribe(),
        command: Box::new(move |command| {
            let _ = tx.send(command);
        }),
    };
    Rig { clock, leaf: leaf.start(&config, node), sink, commands, _pipelines: pipelines, http }
}

struct Client {
    clock: Clock,
    socket: UdpSocket,
    viewer: Viewer,
    to: SocketAddr,
    next_check: Mono,
    path: String,
}

async fn post(http: SocketAddr, body: &str) -> String {
    send(http, "POST /whep/stream1", "Content-Type: application/sdp\r\n", body).await
}

async fn send(http: SocketAddr, what: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(http).await.unwrap();
    let head = format!(
        "{what} HTTP/1.1\r\nHost: leaf.test\r\nConnection: close\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// An offer of our viewer: Chromium's, with other secrets.
fn offer() -> String {
    let hash: Vec<String> = fingerprint().iter().map(|b| format!("{b:02X}")).collect();
    let lines = OFFER.lines().map(|line| match line.split_once(':') {
        Some(("a=ice-ufrag", _)) => "a=ice-ufrag:page".to_owned(),
        Some(("a=ice-pwd", _)) => "a=ice-pwd:a-password-of-the-page-itself".to_owned(),
        Some(("a=fingerprint", _)) => format!("a=fingerprint:sha-256 {}", hash.join(":")),
        _ => line.to_owned(),
    });
    lines.map(|l| l + "\r\n").collect()
}

impl Rig {
    /// A viewer that has come as far as media.
    async fn viewer(&self) -> Client {
        let answer = post(self.http, &offer()).await;
        let find = |key: &str| {
            let line = answer.lines().find_map(|l| l.strip_prefix(key));
            line.unwrap_or_else(|| panic!("no {key} in {answer}")).to_owned()
        };
        let candidate = find("a=candidate:");
        let words: Vec<&str> = candidate.split(' ').collect();
        let credentials = Credentials {
            local_ufrag: find("a=ice-ufrag:"),
            local_password: find("a=ice-pwd:"),
            remote_ufrag: "page".into(),
            remote_password: "a-password-of-the-page-itself".into(),
        };
        let now = self.clock.now().mono;
        let mut client = Client {
            clock: self.clock,
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            viewer: Viewer::new(self.clock, credentials, &[GCM]),
            to: SocketAddr::new(words[4].parse().unwrap(), words[5].parse().unwrap()),
            next_check: now,
            path: find("location: http://leaf.test"),
        };
        client.viewer.start_dtls(now);
        let live = self.leaf.metrics().live.get();
        client
            .until("connected", |c| {
                c.viewer.profile.is_some() && self.leaf.metrics().live.get() > live
            })
            .await;
        client
    }

    fn media(&mut self, index: u64) {
        self.packet(VIDEO, index, b"a frame");
    }

    /// A frame of a layer, which a decoder can begin with.
    fn packet(&mut self, ssrc: Ssrc, index: u64, payload: &[u8]) {
        self.sink.deliver(LocalPacket {
            pipeline: DEMO,
            ssrc,
            index: PacketIndex(index),
            timestamp: index as u32,
            marker: true,
            payload_type: 96,
            capture: index << 32,
            marks: FrameMarks(FrameMarks::KEY_START),
            payload,
        });
        self.sink.flush();
    }

    /// The next command of a kind.
    fn command<T>(&self, what: &str, pick: impl Fn(NodeCommand) -> Option<T>) -> T {
        next_command(&self.commands, self.clock, DEADLINE, pick).expect(what)
    }
}

/// The next command of a kind. Others come in between (figures, each second): the time is for all
/// of them together.
fn next_command<T>(
    commands: &Receiver<NodeCommand>,
    clock: Clock,
    time: Duration,
    pick: impl Fn(NodeCommand) -> Option<T>,
) -> Option<T> {
    let until = clock.now().mono.after(time);
    loop {
        let left = until.since(clock.now().mono);
        if left.is_zero() {
            return None;
        }
        if let Some(found) = pick(commands.recv_timeout(left).ok()?) {
            return Some(found);
        }
    }
}

#[test]
fn waiting_for_a_command_ends_while_others_come() {
    const ENOUGH: usize = 500;
    let (tx, commands) = channel();
    let (stop, stopped) = channel::<()>();
    let others = std::thread::spawn(move || {
        // Stops by itself: a wait without end would end then, and be found.
        let tick = || stopped.recv_timeout(Duration::from_millis(5)).is_err_and(|e| e == Timeout);
        (0..ENOUGH).take_while(|_| tick() && tx.send(NodeCommand::Stop(DEMO)).is_ok()).count()
    });
    let time = Duration::from_millis(50);
    assert_eq!(next_command(&commands, Clock::start(), time, |_| None::<()>), None);
    drop(stop);
    assert!(others.join().unwrap() < ENOUGH);
}

impl Client {
    async fn pump(&mut self) {
        let now = self.clock.now().mono;
        if self.next_check <= now {
            let check = self.viewer.check(true, 1);
            self.socket.send_to(&check, self.to).await.unwrap();
            self.next_check = now.after(Duration::from_millis(200));
        }
        for data in std::mem::take(&mut self.viewer.out) {
            self.socket.send_to(&data, self.to).await.unwrap();
        }
        let mut buffer = [0; 2_048];
        let received = self.socket.recv_from(&mut buffer);
        let waited = tokio::time::timeout(Duration::from_millis(5), received).await;
        if let Ok(Ok((len, _))) = waited {
            self.viewer.receive(self.clock.now().mono, &buffer[..len]);
        }
        if self.viewer.poll_timeout().is_some_and(|at| at <= now) {
            self.viewer.handle_timeout(now);
        }
    }

    async fn until(&mut self, what: &str, mut done: impl FnMut(&mut Client) -> bool) {
        let until = self.clock.now().mono.after(DEADLINE);
        while !done(self) {
            assert!(self.clock.now().mono < until, "never: {what}");
            self.pump().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_plays_what_a_viewer_wants_and_hears_of_it() {
    let mut rig = rig().await;
    let mut client = rig.viewer().await;
    rig.command("play", |c| matches!(c, NodeCommand::Play(DEMO)).then_some(()));
    rig.command("key frame", |c| matches!(c, NodeCommand::KeyFrame(DEMO, VIDEO)).then_some(()));
    rig.media(1);
    client.until("media", |c| c.viewer.seen.len() == 1).await;
    assert_eq!(client.viewer.seen[0].payload, b"a frame");
    let viewers = rig.command("figures", |c| {
        let NodeCommand::LocalStats(containers) = c else { return None };
        let mine = containers.into_iter().find(|c| c.id == Some(DEMO))?;
        mine.stats.into_iter().find(|s| s.name == "viewers" && s.value > 0.0)
    });
    assert_eq!((viewers.value, viewers.weight), (1.0, Some(1.0)));
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_restarts_ice_from_elsewhere_and_media_go_on() {
    let mut rig = rig().await;
    let mut client = rig.viewer().await;
    rig.media(1);
    client.until("media", |c| c.viewer.seen.len() == 1).await;
    let fragment = "a=ice-ufrag:anew\r\na=ice-pwd:another-password-of-the-page\r\n";
    let headers = "Content-Type: application/trickle-ice-sdpfrag\r\nIf-Match: *\r\n";
    let answer = send(rig.http, &format!("PATCH {}", client.path), headers, fragment).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let find = |key: &str| answer.lines().find_map(|l| l.strip_prefix(key)).unwrap().to_owned();
    rig.media(2);
    client.until("media on the old path", |c| c.viewer.seen.len() == 2).await;
    client.viewer.credentials = Credentials {
        local_ufrag: find("a=ice-ufrag:"),
        local_password: find("a=ice-pwd:"),
        remote_ufrag: "anew".into(),
        remote_password: "another-password-of-the-page".into(),
    };
    // Another network: nothing comes from the old socket any more.
    client.socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut index = 3;
    let until = rig.clock.now().mono.after(DEADLINE);
    while client.viewer.seen.len() == 2 {
        assert!(rig.clock.now().mono < until, "no media on the new path");
        rig.media(index);
        index += 1;
        client.pump().await;
    }
    assert_eq!(rig.leaf.metrics().live.get(), 1, "the session is the same");
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_stops_tells_its_viewers_and_ends_in_time() {
    let mut rig = rig().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(rig.viewer().await);
    }
    rig.media(1);
    for client in &mut clients {
        client.until("media", |c| c.viewer.seen.len() == 1).await;
    }
    rig.leaf.drain().await;
    assert!(post(rig.http, &offer()).await.starts_with("HTTP/1.1 503"), "nobody new");
    for client in &mut clients {
        client.until("goodbye", |c| c.viewer.closed).await;
        let last = client.viewer.rtcp.last().unwrap();
        assert!(last.windows(2).any(|w| w == [0x81, 203]), "BYE");
    }
    assert_eq!(rig.leaf.metrics().ended_by(EndCause::Drained), 3);
    assert_eq!(rig.leaf.occupancy(), (0, 0));
    // The default of node.drain_timeout is longer than what a stop may take.
    let time = LeafConfig::default().node.drain_timeout;
    tokio::time::timeout(time, rig.leaf.stop()).await.expect("the stop takes too long");
    TcpStream::connect(rig.http).await.expect_err("nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_without_its_viewer_thread_refuses_joins_and_stops_playing() {
    let rig = rig().await;
    let _client = rig.viewer().await;
    rig.command("play", |c| matches!(c, NodeCommand::Play(DEMO)).then_some(()));
    let mut failure = rig.leaf.failure();
    rig.leaf.workers().break_down(0, worker::Breakage::Socket);
    failure.wait_for(Option::is_some).await.unwrap();
    let answer = post(rig.http, &offer()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(rig.leaf.occupancy(), (0, 0));
    rig.command("stop after the linger", |c| matches!(c, NodeCommand::Stop(DEMO)).then_some(()));
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}
