//! All streams of this root, those that run and those that do not, and what changes them. One change
//! is made at a time and goes on to its end, whatever becomes of who asked for it.

use super::ports::Ports;
use super::run::{Prepared, Running, Surroundings};
use super::{Definition, Refused};
use crate::config::{IngestSection, MAX_STREAMS, StreamSection, legal_name};
use crate::core::api::RootView;
use crate::ingest::driver::IngestHandle;
use crate::store::{Defined, Store};
use soleil_protocol::{Millis, PipelineId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// How long the tree's core may take to do what it was told and to show it: it shows a tree of 10,000
/// nodes every half second.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

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
}

struct Entry {
    id: PipelineId,
    origin: Origin,
    definition: Definition,
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
                let ready = Prepared::new(store, clock, name, id, &definition, &all)?;
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
                created: Some(stored.created),
                state: State::Stopped,
                running: None,
            };
            if stored.started {
                let full = Refused::Full(MAX_STREAMS);
                let room = (entries.len() < MAX_STREAMS).then_some(()).ok_or(full);
                let others = addresses(&entries);
                let ready = room.and_then(|()| entry.definition.check(&name)).and_then(|()| {
                    Prepared::new(&store, around.clock, &name, entry.id, &entry.definition, &others)
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
        let (entries, bind) = (RwLock::new(entries), ingest.bind);
        Ok(Registry { store, around, view, bind, entries, changing })
    }

    /// The address that a stream listens on whose operator names none.
    pub fn bind(&self) -> IpAddr {
        self.bind
    }

    /// Every stream, by name.
    pub fn list(&self) -> Vec<Info> {
        self.read().iter().map(|(name, entry)| entry.info(name)).collect()
    }

    /// One stream.
    pub fn get(&self, name: &str) -> Option<Info> {
        self.read().get(name).map(|entry| entry.info(name))
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

    async fn define_now(
        self: &Arc<Self>,
        name: &str,
        mut definition: Definition,
        start: bool,
    ) -> Result<Info, Refused> {
        let mut ports = self.changing.lock().await;
        legal_name(name).map_err(Refused::Invalid)?;
        match self.read().get(name) {
            Some(entry) if entry.origin == Origin::Configuration => {
                return Err(Refused::Configured(name.to_owned()));
            }
            Some(_) => return Err(Refused::Exists(name.to_owned())),
            None => {}
        }
        if self.read().len() >= MAX_STREAMS {
            return Err(Refused::Full(MAX_STREAMS));
        }
        self.settle_ports(&mut ports, name, &mut definition)?;
        let now = self.around.clock.now().wall;
        let (own, kept) = (name.to_owned(), definition.clone());
        let id = self.stored(move |s| s.define_stream(now, &own, &kept, start)).await?;
        let entry = Entry {
            id,
            origin: Origin::Api,
            definition,
            created: Some(now.millis()),
            state: State::Stopped,
            running: None,
        };
        self.write().insert(name.to_owned(), entry);
        tracing::info!(stream = %name, pipeline = %id, "is defined");
        if start && let Err(refused) = self.run(name).await {
            // What can't be started as it is wanted is not defined at all.
            let own = name.to_owned();
            let ended = self.end(name, "it could not be started").await;
            self.stored(move |s| s.remove_stream(&own)).await?;
            self.write().remove(name);
            return Err(ended.err().unwrap_or(refused));
        }
        self.get(name).ok_or(Refused::Unknown)
    }

    async fn change_now(
        self: &Arc<Self>,
        name: &str,
        change: impl FnOnce(&mut Definition) + Send,
    ) -> Result<Info, Refused> {
        let mut ports = self.changing.lock().await;
        let before = self.own(name)?;
        let mut definition = before.definition.clone();
        change(&mut definition);
        if definition.tracks != before.definition.tracks {
            if before.ingest.is_some() {
                return Err(Refused::Running(name.to_owned()));
            }
            self.settle_ports(&mut ports, name, &mut definition)?;
        }
        definition.check(name)?;
        let renumber = !definition.continues(&before.definition);
        let (own, kept) = (name.to_owned(), definition.clone());
        let id = self.stored(move |s| s.change_stream(&own, &kept, renumber)).await?;
        self.update(name, |entry| {
            entry.id = id;
            entry.definition = definition;
        });
        self.get(name).ok_or(Refused::Unknown)
    }

    async fn begin_now(self: &Arc<Self>, name: &str) -> Result<Info, Refused> {
        let _changing = self.changing.lock().await;
        if self.own(name)?.ingest.is_none() {
            self.run(name).await?;
            let own = name.to_owned();
            self.stored(move |s| s.set_started(&own, true)).await?;
        }
        self.get(name).ok_or(Refused::Unknown)
    }

    async fn stop_now(self: &Arc<Self>, name: &str) -> Result<Info, Refused> {
        let _changing = self.changing.lock().await;
        self.own(name)?;
        // The store first: a stream that an operator has stopped does not come back by itself.
        let own = name.to_owned();
        self.stored(move |s| s.set_started(&own, false)).await?;
        self.end(name, "the stream was stopped").await?;
        self.get(name).ok_or(Refused::Unknown)
    }

    async fn remove_now(self: &Arc<Self>, name: &str) -> Result<(), Refused> {
        let _changing = self.changing.lock().await;
        self.own(name)?;
        let own = name.to_owned();
        self.stored(move |s| s.remove_stream(&own)).await?;
        let ended = self.end(name, "the stream was removed").await;
        self.write().remove(name);
        ended
    }

    /// A stream that the API may change.
    fn own(&self, name: &str) -> Result<Info, Refused> {
        let info = self.get(name).ok_or(Refused::Unknown)?;
        match info.origin {
            Origin::Api => Ok(info),
            Origin::Configuration => Err(Refused::Configured(name.to_owned())),
        }
    }

    /// Gives ports where they are missing, and checks that no other stream has one of them.
    fn settle_ports(
        &self,
        ports: &mut Ports,
        name: &str,
        definition: &mut Definition,
    ) -> Result<(), Refused> {
        let entries = self.read();
        let others = || entries.iter().filter(|(other, _)| *other != name);
        let theirs = others().flat_map(|(_, e)| e.definition.addresses());
        let mine = definition.addresses().into_iter().filter(|a| a.port() != 0);
        let mut taken: BTreeSet<u16> =
            theirs.chain(mine).flat_map(|a| [a.port(), a.port().saturating_add(1)]).collect();
        let range = ports.range();
        definition.fill_ports(&mut |bind| {
            let mut free = |port| UdpSocket::bind(SocketAddr::new(bind, port)).is_ok();
            let port = ports.take(&taken, &mut free).ok_or_else(|| {
                Refused::Ports(format!("no two ports are free in ingest.ports, {range}"))
            })?;
            taken.extend([port, port + 1]);
            Ok(port)
        })?;
        definition.check(name)?;
        for address in definition.addresses() {
            let clash = |other: SocketAddr| {
                let any = |ip: IpAddr| ip.is_unspecified();
                let met = other.ip() == address.ip() || any(other.ip()) || any(address.ip());
                other.port() == address.port() && met
            };
            let owner = others().find(|(_, e)| e.definition.addresses().into_iter().any(clash));
            if let Some((owner, _)) = owner {
                let text = format!("UDP port {} is that of stream {owner:?}", address.port());
                return Err(Refused::Ports(text));
            }
        }
        Ok(())
    }

    /// Starts the ingest and waits until the tree has the stream.
    async fn run(self: &Arc<Self>, name: &str) -> Result<(), Refused> {
        let info = self.own(name)?;
        let others = {
            let entries = self.read();
            addresses(entries.iter().filter(|(other, _)| *other != name))
        };
        let (store, clock) = (self.store.clone(), self.around.clock);
        let own = name.to_owned();
        let ready = blocking(move || {
            Prepared::new(&store, clock, &own, info.id, &info.definition, &others)
        });
        let running = match ready.await {
            Ok(ready) => ready.run(&self.around),
            Err(refused) => {
                self.update(name, |entry| entry.state = State::Failed(refused.to_string()));
                return Err(refused);
            }
        };
        self.update(name, |entry| entry.started(running));
        self.settled(|view| view.pipelines.iter().any(|p| p.def.id == info.id)).await
    }

    /// Ends the ingest, if it runs, and waits until the tree has forgotten the stream.
    async fn end(&self, name: &str, reason: &str) -> Result<(), Refused> {
        let running = self.update(name, |entry| {
            entry.state = State::Stopped;
            entry.running.take()
        });
        let Some(running) = running.flatten() else { return Ok(()) };
        let id = running.handle.id;
        running.end(&self.around, reason).await;
        self.settled(|view| view.pipelines.iter().all(|p| p.def.id != id)).await
    }

    /// Waits until the tree shows that it has done what it was told. A key of an ingest that was
    /// stopped is then no longer on its way, and can't reach the next one.
    async fn settled(&self, done: impl Fn(&RootView) -> bool) -> Result<(), Refused> {
        let mut view = self.view.clone();
        let shown = view.wait_for(|view| done(view));
        match tokio::time::timeout(SETTLED_WITHIN, shown).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Refused::Busy),
        }
    }

    async fn stored<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, crate::store::StoreError> + Send + 'static,
    ) -> Result<T, Refused> {
        let store = self.store.clone();
        blocking(move || work(&store).map_err(Refused::Store)).await
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        // Entries are whole after every statement: a panic elsewhere leaves nothing half done.
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, name: &str, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.write().get_mut(name).map(change)
    }
}

impl Entry {
    fn info(&self, name: &str) -> Info {
        Info {
            name: name.to_owned(),
            id: self.id,
            origin: self.origin,
            state: self.state.clone(),
            definition: self.definition.clone(),
            created: self.created,
            ingest: self.running.as_ref().map(|running| running.handle.clone()),
        }
    }

    fn started(&mut self, running: Running) {
        self.state = State::Running;
        self.running = Some(running);
    }
}

fn addresses<'a>(entries: impl IntoIterator<Item = (&'a String, &'a Entry)>) -> Vec<SocketAddr> {
    entries.into_iter().flat_map(|(_, e)| e.definition.addresses()).collect()
}

/// The disk and the system's calls for sockets don't hold tokio's threads up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    // It binds sockets for this runtime, which `spawn_blocking` lets it know.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work on a stream has panicked");
        Err(Refused::Busy)
    })
}
