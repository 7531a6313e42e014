//! The changes themselves, one at a time: the store first or last, as it must be to be right again after
//! a crash, and the tree in between.

use super::super::ports::Ports;
use super::super::run::Prepared;
use super::super::{Definition, Refused, source};
use super::{Entry, Info, Origin, Registry, State, addresses};
use crate::config::{MAX_STREAMS, legal_name};
use crate::core::api::RootView;
use crate::ladder::budget::Cores;
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// How long the tree's core may take to do what it was told and to show it: it shows a tree of 10,000
/// nodes every half second.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// Why a stream ends that has hardly begun.
const NOT_STARTED: &str = "it could not be started";

impl Registry {
    pub(super) async fn define_now(
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
            sources: Vec::new(),
            created: Some(now.millis()),
            state: State::Stopped,
            running: None,
        };
        self.write().insert(name.to_owned(), entry);
        tracing::info!(stream = %name, pipeline = %id, "is defined");
        if start && let Err(refused) = self.run(name).await {
            // What can't be started as it is wanted is not defined at all.
            let own = name.to_owned();
            let ended = self.end(name, NOT_STARTED).await;
            self.stored(move |s| s.remove_stream(&own)).await?;
            self.write().remove(name);
            return Err(ended.err().unwrap_or(refused));
        }
        self.get(name).ok_or(Refused::Unknown)
    }

    pub(super) async fn change_now(
        self: &Arc<Self>,
        name: &str,
        change: impl FnOnce(&mut Definition) + Send,
    ) -> Result<Info, Refused> {
        let mut ports = self.changing.lock().await;
        let before = self.own(name)?;
        let mut definition = before.definition.clone();
        change(&mut definition);
        let other = |of: &Definition| (of.tracks.clone(), of.sources.clone());
        if other(&definition) != other(&before.definition) {
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

    pub(super) async fn begin_now(self: &Arc<Self>, name: &str) -> Result<Info, Refused> {
        let _changing = self.changing.lock().await;
        if self.own(name)?.ingest.is_none() {
            // Of an ingest that has failed the tree may not have heard yet.
            if self.update(name, |entry| entry.running.is_some()) == Some(true) {
                self.end(name, NOT_STARTED).await?;
            }
            // The store first: whatever ends this in the middle, what runs is what starts with the root.
            let own = name.to_owned();
            let before = self.stored(move |s| s.set_started(&own, true)).await?;
            if let Err(refused) = self.run(name).await {
                let runs = self.own(name)?.ingest.is_some();
                let ended = if runs { self.end(name, NOT_STARTED).await } else { Ok(()) };
                let own = name.to_owned();
                self.stored(move |s| s.set_started(&own, before)).await?;
                return Err(ended.err().unwrap_or(refused));
            }
        }
        self.get(name).ok_or(Refused::Unknown)
    }

    pub(super) async fn stop_now(self: &Arc<Self>, name: &str) -> Result<Info, Refused> {
        let _changing = self.changing.lock().await;
        self.own(name)?;
        // The store first: a stream that an operator has stopped does not come back by itself.
        let own = name.to_owned();
        self.stored(move |s| s.set_started(&own, false)).await?;
        self.end(name, "the stream was stopped").await?;
        self.get(name).ok_or(Refused::Unknown)
    }

    pub(super) async fn remove_now(self: &Arc<Self>, name: &str) -> Result<(), Refused> {
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
        let left = others().try_fold(self.around.cores, |left, (_, e)| {
            e.definition.check_cores(Cores::ALL).map(|taken| left.without(taken))
        })?;
        definition.check_cores(left)?;
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
    pub(super) async fn run(self: &Arc<Self>, name: &str) -> Result<(), Refused> {
        let info = self.get(name).ok_or(Refused::Unknown)?;
        let (others, configured) = {
            let entries = self.read();
            let others = addresses(entries.iter().filter(|(other, _)| *other != name));
            (others, entries.get(name).map(|entry| entry.sources.clone()).unwrap_or_default())
        };
        let (store, clock, files) = (self.store.clone(), self.around.clock, self.files.clone());
        let own = name.to_owned();
        let ready = blocking(move || {
            let definition = &info.definition;
            let sources = match info.origin {
                Origin::Configuration => configured,
                Origin::Api => source::open(&store, files.as_deref(), &own, &definition.sources)?,
            };
            Prepared::new(&store, clock, &own, info.id, definition, &others, &sources)
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
        self.end_as(name, State::Stopped, reason).await
    }

    /// Likewise, and says what the stream does from now on.
    pub(super) async fn end_as(
        &self,
        name: &str,
        state: State,
        reason: &str,
    ) -> Result<(), Refused> {
        let running = self.update(name, |entry| {
            entry.state = state;
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
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refused> {
        let store = self.store.clone();
        blocking(move || work(&store).map_err(Refused::Store)).await
    }
}

/// The disk and the system's calls for sockets don't hold tokio's threads up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    // It binds sockets for this runtime, which `spawn_blocking` lets it know.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work on a stream has panicked");
        Err(Refused::Busy)
    })
}
