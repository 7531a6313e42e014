//! The registry with real sockets and a real database, below a tree that is made up: it does what it
//! is told, and writes down what that was.

mod starts;

use super::*;
use crate::config::{IngestSection, StreamSection};
use crate::core::api::{PipelineView, RootCommand, RootView};
use crate::http::OnAir;
use crate::ingest::driver::{IngestHandle, Order};
use crate::ladder::budget::Cores;
use crate::ladder::metrics::Ladders;
use crate::sources::metrics::Sources;
use crate::store::Store;
use crate::store::access::Right;
use crate::store::writer::Notes;
use bytes::Bytes;
use relay_node::clock::Clock;
use relay_node::media::api::PipelineKey;
use soleil_protocol::{Epoch, PipelineId, Ssrc};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct FakeTree {
    pub(crate) view: Mutex<Option<watch::Sender<Arc<RootView>>>>,
    pub(crate) said: Mutex<Vec<String>>,
    /// It hears, and does nothing yet.
    busy: AtomicBool,
    /// Whoever gives it packets falls over.
    breaks: AtomicBool,
    packets: watch::Sender<usize>,
}

impl Tree for FakeTree {
    fn command(&self, command: RootCommand) -> bool {
        let said = match &command {
            RootCommand::DefinePipeline(def) => format!("define {}", def.id),
            RootCommand::RemovePipeline(id, reason) => format!("remove {id}: {reason}"),
            RootCommand::SetLive(id, live) => format!("live {id}: {live}"),
            other => format!("{other:?}"),
        };
        self.said.lock().unwrap().push(said);
        if self.busy.load(Ordering::Relaxed) {
            return true;
        }
        let view = self.view.lock().unwrap();
        let Some(view) = view.as_ref() else { return false };
        view.send_modify(|view| {
            let pipelines = &mut Arc::make_mut(view).pipelines;
            match command {
                RootCommand::DefinePipeline(def) => {
                    pipelines.retain(|p| p.def.id != def.id);
                    pipelines.push(PipelineView { def, epoch: Epoch(1), stats: vec![] });
                }
                RootCommand::RemovePipeline(id, _) => pipelines.retain(|p| p.def.id != id),
                RootCommand::SetLive(id, live) => {
                    pipelines.iter_mut().filter(|p| p.def.id == id).for_each(|p| p.def.live = live);
                }
                other => panic!("{other:?}"),
            }
        });
        true
    }

    fn packets(&self, packets: Vec<Bytes>) {
        assert!(!self.breaks.load(Ordering::Relaxed), "as a fault might");
        self.packets.send_modify(|count| *count += packets.len());
    }
}

/// A registry and what is around it.
pub(crate) struct Bench {
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Arc<Store>,
    pub(crate) tree: Arc<FakeTree>,
    pub(crate) view: watch::Receiver<Arc<RootView>>,
    pub(crate) on_air: watch::Receiver<OnAir>,
    pub(crate) clock: Clock,
    table: Table,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    pub(crate) fn start(dir: &Path, sections: &[StreamSection]) -> Bench {
        let store = Arc::new(Store::open(dir).unwrap());
        let clock = Clock::start();
        let (view_tx, view) = watch::channel(Arc::new(RootView::default()));
        let (on_air_tx, on_air) = watch::channel(OnAir::default());
        let view_tx = Mutex::new(Some(view_tx));
        let (said, (packets, _)) = (Mutex::default(), watch::channel(0));
        let (busy, breaks) = (AtomicBool::new(false), AtomicBool::new(false));
        let tree = Arc::new(FakeTree { view: view_tx, said, busy, breaks, packets });
        let (table, stop) = (Table::default(), CancellationToken::new());
        let around = Surroundings {
            tree: tree.clone(),
            table: table.clone(),
            sources: Sources::default(),
            ladders: Ladders::default(),
            cores: Cores::of_machine(2),
            on_air: Arc::new(on_air_tx),
            notes: Notes::default(),
            clock,
            fell: Arc::default(),
            stop: stop.clone(),
        };
        let ingest = IngestSection { bind: home(), ..IngestSection::default() };
        let known = Registry::prepare(&store, clock, sections).unwrap();
        let registry = Registry::start(store.clone(), around, view.clone(), ingest, known);
        let registry = Arc::new(registry.unwrap());
        Bench { registry, store, tree, view, on_air, clock, table, stop }
    }

