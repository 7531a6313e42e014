//! One stream's ingest: made ready, let run, and brought to its end. What it says goes to the tree, to
//! the store and to the list of streams that are on air.

use super::{Definition, Refused, Table};
use crate::core::api::RootCommand;
use crate::http::OnAir;
use crate::ingest::driver::{IngestHandle, IngestTask, Outlet};
use crate::ingest::{StreamEvent, StreamIngest, TrackSpec};
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
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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
    /// What is on air.
    pub on_air: Arc<watch::Sender<OnAir>>,
    /// What the store shall keep.
    pub notes: Notes,
    /// Tells the time.
    pub clock: Clock,
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
}

/// A stream that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) handle: IngestHandle,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Prepared {
    /// Asks the store for its layers and binds its sockets. `others` are RTP ports of other streams,
    /// which are nobody's RTCP ports.
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
    ) -> Result<Prepared, Refused> {
        let section = definition.section(name)?;
        let seed = || identity::random().map_err(|e| Refused::Store(e.into()));
        let mut ssrcs = StdRng::from_seed(seed()?);
        let mut random = StdRng::from_seed(seed()?);
        let now = clock.now().wall;
        let tracks: Vec<TrackSpec> = section.track.iter().map(|t| t.spec()).collect();
        let core = StreamIngest::new(
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
        let pipeline = core.definition();
        let own = definition.addresses();
        let taken: Vec<SocketAddr> = own.iter().chain(others).copied().collect();
        let (handle, task) = IngestTask::bind(name, core, &own, &taken, clock)
            .map_err(|e| Refused::Ports(format!("stream {name:?}: {e}")))?;
        tracing::info!(stream = %name, pipeline = %id, ports = ?handle.ports, "takes RTP");
        Ok(Prepared { handle, task, pipeline })
    }

    /// Lets it run: the tree hears of it, and of what it takes in.
    pub(super) fn run(self, around: &Surroundings) -> Running {
        // Before the tree hears of it: the key that comes back has to find it.
        around.table.insert(self.handle.clone());
        around.tree.command(RootCommand::DefinePipeline(self.pipeline));
        let stop = around.stop.child_token();
        let task = tokio::spawn(self.task.run(ToTree(around.clone()), stop.clone()));
        Running { handle: self.handle, stop, task }
    }
}

impl Running {
    /// Ends it, its sockets first. Nothing of it comes to the tree behind the news that it is over.
    pub(super) async fn end(self, around: &Surroundings, reason: &str) {
        let (handle, stop) = (self.handle.clone(), self.stop.clone());
        stop.cancel();
        self.ended().await;
        let id = handle.id;
        around.table.remove(id);
        around.set_on_air(id, false);
        around.tree.command(RootCommand::RemovePipeline(id, reason.to_owned()));
        tracing::info!(stream = %handle.name, pipeline = %id, reason, "takes RTP no more");
    }

    /// Waits for its end.
    pub(super) async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(stream = %self.handle.name, %error, "the ingest has panicked");
        }
    }
}

impl Surroundings {
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
