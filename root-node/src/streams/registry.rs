//! All streams of this root, those that run and those that do not, and what changes them. One change
//! is made at a time and goes on to its end, whatever becomes of who asked for it.

mod changes;
mod mend;

use super::ports::Ports;
use super::run::{Prepared, Running, Surroundings};
use super::source::{self, SourceDefinition, SourceRequest};
use super::{Definition, Refused};
use crate::config::{IngestSection, MAX_STREAMS, SourceSection, StreamSection};
use crate::core::api::RootView;
use crate::ingest::driver::IngestHandle;
use crate::ladder::status::LadderStatus;
use crate::sources::metrics::Row;
use crate::store::{Defined, Store};
use soleil_protocol::{Millis, PipelineId};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Mutex, watch};

/// Who has defined a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The root's configuration.
    Configuration,
    /// An operator, through the API.
    Api,
}

/// What a stream does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It takes in what comes.
    Running,
    /// It was stopped, or not started yet.
    Stopped,
    /// It shall run, and can't.
    Failed(String),
}

/// A stream as others may know it.
#[derive(Debug, Clone)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: PipelineId,
    /// Who has defined it.
    pub origin: Origin,
    /// What it does.
    pub state: State,
    /// What it is.
    pub definition: Definition,
    /// When it was defined by the API.
    pub created: Option<Millis>,
    /// Its ingest, while it runs.
    pub ingest: Option<IngestHandle>,
    /// Its ladder, while it runs.
    pub ladder: Option<Arc<LadderStatus>>,
    /// Its sources, while it runs.
    pub sources: Option<Row>,
}

struct Entry {
    id: PipelineId,
    origin: Origin,
    definition: Definition,
    /// Those of the configuration, with their secrets.
    sources: Vec<SourceSection>,
    created: Option<Millis>,
    state: State,
    running: Option<Running>,
}

/// The streams.
pub struct Registry {
    store: Arc<Store>,
    around: Surroundings,
    view: watch::Receiver<Arc<RootView>>,
    bind: IpAddr,
    files: Option<PathBuf>,
    entries: RwLock<BTreeMap<String, Entry>>,
    /// Held through a change; where the search for ports stands.
    changing: Mutex<Ports>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("store", &self.store).finish_non_exhaustive()
    }
}

/// What there is at the root's start: the streams of the configuration, bound, and those that the
/// store has.
pub struct Known {
    /// Of the configuration.
    pub configured: Vec<(StreamSection, Prepared)>,
    stored: Vec<Defined>,
}

impl Registry {
    /// Binds the streams of the configuration and reads those that the store has.
    ///
    /// # Errors
    /// If one can't be bound, or the store can't be used.
    pub fn prepare(
        store: &Store,
        clock: relay_node::clock::Clock,
        sections: &[StreamSection],
    ) -> Result<Known, Refused> {
        // Numbers that the configuration names come first: no other stream may be given one of them.
        let mut ids: BTreeMap<&str, PipelineId> = BTreeMap::new();
        let mut ordered: Vec<_> = sections.iter().collect();
        ordered.sort_by_key(|s| s.id.is_none());
        for section in ordered {
            ids.insert(&section.name, store.stream_id(&section.name, section.id)?);
        }
        let definitions = || sections.iter().map(|s| (s, Definition::of(s)));
        let all: Vec<SocketAddr> = definitions().flat_map(|(_, d)| d.addresses()).collect();
        let stored = store.defined_streams()?;
        let configured = definitions()
            .map(|(section, definition)| {
                let name = section.name.as_str();
                let id = ids.get(name).copied().unwrap_or_default();
                let sources = &section.source;
                let ready = Prepared::new(store, clock, name, id, &definition, &all, sources)?;
                Ok((section.clone(), ready))
            })
            .collect::<Result<_, Refused>>()?;
        Ok(Known { configured, stored })
    }

    /// Lets the streams of the configuration run, and those that the store has and that shall run.
    /// One of the latter that can't is kept, and says why.
    ///
    /// # Errors
    /// If the store can't be used.
    pub fn start(
        store: Arc<Store>,
        around: Surroundings,
        view: watch::Receiver<Arc<RootView>>,
        ingest: IngestSection,
        known: Known,
    ) -> Result<Registry, Refused> {
        let mut entries = BTreeMap::new();
        for (section, prepared) in known.configured {
            let definition = Definition::of(&section);
            let running = prepared.run(&around);
            let entry = Entry {
                id: running.handle.id,
                origin: Origin::Configuration,
                definition,
                sources: section.source,
                created: None,
                state: State::Running,
                running: Some(running),
            };
            entries.insert(section.name, entry);
        }
        for stored in known.stored {
            let name = stored.name;
            if entries.contains_key(&name) {
                tracing::warn!(stream = %name, "defined by the API as well as by the configuration, which counts");
                continue;
            }
            let mut entry = Entry {
                id: store.stream_id(&name, None)?,
                origin: Origin::Api,
                definition: stored.definition,
                sources: Vec::new(),
                created: Some(stored.created),
                state: State::Stopped,
                running: None,
            };
            if stored.started {
                let full = Refused::Full(MAX_STREAMS);
                let room = (entries.len() < MAX_STREAMS).then_some(()).ok_or(full);
                let others = addresses(&entries);
                let definition = &entry.definition;
                let sources =
                    || source::open(&store, ingest.files.as_deref(), &name, &definition.sources);
                let ready = room
                    .and_then(|()| definition.check(&name))
                    .and_then(|()| sources())
                    .and_then(|sources| {
                        let (clock, id) = (around.clock, entry.id);
                        Prepared::new(&store, clock, &name, id, definition, &others, &sources)
                    });
                match ready {
                    Ok(ready) => entry.started(ready.run(&around)),
                    Err(refused) => {
                        tracing::error!(stream = %name, error = %refused, "can't start a stream");
                        entry.state = State::Failed(refused.to_string());
                    }
                }
            }
            entries.insert(name, entry);
        }
        let changing = Mutex::new(Ports::new(ingest.ports));
        let (entries, bind, files) = (RwLock::new(entries), ingest.bind, ingest.files);
        Ok(Registry { store, around, view, bind, files, entries, changing })
    }