    async fn define(&self, name: &str, tracks: &str) -> Result<Info, Refused> {
        let definition = definition(tracks, self.registry.bind());
        self.registry.define(name.to_owned(), definition, true).await
    }

    /// One packet of sound for a stream that has its key.
    fn sound(&self, ingest: &IngestHandle) {
        let key = PipelineKey { key: [1; 16], salt: [2; 12] };
        assert!(self.table.get(ingest.id).unwrap().order(Order::Key(Epoch(1), key)));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let packet = [&[0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0xfc, 1, 2, 3]].concat();
        sender.send_to(&packet, ingest.ports[0]).unwrap();
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.tree.said.lock().unwrap())
    }

    fn ssrcs(&self, id: PipelineId) -> Vec<Ssrc> {
        let view = self.view.borrow();
        let found = view.pipelines.iter().find(|p| p.def.id == id).unwrap();
        found.def.ssrcs().collect()
    }

    fn names(&self) -> Vec<String> {
        self.registry.list().into_iter().map(|info| info.name).collect()
    }

    /// Ends everything, as the end of the process does.
    async fn end(self) {
        self.stop.cancel();
        self.registry.ended().await;
    }
}

/// An address of this machine that no other test has: no port of it is in use.
pub(crate) fn home() -> IpAddr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let [.., a, b] = std::process::id().to_be_bytes();
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    assert!(number < u8::MAX, "too many addresses for one program");
    // Not 127.0.0.x, where everybody else is.
    IpAddr::V4(Ipv4Addr::new(127, a | 1, b, number + 1))
}

pub(crate) fn configured() -> StreamSection {
    let mut section = StreamSection::demo();
    let home = home();
    section.track.iter_mut().for_each(|track| track.bind = home);
    section
}

fn definition(tracks: &str, home: IpAddr) -> Definition {
    let tracks: Vec<TrackRequest> = serde_json::from_str(tracks).unwrap();
    let tracks = tracks.iter().map(|t| t.resolve(home).unwrap()).collect();
    Definition { tracks, ..Definition::default() }
}

const SOUND: &str = r#"[{"codec":"opus","payload_type":111}]"#;
const PICTURE: &str = r#"[{"codec":"VP8","payload_type":96,"layers":2}]"#;

#[tokio::test]
async fn a_stream_comes_takes_packets_in_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[configured()]);
    let demo = b.registry.get("demo").unwrap();
    assert_eq!(b.said(), ["define 1"]);
    let info = b.define("news", SOUND).await.unwrap();
    assert_eq!((info.id, info.origin, &info.state), (PipelineId(2), Origin::Api, &State::Running));
    assert_eq!(b.said(), ["define 2"]);
    let ingest = info.ingest.unwrap();
    let port = ingest.ports[0];
    assert_eq!(info.definition.tracks[0].ports, [port.port()]);
    assert_eq!((port.ip(), port.port()), (b.registry.bind(), 20_000));
    // The key finds it by its number, and then packets go through.
    b.sound(&ingest);
    let mut packets = b.tree.packets.subscribe();
    tokio::time::timeout(LIMIT, packets.wait_for(|count| *count == 1)).await.unwrap().unwrap();
    assert_eq!(b.said(), ["live 2: true"]);
    assert!(b.on_air.borrow().contains_key(&info.id));

    b.registry.remove("news".into()).await.unwrap();
    assert_eq!(b.said(), ["remove 2: the stream was removed"]);
    assert!(!b.on_air.borrow().contains_key(&info.id));
    assert!(b.table.get(info.id).is_none() && b.table.get(demo.id).is_some());
    UdpSocket::bind(port).expect("its port is free");
    assert_eq!(b.names(), ["demo"]);
    assert!(matches!(b.registry.remove("news".into()).await, Err(Refused::Unknown)));
}

