//! Server-sent events (WHEP core extensions, "Server Sent Events extension"): what a session's
//! viewer is told of its stream. This is the book of sessions and streams; queues are in `queue`,
//! the requests in `handlers`.
//!
//! Whoever tells something takes the lock for a walk over the streams that there are (a few
//! thousand at most, a push each); nobody waits under it. The viewer thread takes it as well when a
//! session ends, so what is the same for all streams of a pipeline is worked out once.

pub(super) mod handlers;
mod queue;
#[cfg(test)]
mod tests;

pub use queue::MAX_QUEUED;

use super::layers::{self, Line};
use crate::worker::{PipelineFigures, SessionId};
use queue::{Item, Queue};
use relay_node::http_server::Hangup;
use soleil_protocol::pipeline::{MediaKind, PipelineDef};
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
    layers: Option<Arc<str>>,
    viewers: Option<u64>,
}

/// What holds now.
#[derive(Debug, Default)]
struct Known {
    pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>,
    rates: HashMap<Ssrc, u64>,
    viewers: BTreeMap<PipelineId, u64>,
    /// Of each pipeline, what of its layers is news when it changes.
    keys: BTreeMap<PipelineId, Arc<str>>,
}

#[derive(Debug, Default)]
struct State {
    known: Known,
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
        Some((state.known.pipelines.get(&watched.pipeline).cloned(), watched.lines.clone()))
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
            layers: None,
            viewers: None,
        };
        state.known.tell_pipeline(watched, &mut stream);
        state.known.tell_viewers(watched, &mut stream);
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
            stream.layers = None;
            stream.live = !state.known.live(watched);
            stream.viewers = None;
            state.known.tell_pipeline(watched, stream);
            state.known.tell_viewers(watched, stream);
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
        state.known.pipelines = pipelines;
        state.known.make_keys();
        state.tell(Known::tell_pipeline);
    }

    /// What each layer brings now, in bits per second, and how many watch each pipeline. Comes
    /// once a second, which is how often a stream hears of viewers at most.
    pub(crate) fn set_figures(&self, rates: HashMap<Ssrc, u64>, figures: &[PipelineFigures]) {
        let mut state = self.lock();
        state.known.rates = rates;
        state.known.viewers = figures.iter().map(|f| (f.pipeline, f.viewers)).collect();
        state.known.make_keys();
        state.tell(|known, watched, stream| {
            known.tell_viewers(watched, stream) && known.tell_pipeline(watched, stream)
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
    fn tell(&mut self, what: impl Fn(&Known, &Watched, &mut Stream) -> bool) {
        let mut streams = std::mem::take(&mut self.streams);
        let before: usize = streams.values().map(Vec::len).sum();
        streams.retain(|id, all| {
            let Some(watched) = self.sessions.get(id) else { return false };
            all.retain_mut(|stream| what(&self.known, watched, stream));
            !all.is_empty()
        });
        let after: usize = streams.values().map(Vec::len).sum();
        self.streams = streams;
        self.count = after;
        self.cut += (before - after) as u64;
    }
}

/// What tells a stream something says whether the stream goes on.
impl Known {
    fn make_keys(&mut self) {
        let key = |(id, def): (&PipelineId, _)| (*id, layers::key(def, &self.rates).into());
        self.keys = self.pipelines.iter().map(key).collect();
    }

    fn live(&self, watched: &Watched) -> bool {
        self.pipelines.get(&watched.pipeline).is_some_and(|d| d.live)
    }

    /// On air or not, and the layers, if that is news. A stream that has been told nothing yet
    /// hears nothing of a pipeline that is not on air (the text forbids a first `inactive`).
    fn tell_pipeline(&self, watched: &Watched, stream: &mut Stream) -> bool {
        let mut goes_on = true;
        let live = self.live(watched);
        if std::mem::replace(&mut stream.live, live) != live {
            let kind = if live { Kind::Active } else { Kind::Inactive };
            goes_on &= stream.tell(kind, || "{}".to_owned());
        }
        let (def, key) = (self.pipelines.get(&watched.pipeline), self.keys.get(&watched.pipeline));
        if let Some(def) = def
            && stream.layers.as_ref() != key
            && watched.lines.iter().any(|l| l.kind == MediaKind::Video)
        {
            stream.layers = key.cloned();
            goes_on &=
                stream.tell(Kind::Layers, || layers::describe(def, &watched.lines, &self.rates));
        }
        goes_on
    }

    fn tell_viewers(&self, watched: &Watched, stream: &mut Stream) -> bool {
        let Some(viewers) = self.viewers.get(&watched.pipeline).copied() else { return true };
        if stream.viewers.replace(viewers) == Some(viewers) {
            return true;
        }
        stream.tell(Kind::ViewerCount, || format!("{{\"viewercount\":{viewers}}}"))
    }
}

impl Stream {
    fn tell(&self, kind: Kind, data: impl FnOnce() -> String) -> bool {
        !self.wants.has(kind) || self.queue.push(Item { kind, data: data() })
    }
}