    /// The address that a stream listens on whose operator names none.
    pub fn bind(&self) -> IpAddr {
        self.bind
    }

    /// Sources that an operator asks for, checked and as they are kept.
    ///
    /// # Errors
    /// What makes no sense.
    pub async fn resolve_sources(
        &self,
        name: &str,
        requests: Vec<SourceRequest>,
    ) -> Result<Vec<SourceDefinition>, Refused> {
        let (store, files, name) = (self.store.clone(), self.files.clone(), name.to_owned());
        let work = move || source::resolve(&store, files.as_deref(), &name, &requests);
        changes::blocking(work).await
    }

    /// Every stream, by name.
    pub fn list(&self) -> Vec<Info> {
        self.read().iter().map(|(name, entry)| self.info(name, entry)).collect()
    }

    /// One stream.
    pub fn get(&self, name: &str) -> Option<Info> {
        self.read().get(name).map(|entry| self.info(name, entry))
    }

    /// Defines a stream and, if wanted, starts it. Layers with port 0 get one.
    ///
    /// # Errors
    /// Why not; nothing is kept then.
    pub async fn define(
        self: &Arc<Self>,
        name: String,
        definition: Definition,
        start: bool,
    ) -> Result<Info, Refused> {
        self.whole(|this| async move { this.define_now(&name, definition, start).await }).await
    }

    /// Changes a stream's label or tracks, the latter only while it does not run.
    ///
    /// # Errors
    /// Why not; nothing is changed then.
    pub async fn change(
        self: &Arc<Self>,
        name: String,
        change: impl FnOnce(&mut Definition) + Send + 'static,
    ) -> Result<Info, Refused> {
        self.whole(|this| async move { this.change_now(&name, change).await }).await
    }

    /// Starts a stream. One that runs goes on.
    ///
    /// # Errors
    /// Why not.
    pub async fn begin(self: &Arc<Self>, name: String) -> Result<Info, Refused> {
        self.whole(|this| async move { this.begin_now(&name).await }).await
    }

    /// Stops a stream: its ports are closed, its viewers' sessions end, and it does not start with the
    /// root. One that is stopped stays so.
    ///
    /// # Errors
    /// Why not.
    pub async fn stop(self: &Arc<Self>, name: String) -> Result<Info, Refused> {
        self.whole(|this| async move { this.stop_now(&name).await }).await
    }

    /// Stops a stream and forgets it, with its number and its publish tokens.
    ///
    /// # Errors
    /// Why not.
    pub async fn remove(self: &Arc<Self>, name: String) -> Result<(), Refused> {
        self.whole(|this| async move { this.remove_now(&name).await }).await
    }

    /// Waits for the end of all ingests, behind the root's.
    pub async fn ended(&self) {
        let running: Vec<Running> =
            self.write().values_mut().filter_map(|entry| entry.running.take()).collect();
        for running in running {
            running.ended().await;
        }
    }

    /// Makes a change in a task of its own: a client that hangs up does not leave it half made.
    async fn whole<T, F, C>(self: &Arc<Self>, change: C) -> Result<T, Refused>
    where
        T: Send + 'static,
        C: FnOnce(Arc<Self>) -> F,
        F: Future<Output = Result<T, Refused>> + Send + 'static,
    {
        tokio::spawn(change(self.clone())).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a change of a stream has panicked");
            Err(Refused::Busy)
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        // Entries are whole after every statement: a panic elsewhere leaves nothing half done.
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn info(&self, name: &str, entry: &Entry) -> Info {
        let failure = entry.running.as_ref().and_then(Running::failure);
        let state =
            failure.map_or_else(|| entry.state.clone(), |why| State::Failed(why.to_owned()));
        let runs = entry.running.as_ref().filter(|_| failure.is_none());
        Info {
            name: name.to_owned(),
            id: entry.id,
            origin: entry.origin,
            state,
            definition: entry.definition.clone(),
            created: entry.created,
            ingest: runs.map(|running| running.handle.clone()),
            ladder: self.around.ladders.get(entry.id),
            sources: self.around.sources.get(entry.id),
        }
    }

    fn update<T>(&self, name: &str, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.write().get_mut(name).map(change)
    }
}

impl Entry {
    fn started(&mut self, running: Running) {
        self.state = State::Running;
        self.running = Some(running);
    }
}

fn addresses<'a>(entries: impl IntoIterator<Item = (&'a String, &'a Entry)>) -> Vec<SocketAddr> {
    entries.into_iter().flat_map(|(_, e)| e.definition.addresses()).collect()
}