#[tokio::test]
async fn a_root_that_starts_again_has_its_streams_with_number_ports_and_ssrcs() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[configured()]);
    let (runs, rests) = (b.define("runs", PICTURE).await.unwrap(), b.define("rests", SOUND).await);
    let (ssrcs, rests) = (b.ssrcs(runs.id), rests.unwrap());
    assert_eq!(b.registry.stop("rests".into()).await.unwrap().state, State::Stopped);
    b.end().await;

    let b = Bench::start(dir.path(), &[configured()]);
    let again = b.registry.get("runs").unwrap();
    assert_eq!((again.id, &again.state), (runs.id, &State::Running));
    assert_eq!((&again.definition, again.created), (&runs.definition, runs.created));
    assert_eq!(b.ssrcs(again.id), ssrcs);
    let again = b.registry.get("rests").unwrap();
    assert_eq!((again.id, &again.state), (rests.id, &State::Stopped));
    assert_eq!(b.said(), ["define 1", "define 2"]);
    let begun = b.registry.begin("rests".into()).await.unwrap();
    assert_eq!((begun.id, begun.state), (rests.id, State::Running));
    b.end().await;
    let b = Bench::start(dir.path(), &[configured()]);
    assert_eq!(b.registry.get("rests").unwrap().state, State::Running);
}

#[tokio::test]
async fn a_stream_that_was_stopped_goes_on_with_its_ssrcs_above_its_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    let info = b.define("a", SOUND).await.unwrap();
    let (port, ssrcs) = (info.ingest.unwrap().ports[0], b.ssrcs(info.id));
    b.registry.stop("a".into()).await.unwrap();
    UdpSocket::bind(port).expect("its port is free");
    assert_eq!(b.said(), ["define 1", "remove 1: the stream was stopped"]);
    assert!(b.view.borrow().pipelines.is_empty());
    // Stopping and starting twice is the same as once.
    b.registry.stop("a".into()).await.unwrap();
    b.registry.begin("a".into()).await.unwrap();
    let begun = b.registry.begin("a".into()).await.unwrap();
    assert_eq!(b.said(), ["define 1"]);
    assert_eq!((begun.id, begun.ingest.unwrap().ports[0]), (info.id, port));
    assert_eq!(b.ssrcs(info.id), ssrcs);
}

#[tokio::test]
async fn nothing_of_a_removed_stream_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    let first = b.define("a", SOUND).await.unwrap();
    let ssrcs = b.ssrcs(first.id);
    let now = b.clock.now().wall;
    let right = Right::Publish("a".into());
    let (token, _) = b.store.create_api_token(now, &right, None, "").unwrap();
    assert_eq!(b.store.check_publish(now, "a", &token.to_string()), Ok(()));
    b.registry.remove("a".into()).await.unwrap();
    let second = b.define("a", SOUND).await.unwrap();
    assert!(second.id > first.id);
    assert_ne!(b.ssrcs(second.id), ssrcs);
    assert_ne!(second.definition.tracks[0].ports, first.definition.tracks[0].ports);
    assert!(b.store.check_publish(now, "a", &token.to_string()).is_err());
    b.registry.remove("a".into()).await.unwrap();
    b.end().await;
    let b = Bench::start(dir.path(), &[]);
    assert!(b.names().is_empty());
    assert!(b.define("b", SOUND).await.unwrap().id > second.id);
}

#[tokio::test]
async fn streams_of_the_configuration_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[configured()]);
    let name = || "demo".to_owned();
    let before = b.said();
    for refused in [
        b.define("demo", SOUND).await.err(),
        b.registry.change(name(), |d| d.label = "x".into()).await.err(),
        b.registry.begin(name()).await.err(),
        b.registry.stop(name()).await.err(),
        b.registry.remove(name()).await.err(),
    ] {
        let refused = refused.unwrap();
        assert!(matches!(refused, Refused::Configured(_)), "{refused}");
        assert!(refused.to_string().contains("[[stream]]"), "{refused}");
    }
    assert_eq!((before.len(), b.said().len()), (1, 0));
    // One that the API has defined first gives way, and comes back.
    b.define("news", SOUND).await.unwrap();
    b.end().await;
    let news = StreamSection { name: "news".into(), ..configured() };
    let b = Bench::start(dir.path(), &[news]);
    assert_eq!(b.registry.get("news").unwrap().origin, Origin::Configuration);
    assert_eq!(b.names(), ["news"]);
    b.end().await;
    let b = Bench::start(dir.path(), &[]);
    assert_eq!(b.registry.get("news").unwrap().origin, Origin::Api);
}

