//! Server-sent events (WHEP core extensions, "Server Sent Events extension"): what a session's
//! viewer is told of its stream. This is the book of sessions and streams; queues are in `queue`,
//! the requests in `handlers`.
//!
//! Whoever tells something takes the lock for a walk over the streams that there are (a few
//! thousand at most, a push each); nobody waits under it.

pub(super) mod handlers;
mod queue;
#[cfg(test)]
mod tests;

pub use queue::MAX_QUEUED;

use super::layers::{self, Line};
use crate::worker::{PipelineFigures, SessionId};
use queue::{Item, Queue};
use relay_node::http_server::Hangup;
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{PipelineId, Ssrc};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Streams of one session: a page, and the same page while it is loaded again.
pub const MAX_STREAMS_PER_SESSION: usize = 2;

/// Streams of the leaf: each may hold a connection, and half of those that the listener takes are
/// for joining and leaving.
pub const MAX_STREAMS: usize = relay_node::http_server::MAX_CONNECTIONS as usize / 2;

/// Seconds until a viewer that is sent away shall come again.
const RECONNECT_AFTER: u32 = 1;

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The stream is on air.
    Active,
    /// It is no more.
    Inactive,
    /// Its layers.
    Layers,
    /// The viewer shall join anew.
    Reconnect,
    /// How many watch.
    ViewerCount,
}

impl Kind {
    /// All, as they are announced.
    pub const ALL: [Kind; 5] =
        [Kind::Active, Kind::Inactive, Kind::Layers, Kind::Reconnect, Kind::ViewerCount];

    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Active => "active",
            Kind::Inactive => "inactive",
            Kind::Layers => "layers",
            Kind::Reconnect => "reconnect",
            Kind::ViewerCount => "viewercount",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants(u8);

impl Wants {
    /// Everything.
    pub fn all() -> Self {
        Self(Kind::ALL.into_iter().fold(0, |set, kind| set | kind.bit()))
    }

    /// By names.
    ///
    /// # Errors
    /// The first that is none.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        names.into_iter().try_fold(Self(0), |set, name| {
            let kind = Kind::ALL.into_iter().find(|k| k.name() == name).ok_or(name)?;
            Ok(Self(set.0 | kind.bit()))
        })
    }

    fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }
}

/// Why there is no new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    NoSession,
    SessionFull,
    LeafFull,
}

/// A session whose streams there may be.
#[derive(Debug)]
struct Watched {
    pipeline: PipelineId,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Stream {
    id: String,
    wants: Wants,
    queue: Arc<Queue>,
    read_before: bool,
    /// What it has been told last.
    live: bool,
    layers: String,
    viewers: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>,
    rates: HashMap<Ssrc, u64>,
    viewers: BTreeMap<PipelineId, u64>,
    sessions: HashMap<SessionId, Watched>,
    streams: HashMap<SessionId, Vec<Stream>>,
    count: usize,
    cut: u64,
}

/// The book.
#[derive(Debug, Default)]
pub struct Events(Mutex<State>);

/// Keeps a session in the book; it and its streams are out of it when this is dropped.
#[derive(Debug)]
pub struct Listed {
    events: Arc<Events>,
    id: SessionId,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.events.forget(&self.id);
    }
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins.
    pub(super) fn list(
        self: &Arc<Self>,
        id: SessionId,
        pipeline: PipelineId,
        lines: Vec<Line>,
    ) -> Listed {
        self.lock().sessions.insert(id.clone(), Watched { pipeline, lines });
        Listed { events: self.clone(), id }
    }

    fn forget(&self, id: &SessionId) {
        let mut state = self.lock();
        state.sessions.remove(id);
        let streams = state.streams.remove(id).unwrap_or_default();
        state.count -= streams.len();
        for stream in streams {
            stream.queue.finish();
        }
    }

    /// What a session plays, and its media lines.
    pub(super) fn session(&self, id: &SessionId) -> Option<(Option<PipelineDef>, Vec<Line>)> {
        let state = self.lock();
        let watched = state.sessions.get(id)?;
        Some((state.pipelines.get(&watched.pipeline).cloned(), watched.lines.clone()))
    }

    /// A new stream of a session, which begins with what holds now.
    pub(super) fn open(
        &self,
        session: &SessionId,
        id: String,
        wants: Wants,
    ) -> Result<(), Refused> {
        let mut state = self.lock();
        let state = &mut *state;
        let watched = state.sessions.get(session).ok_or(Refused::NoSession)?;
        if state.count >= MAX_STREAMS {
            return Err(Refused::LeafFull);
        }
        let streams = state.streams.entry(session.clone()).or_default();
        if streams.len() >= MAX_STREAMS_PER_SESSION {
            return Err(Refused::SessionFull);
        }
        let mut stream = Stream {
            id,
            wants,
            queue: Arc::default(),
            read_before: false,
            live: false,
            layers: String::new(),
            viewers: None,
        };
        let def = state.pipelines.get(&watched.pipeline);
        stream.tell_pipeline(def, &watched.lines, &state.rates);
        stream.tell_viewers(state.viewers.get(&watched.pipeline).copied());
        streams.push(stream);
        state.count += 1;
        Ok(())
    }

