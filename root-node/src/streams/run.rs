//! One stream's ingest: made ready, let run, and brought to its end. What it says goes to the tree, to
//! the store and to the list of streams that are on air.

use super::{Definition, Refused, Table};
use crate::config::{SourceSection, ways};
use crate::core::api::RootCommand;
use crate::http::OnAir;
use crate::ingest::choice::Via;
use crate::ingest::driver::{IngestHandle, IngestTask, Order, Outlet};
use crate::ingest::tap::Ladder;
use crate::ingest::{StreamEvent, StreamIngest, TrackSpec};
use crate::ladder::budget::Cores;
use crate::ladder::driver::{self as ladder, Parts};
use crate::ladder::metrics::Ladders;
use crate::ladder::rung::Rung;
use crate::sources::driver::{self as source, Source, SourceHandle};
use crate::sources::job::Target;
use crate::sources::metrics::Sources;
use crate::sources::status::State as SourceState;
use crate::store::Store;
use crate::store::layers::LayerName;
use crate::store::writer::Notes;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use relay_node::clock::Clock;
use relay_node::identity;
use relay_node::media::sizes::MAX_PAYLOAD;
use relay_node::node::NodeHandle;
use soleil_protocol::PipelineId;
use soleil_protocol::pipeline::PipelineDef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is told of an ingest that has ended by itself.
const FAILED: &str = "the stream's ingest has failed: the root's log says where";

/// The tree as streams need it.
pub trait Tree: Send + Sync + 'static {
    /// Tells the root's core something; `false` if it has ended.
    fn command(&self, command: RootCommand) -> bool;
    /// Hands sealed packets over.
    fn packets(&self, packets: Vec<Bytes>);
}

impl Tree for NodeHandle<RootCommand> {
    fn command(&self, command: RootCommand) -> bool {
        NodeHandle::command(self, command)
    }

    fn packets(&self, packets: Vec<Bytes>) {
        self.media().inject(packets);
    }
}

/// What is around a stream.
#[derive(Clone)]
pub struct Surroundings {
    /// The tree.
    pub tree: Arc<dyn Tree>,
    /// What runs.
    pub table: Table,
    /// The ladders that run.
    pub ladders: Ladders,
    /// What they may take of the machine.
    pub cores: Cores,
    /// The sources that run.
    pub sources: Sources,
    /// What is on air.
    pub on_air: Arc<watch::Sender<OnAir>>,
    /// What the store shall keep.
    pub notes: Notes,
    /// Tells the time.
    pub clock: Clock,
    /// Somebody's ingest has failed.
    pub fell: Arc<Notify>,
    /// The root's end.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("table", &self.table).finish_non_exhaustive()
    }
}

/// A stream whose sockets are bound.
pub struct Prepared {
    /// Its ingest.
    pub handle: IngestHandle,
    task: IngestTask,
    pipeline: PipelineDef,
    ladder: Option<(Ladder, Vec<Rung>)>,
    sources: Vec<Source>,
}

/// A stream that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) handle: IngestHandle,
    stop: CancellationToken,
    /// Ends behind the ingest.
    watch: JoinHandle<()>,
    failed: Arc<AtomicBool>,
}