#[tokio::test]
async fn a_port_that_is_in_use_is_named_and_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[configured()]);
    let port = 6_000;
    let foreign = UdpSocket::bind((b.registry.bind(), port)).unwrap();
    let tracks = |port: u16| format!(r#"[{{"codec":"opus","payload_type":111,"ports":[{port}]}}]"#);
    let refused = b.define("a", &tracks(port)).await.unwrap_err();
    assert!(matches!(refused, Refused::Ports(_)), "{refused}");
    assert!(refused.to_string().contains(&port.to_string()), "{refused}");
    assert_eq!((b.names().len(), b.store.defined_streams().unwrap().len()), (1, 0));
    drop(foreign);
    b.define("a", &tracks(port)).await.unwrap();
    let refused = b.define("b", &tracks(port)).await.unwrap_err().to_string();
    assert!(refused.contains("\"a\""), "{refused}");
    let everywhere = tracks(5_004).replace("}]", r#","bind":"0.0.0.0"}]"#);
    let refused = b.define("b", &everywhere).await.unwrap_err().to_string();
    assert!(refused.contains("\"demo\""), "{refused}");
    assert!(matches!(b.define("a", SOUND).await, Err(Refused::Exists(_))));
}

#[tokio::test]
async fn tracks_change_only_while_it_rests_and_another_codec_is_another_number() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    let info = b.define("a", SOUND).await.unwrap();
    let ssrcs = b.ssrcs(info.id);
    let with = |tracks: &str| {
        let tracks = definition(tracks, b.registry.bind()).tracks;
        b.registry.change("a".into(), move |d| d.tracks = tracks)
    };
    let label = b.registry.change("a".into(), |d| d.label = "the news".into()).await.unwrap();
    assert_eq!((label.definition.label.as_str(), label.id), ("the news", info.id));
    assert!(matches!(with(PICTURE).await, Err(Refused::Running(_))));
    b.registry.stop("a".into()).await.unwrap();
    let port = 6_000;
    let moved = with(&format!(r#"[{{"codec":"opus","payload_type":111,"ports":[{port}]}}]"#)).await;
    let moved = moved.unwrap();
    assert_eq!((moved.id, moved.definition.tracks[0].ports[0]), (info.id, port));
    b.registry.begin("a".into()).await.unwrap();
    assert_eq!(b.ssrcs(info.id), ssrcs);
    b.registry.stop("a".into()).await.unwrap();
    // What viewers have negotiated is true no longer.
    let other = with(PICTURE).await.unwrap();
    assert!(other.id > info.id);
    assert!(matches!(with("[]").await, Err(Refused::Invalid(_))));
    let bad = b.registry.change("a".into(), |d| d.label = "\n".into()).await;
    assert!(matches!(bad, Err(Refused::Invalid(_))));
    b.end().await;
    let b = Bench::start(dir.path(), &[]);
    let kept = b.registry.get("a").unwrap();
    assert_eq!((kept.id, kept.definition), (other.id, other.definition));
}

#[tokio::test]
async fn limits_hold_over_all_streams_together() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[configured()]);
    let port = |number: usize| {
        let port = 1_024 + 2 * number;
        definition(
            &format!(r#"[{{"codec":"opus","payload_type":111,"ports":[{port}]}}]"#),
            b.registry.bind(),
        )
    };
    for number in 1..crate::config::MAX_STREAMS {
        b.registry.define(format!("s{number}"), port(number), false).await.unwrap();
    }
    let refused = b.registry.define("more".into(), port(500), false).await.unwrap_err();
    assert!(matches!(refused, Refused::Full(_)), "{refused}");
    b.registry.remove("s7".into()).await.unwrap();
    b.registry.define("more".into(), port(500), false).await.unwrap();
    for bad in ["", "..", "a/b", "é", &"x".repeat(65)] {
        let refused = b.registry.define(bad.to_owned(), port(501), false).await.unwrap_err();
        assert!(matches!(refused, Refused::Invalid(_)), "{bad}: {refused}");
    }
}

#[tokio::test]
async fn a_tree_that_has_ended_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    b.tree.view.lock().unwrap().take();
    assert!(matches!(b.define("a", SOUND).await, Err(Refused::Busy)));
    assert!(b.names().is_empty() && b.store.defined_streams().unwrap().is_empty());
    assert!(b.table.all().is_empty());
}