    /// A reader of a stream. One who comes again is told what holds now.
    fn read(&self, session: &SessionId, id: &str, hangup: Hangup) -> Option<(Arc<Queue>, u64)> {
        let mut state = self.lock();
        let state = &mut *state;
        let watched = state.sessions.get(session)?;
        let stream = state.streams.get_mut(session)?.iter_mut().find(|s| s.id == id)?;
        let reader = stream.queue.attach(hangup);
        if std::mem::replace(&mut stream.read_before, true) {
            let def = state.pipelines.get(&watched.pipeline);
            stream.layers.clear();
            stream.live = !def.is_some_and(|d| d.live);
            stream.viewers = None;
            stream.tell_pipeline(def, &watched.lines, &state.rates);
            stream.tell_viewers(state.viewers.get(&watched.pipeline).copied());
        }
        Some((stream.queue.clone(), reader))
    }

    /// Whether there is such a stream.
    pub(super) fn has(&self, session: &SessionId, id: &str) -> bool {
        self.lock().streams.get(session).is_some_and(|all| all.iter().any(|s| s.id == id))
    }

    /// Destroys a stream; `false` if there is none of that name.
    pub(super) fn close(&self, session: &SessionId, id: &str) -> bool {
        let mut state = self.lock();
        let Some(all) = state.streams.get_mut(session) else { return false };
        let Some(at) = all.iter().position(|s| s.id == id) else { return false };
        all.swap_remove(at).queue.destroy();
        if all.is_empty() {
            state.streams.remove(session);
        }
        state.count -= 1;
        true
    }

    /// The pipelines have changed.
    pub(crate) fn set_pipelines(&self, pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>) {
        let mut state = self.lock();
        state.pipelines = pipelines;
        state.tell(|state, watched, stream| {
            let def = state.pipelines.get(&watched.pipeline);
            stream.tell_pipeline(def, &watched.lines, &state.rates)
        });
    }

    /// What each layer brings now, in bits per second, and how many watch each pipeline. Comes
    /// once a second, which is how often a stream hears of viewers at most.
    pub(crate) fn set_figures(&self, rates: HashMap<Ssrc, u64>, figures: &[PipelineFigures]) {
        let mut state = self.lock();
        state.rates = rates;
        state.viewers = figures.iter().map(|f| (f.pipeline, f.viewers)).collect();
        state.tell(|state, watched, stream| {
            let def = state.pipelines.get(&watched.pipeline);
            stream.tell_viewers(state.viewers.get(&watched.pipeline).copied())
                && stream.tell_pipeline(def, &watched.lines, &state.rates)
        });
    }

    /// All viewers shall join anew: the leaf leaves. Without a URL that is where they came from
    /// first, the root, which knows another leaf.
    pub(crate) fn reconnect(&self) {
        let data = format!("{{\"retryAfter\":{RECONNECT_AFTER}}}");
        self.lock().tell(|_, _, stream| stream.tell(Kind::Reconnect, || data.clone()));
    }

    /// Events that wait in the fullest stream.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        let state = self.lock();
        state.streams.values().flatten().map(|s| s.queue.len()).max().unwrap_or_default()
    }

    /// Streams that there are, and how many were cut because nobody read them.
    pub fn counts(&self) -> (usize, u64) {
        let state = self.lock();
        (state.count, state.cut)
    }
}

impl State {
    /// Lets `what` tell each stream something; those that it says are over are out.
    fn tell(&mut self, what: impl Fn(&State, &Watched, &mut Stream) -> bool) {
        let mut streams = std::mem::take(&mut self.streams);
        let before: usize = streams.values().map(Vec::len).sum();
        streams.retain(|id, all| {
            let Some(watched) = self.sessions.get(id) else { return false };
            all.retain_mut(|stream| what(self, watched, stream));
            !all.is_empty()
        });
        let after: usize = streams.values().map(Vec::len).sum();
        self.streams = streams;
        self.count = after;
        self.cut += (before - after) as u64;
    }
}

/// Each says whether the stream goes on.
impl Stream {
    fn tell(&self, kind: Kind, data: impl FnOnce() -> String) -> bool {
        !self.wants.has(kind) || self.queue.push(Item { kind, data: data() })
    }

    /// On air or not, and the layers, if that is news. A stream that has been told nothing yet
    /// hears nothing of a pipeline that is not on air (the text forbids a first `inactive`).
    fn tell_pipeline(
        &mut self,
        def: Option<&PipelineDef>,
        lines: &[Line],
        rates: &HashMap<Ssrc, u64>,
    ) -> bool {
        let mut goes_on = true;
        let live = def.is_some_and(|d| d.live);
        if std::mem::replace(&mut self.live, live) != live {
            let kind = if live { Kind::Active } else { Kind::Inactive };
            goes_on &= self.tell(kind, || "{}".to_owned());
        }
        if let Some(def) = def {
            let key = layers::key(def, lines, rates);
            if key != self.layers {
                self.layers = key;
                goes_on &= self.tell(Kind::Layers, || layers::describe(def, lines, rates));
            }
        }
        goes_on
    }

    fn tell_viewers(&mut self, viewers: Option<u64>) -> bool {
        if viewers.is_none() || self.viewers == viewers {
            return true;
        }
        self.viewers = viewers;
        let n = viewers.unwrap_or_default();
        self.tell(Kind::ViewerCount, || format!("{{\"viewercount\":{n}}}"))
    }
}