impl Prepared {
    /// Asks the store for its layers and binds its sockets. `others` are RTP ports of other streams,
    /// which are nobody's RTCP ports; `sources` are those that it shall have, the best one first.
    ///
    /// # Errors
    /// If a port can't be bound, or the store can't be used.
    pub fn new(
        store: &Store,
        clock: Clock,
        name: &str,
        id: PipelineId,
        definition: &Definition,
        others: &[SocketAddr],
        sources: &[SourceSection],
    ) -> Result<Prepared, Refused> {
        let section = definition.section(name)?;
        let seed = || identity::random().map_err(|e| Refused::Store(e.into()));
        let mut ssrcs = StdRng::from_seed(seed()?);
        let mut random = StdRng::from_seed(seed()?);
        let now = clock.now().wall;
        let tracks: Vec<TrackSpec> = section.track.iter().map(|t| t.spec()).collect();
        let mut core = StreamIngest::new(
            id,
            name,
            tracks,
            MAX_PAYLOAD,
            &mut |track, layer| {
                let name = LayerName { stream: id, track: &track.name, layer, codec: track.codec };
                store.layer(now, name, &mut || ssrcs.next_u32())
            },
            &mut || random.next_u32(),
        )?;
        if let Some(ways) = ways(sources) {
            core = core.with_ways(ways);
        }
        let pipeline = core.definition();
        let own = definition.addresses();
        let taken: Vec<SocketAddr> = own.iter().chain(others).copied().collect();
        let fail = |e: std::io::Error| Refused::Ports(format!("stream {name:?}: {e}"));
        let (mut handle, mut task) =
            IngestTask::bind(name, core, &own, &taken, clock).map_err(fail)?;
        task.listen_to_sources(&mut handle, sources.len()).map_err(fail)?;
        let sources = sources.iter().zip(&handle.source_ports).enumerate();
        let sources = sources.map(|(number, (section_of, bound))| {
            let mut bound = bound.as_slice();
            let targets = section.track.iter().filter_map(|track| {
                let (own, rest) = bound.split_at_checked(track.ports.len())?;
                bound = rest;
                Target::new(track, own)
            });
            let targets = targets.collect();
            Source { stream: name.to_owned(), number, section: section_of.clone(), targets }
        });
        let sources = sources.collect();
        tracing::info!(stream = %name, pipeline = %id, ports = ?handle.ports, "takes RTP");
        let ladder = task.tap().map(|place| (place, definition.ladder().to_vec()));
        Ok(Prepared { handle, task, pipeline, ladder, sources })
    }

    /// Lets it run: the tree hears of it, and of what it takes in.
    pub(super) fn run(self, around: &Surroundings) -> Running {
        // Before the tree hears of it: the key that comes back has to find it.
        around.table.insert(self.handle.clone());
        around.tree.command(RootCommand::DefinePipeline(self.pipeline));
        let stop = around.stop.child_token();
        if let Some((place, rungs)) = self.ladder {
            let ingest = self.handle.clone();
            let parts = Parts { place, rungs, cores: around.cores, ingest };
            match ladder::start(parts, around.clock, stop.clone()) {
                Ok(ladder) => around.ladders.insert(self.handle.id, ladder),
                Err(error) => tracing::error!(stream = %self.handle.name, %error, "no ladder"),
            }
        }
        around.start_sources(&self.handle, self.sources, &stop);
        let ingest = tokio::spawn(self.task.run(ToTree(around.clone()), stop.clone()));
        let failed = Arc::new(AtomicBool::new(false));
        let part = (self.handle.clone(), stop.clone());
        let watch = tokio::spawn(watch(ingest, part, around.clone(), failed.clone()));
        Running { handle: self.handle, stop, watch, failed }
    }
}

/// Waits for the end of an ingest. One that has panicked is withdrawn: nobody shall see it on air that
/// nobody serves.
async fn watch(
    ingest: JoinHandle<()>,
    (handle, stop): (IngestHandle, CancellationToken),
    around: Surroundings,
    failed: Arc<AtomicBool>,
) {
    let Err(error) = ingest.await else { return };
    tracing::error!(stream = %handle.name, %error, "the ingest has panicked");
    stop.cancel();
    around.withdraw(&handle, FAILED);
    // Behind the withdrawal, which else could meet the next ingest of this stream.
    failed.store(true, Ordering::Release);
    around.fell.notify_one();
}

impl Running {
    /// Ends it, its sockets first. Nothing of it comes to the tree behind the news that it is over.
    pub(super) async fn end(self, around: &Surroundings, reason: &str) {
        self.stop.cancel();
        let (handle, failed) = (self.handle.clone(), self.failed.clone());
        self.ended().await;
        if !failed.load(Ordering::Acquire) {
            around.withdraw(&handle, reason);
        }
    }

    /// Why it does not run, if it has ended by itself.
    pub(super) fn failure(&self) -> Option<&'static str> {
        self.failed.load(Ordering::Acquire).then_some(FAILED)
    }

    /// Waits for its end.
    pub(super) async fn ended(self) {
        if let Err(error) = self.watch.await {
            tracing::error!(stream = %self.handle.name, %error, "nobody watched the ingest");
        }
    }
}

impl Surroundings {
    /// Starts a stream's sources. What they say of themselves and who is on air goes to the ingest, and
    /// into the log.
    fn start_sources(&self, ingest: &IngestHandle, all: Vec<Source>, stop: &CancellationToken) {
        if all.is_empty() {
            return;
        }
        let mut started = Vec::new();
        for source in all {
            match source::start(source, self.clock, stop.clone()) {
                Ok(source) => {
                    tokio::spawn(tell_of(source.clone(), ingest.clone()));
                    started.push(source);
                }
                Err(error) => tracing::error!(stream = %ingest.name, %error, "no source"),
            }
        }
        tokio::spawn(log_on_air(ingest.clone(), started.clone()));
        self.sources.insert(ingest, started);
    }

    /// The stream is over for everybody.
    fn withdraw(&self, handle: &IngestHandle, reason: &str) {
        let id = handle.id;
        self.table.remove(id);
        self.ladders.remove(id);
        self.sources.remove(id);
        self.set_on_air(id, false);
        self.tree.command(RootCommand::RemovePipeline(id, reason.to_owned()));
        tracing::info!(stream = %handle.name, pipeline = %id, reason, "takes RTP no more");
    }

    fn set_on_air(&self, id: PipelineId, live: bool) {
        let since = self.clock.now().wall.millis();
        self.on_air.send_modify(|table| {
            let table = Arc::make_mut(table);
            if live {
                table.insert(id, since);
            } else {
                table.remove(&id);
            }
        });
    }
}

/// The ingest need not wait for the silence of a source whose worker has ended.
async fn tell_of(source: SourceHandle, ingest: IngestHandle) {
    let mut status = source.status;
    while status.changed().await.is_ok() {
        let state = status.borrow_and_update().state;
        if !matches!(state, SourceState::Running | SourceState::Stalled) {
            ingest.order(Order::Gone(Via::Source(source.number)));
        }
    }
}

/// Says who is on air, whenever that changes.
async fn log_on_air(ingest: IngestHandle, sources: Vec<SourceHandle>) {
    let mut on_air = ingest.on_air;
    while on_air.changed().await.is_ok() {
        let stream = &ingest.name;
        let Some(via) = *on_air.borrow_and_update() else { continue };
        match via {
            Via::Broadcaster => tracing::info!(%stream, "a broadcaster is on air"),
            Via::Source(number) => {
                let source = sources.iter().find(|s| s.number == number);
                let kind = source.map_or("", |s| s.status.borrow().kind.name());
                tracing::info!(%stream, source = number, kind, "another source is on air");
            }
        }
    }
}

/// Sealed packets go to the media thread, events to the core.
struct ToTree(Surroundings);

impl Outlet for ToTree {
    fn packets(&self, packets: Vec<Bytes>) {
        self.0.tree.packets(packets);
    }

    fn event(&self, pipeline: PipelineId, event: StreamEvent) {
        match event {
            StreamEvent::Defined(def) => {
                self.0.tree.command(RootCommand::DefinePipeline(def));
            }
            StreamEvent::Reserve(ssrc, index) => self.0.notes.index(ssrc, index),
            StreamEvent::Live(live) => {
                self.0.set_on_air(pipeline, live);
                tracing::info!(%pipeline, live, "stream is on air: {live}");
                self.0.tree.command(RootCommand::SetLive(pipeline, live));
            }
        }
    }
}
