//! One stream's ingest: all its ports, the clock shift that they share, and whether it is on air.
//! Pure (DESIGN 2); the sockets are in `driver`.

mod ways;

use super::choice::Via;
use super::clock::ClockShift;
use super::layer::{LayerIngest, LayerSeed, LayerSpec, LayerStart, Packet, Port};
use super::reason::{Counters, DropReason};
use super::redefine::Pace;
use super::source::{FeedId, Source, ToSender};
use soleil_protocol::pipeline::{Codec, Layer, PipelineDef, Track};
use soleil_protocol::{Mono, Now, PacketIndex, PipelineId, Ssrc};
use std::ops::Range;
use std::time::Duration;
use ways::{Hold, Ways};

/// A stream without packets on any port for this long is off air: new viewers are told to come
/// back. Longer than the lock on a port, so that an encoder may restart without that.
pub const OFF_AIR_AFTER: Duration = Duration::from_secs(5);

/// A source within this process that has had nothing for so long may be replaced by another: as long as
/// viewers see the last picture of one that has gone without a word. It is the time of
/// [`OFF_AIR_AFTER`], counted from the claim for one that has not begun: nobody on air is replaced.
pub const REPLACED_AFTER: Duration = Duration::from_secs(5);

/// A track and how many layers it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSpec {
    /// Short name, unique in the stream.
    pub name: String,
    /// The codec.
    pub codec: Codec,
    /// The payload type, in and out.
    pub payload_type: u8,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Audio channels (0 for video).
    pub channels: u8,
    /// Codec parameters as in an SDP `fmtp` line.
    pub fmtp: String,
    /// Layers that come in, best first: one port each.
    pub layers: usize,
    /// Layers below them that the root makes out of the first one (`ladder`).
    pub made: usize,
}

impl TrackSpec {
    /// All its layers.
    pub fn all_layers(&self) -> usize {
        self.layers + self.made
    }
}

/// Layers that are made out of another one, numbered through all tracks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Out of which.
    pub of: usize,
    /// Which.
    pub layers: Range<usize>,
}

/// What the core tells its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// The stream has come on air, or gone.
    Live(bool),
    /// The definition has changed: the source has shown its size, profile or layers.
    Defined(PipelineDef),
    /// A layer goes on to use indexes up to this one, which must be in the store before they are
    /// used up: a later start goes on above them.
    Reserve(Ssrc, PacketIndex),
}

/// One stream's ingest.
#[derive(Debug)]
pub struct StreamIngest {
    id: PipelineId,
    name: String,
    tracks: Vec<TrackSpec>,
    /// Flat: the layers of the first track, then those of the next.
    layers: Vec<LayerIngest>,
    shift: ClockShift,
    live: bool,
    heard: Option<Mono>,
    /// The one source that may send, if it is within this process: all ports are kept for it.
    feed: Option<Hold>,
    /// Which layers are not sent in, and who makes them: nobody else may send those.
    made: Vec<Made>,
    maker: Option<FeedId>,
    /// If there are several ways to come in.
    ways: Option<Ways>,
    defined: PipelineDef,
    pace: Pace,
    /// The definition has changed, and may not be told yet.
    untold: bool,
    events: std::collections::VecDeque<StreamEvent>,
}

impl StreamIngest {
    /// A stream that is off air. `start` gives what each layer of a track begins with, by its
    /// number within the track; `random` gives numbers that nobody can guess.
    ///
    /// # Errors
    /// What `start` fails with.
    pub fn new<E>(
        id: PipelineId,
        name: &str,
        tracks: Vec<TrackSpec>,
        limit: usize,
        start: &mut dyn FnMut(&TrackSpec, usize) -> Result<LayerStart, E>,
        random: &mut dyn FnMut() -> u32,
    ) -> Result<Self, E> {
        let mut layers = Vec::new();
        let mut made = Vec::new();
        for track in &tracks {
            let first = layers.len();
            if track.made > 0 {
                let own = first + track.layers;
                made.push(Made { of: first, layers: own..own + track.made });
            }
            for number in 0..track.all_layers() {
                let start = start(track, number)?;
                let spec = LayerSpec {
                    ssrc: start.ssrc,
                    codec: track.codec,
                    payload_type: track.payload_type,
                    clock_rate: track.clock_rate,
                    limit,
                };
                let seed = LayerSeed {
                    index: start.index,
                    reserved: start.reserved,
                    timestamp: random(),
                    reporter: random(),
                };
                let layer = match number < track.layers {
                    true => LayerIngest::new(spec, seed),
                    false => LayerIngest::made(spec, seed),
                };
                layers.push(layer);
            }
        }
        let defined = PipelineDef { id, name: name.to_owned(), live: false, tracks: Vec::new() };
        let mut stream = Self {
            id,
            name: name.to_owned(),
            tracks,
            layers,
            shift: ClockShift::default(),
            live: false,
            heard: None,
            feed: None,
            made,
            maker: None,
            ways: None,
            defined,
            pace: Pace::default(),
            untold: false,
            events: std::collections::VecDeque::new(),
        };
        stream.defined = stream.definition();
        Ok(stream)
    }

    /// Its number.
    pub fn id(&self) -> PipelineId {
        self.id
    }

    /// Whether packets flow.
    pub fn live(&self) -> bool {
        self.live
    }

    /// Takes a broadcaster's datagram for a layer (numbered through all tracks).
    ///
    /// # Errors
    /// Why it was dropped; it is counted already.
    pub fn handle_datagram(
        &mut self,
        now: Now,
        layer: usize,
        port: Port,
        from: impl Into<Source>,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        self.handle_via(now, Via::Broadcaster, layer, port, from, datagram)
    }

    /// Takes a datagram that came by one of several ways.
    ///
    /// # Errors
    /// Why it was dropped; it is counted already.
    pub fn handle_via(
        &mut self,
        now: Now,
        via: Via,
        layer: usize,
        port: Port,
        from: impl Into<Source>,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let from = from.into();
        let made = self.is_made(layer);
        let Some(ingest) = self.layers.get_mut(layer) else { return Ok(()) };
        let alone = match (made, via) {
            (true, _) => self.maker,
            (false, Via::Broadcaster) => self.feed.map(|hold| hold.id),
            (false, Via::Source(_)) => None,
        };
        if alone.map_or(made, |alone| Source::Fed(alone) != from) {
            ingest.count_drop(DropReason::SecondSender);
            return Err(DropReason::SecondSender);
        }
        if !made && !self.is_chosen(now.mono, via, layer, port, datagram) {
            if let Some(ingest) = self.layers.get_mut(layer) {
                ingest.count_drop(DropReason::OffAir);
            }
            return Err(DropReason::OffAir);
        }
        let Some(ingest) = self.layers.get_mut(layer) else { return Ok(()) };
        let known = ingest.source() == Some(from);
        if !known {
            self.ask_no_sooner(layer, from);
        }
        let Some(ingest) = self.layers.get_mut(layer) else { return Ok(()) };
        let described = |layer: &LayerIngest| (layer.size(), layer.profile(), layer.scalability());
        let (before, accepted) = (described(ingest), ingest.counters().accepted);
        let asked = ingest.asked();
        let taken = ingest.handle_datagram(now, port, from, datagram, &mut self.shift);
        let asks = ingest.asked() != asked;
        if ingest.counters().accepted != accepted && !made {
            self.heard = Some(now.mono);
            // No other broadcaster can have been heard while it holds the ports.
            if let (Some(hold), Via::Broadcaster) = (&mut self.feed, via) {
                hold.heard = now.mono;
            }
        }
        let changed = described(ingest) != before;
        if asks {
            self.ask_together(now);
        }
        // The definition first: who hears that the stream is live can describe it.
        if changed {
            self.redefine(now.mono);
        }
        self.update_live(now.mono);
        taken
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.choose(now.mono);
        for layer in &mut self.layers {
            layer.handle_timeout(now, &mut self.shift);
        }
        self.ask_together(now);
        self.redefine(now.mono);
        self.update_live(now.mono);
    }

    /// Viewers of a layer need a key frame.
    pub fn request_key_frame(&mut self, now: Now, ssrc: Ssrc) {
        for layer in self.layers.iter_mut().filter(|l| l.spec().ssrc == ssrc) {
            layer.request_key_frame();
        }
        self.handle_timeout(now);
    }

    /// A source that is new to a layer may have been asked through another one of the track.
    fn ask_no_sooner(&mut self, layer: usize, from: Source) {
        let mut end = 0;
        for track in &self.tracks {
            let first = end;
            end += track.all_layers();
            let sent_in = first..first + track.layers;
            if !sent_in.contains(&layer) {
                continue;
            }
            let Some(own) = self.layers.get_mut(sent_in) else { return };
            let theirs = own.iter().filter_map(LayerIngest::asked).filter(|(to, _)| *to == from);
            let last = theirs.map(|(_, at)| at).max();
            if let (Some(at), Some(layer)) = (last, own.get_mut(layer - first)) {
                layer.asked_elsewhere(at);
            }
        }
    }

    /// Layers of one track that come from one source are made by one encoder: it is asked for key frames
    /// of all of them in the same moment, and then not for [`PLI_INTERVAL`](super::feedback::PLI_INTERVAL).
    fn ask_together(&mut self, now: Now) {
        let mut rest = &mut self.layers[..];
        for track in &self.tracks {
            let count = track.all_layers().min(rest.len());
            let (own, others) = std::mem::take(&mut rest).split_at_mut(count);
            rest = others;
            // Those that are made have an encoder each.
            let (own, _) = own.split_at_mut(track.layers.min(count));
            for from in 0..own.len() {
                let Some((source, at)) = own.get(from).and_then(LayerIngest::asked) else {
                    continue;
                };
                let behind = |layer: &LayerIngest| {
                    layer.source() == Some(source) && layer.asked().is_none_or(|(_, own)| own < at)
                };
                for layer in own.iter_mut().filter(|layer| behind(layer)) {
                    layer.asked_with(now, &mut self.shift, at);
                }
            }
        }
    }

    /// The next packet to be sealed.
    pub fn poll_packet(&mut self) -> Option<Packet> {
        let mut layers = self.layers.iter_mut().enumerate();
        let (number, packet) = layers.find_map(|(i, l)| l.poll_packet().map(|p| (i, p)))?;
        for made in self.made.iter().filter(|made| made.of == number) {
            for layer in self.layers.get_mut(made.layers.clone()).unwrap_or_default() {
                layer.follow(packet.timestamp, packet.capture);
            }
        }
        Some(packet)
    }

    /// Which layers are made out of others.
    pub fn made(&self) -> &[Made] {
        &self.made
    }

    /// Whether a layer is made, and not sent in.
    pub fn is_made(&self, layer: usize) -> bool {
        self.made.iter().any(|made| made.layers.contains(&layer))
    }

    /// Who makes those layers from now on.
    pub fn set_maker(&mut self, maker: FeedId) {
        self.maker = Some(maker);
    }

    /// What a layer is configured for.
    pub fn spec(&self, layer: usize) -> Option<&LayerSpec> {
        self.layers.get(layer).map(LayerIngest::spec)
    }

    /// Width and height of a layer, when a key frame has told them.
    pub fn size(&self, ssrc: Ssrc) -> Option<(u32, u32)> {
        self.layers.iter().find(|l| l.spec().ssrc == ssrc).and_then(LayerIngest::size)
    }

    /// The layers that are sent in.
    fn sent_in(&self) -> impl Iterator<Item = &LayerIngest> {
        let layers = self.layers.iter().enumerate();
        layers.filter(|(number, _)| !self.is_made(*number)).map(|(_, layer)| layer)
    }

    /// The next RTCP packet to a sender, and its layer.
    pub fn poll_send(&mut self) -> Option<(usize, ToSender)> {
        let wish = self.ways.as_mut().and_then(|ways| ways.wishes.pop_front());
        wish.or_else(|| {
            let mut layers = self.layers.iter_mut().enumerate();
            layers.find_map(|(i, layer)| layer.poll_send().map(|packet| (i, packet)))
        })
    }

    /// The next thing that the root has to know.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front().or_else(|| {
            self.layers.iter_mut().find_map(|layer| {
                let index = layer.poll_reserve()?;
                Some(StreamEvent::Reserve(layer.spec().ssrc, index))
            })
        })
    }

    /// When to call [`StreamIngest::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Mono> {
        let off_air = self.heard.filter(|_| self.live).map(|h| h.after(OFF_AIR_AFTER));
        let redefinition = self.untold.then(|| self.pace.at());
        let layers = self.layers.iter().filter_map(LayerIngest::poll_timeout);
        layers.chain(off_air).chain(redefinition).chain(self.choice_timeout()).min()
    }

    /// Counters of every layer: track, number of the layer within it, SSRC, counters.
    pub fn counters(&self) -> Vec<(String, usize, Ssrc, Counters)> {
        let places =
            self.tracks.iter().flat_map(|t| (0..t.all_layers()).map(move |n| (&t.name, n)));
        places
            .zip(&self.layers)
            .map(|((name, n), layer)| (name.clone(), n, layer.spec().ssrc, *layer.counters()))
            .collect()
    }

    /// Counts packets that could not be sealed.
    pub fn count_drop(&mut self, ssrc: Ssrc, reason: DropReason) {
        for layer in self.layers.iter_mut().filter(|l| l.spec().ssrc == ssrc) {
            layer.count_drop(reason);
        }
    }

    /// The pipeline as it is known now.
    pub fn definition(&self) -> PipelineDef {
        let mut layers = self.layers.iter();
        let tracks = self.tracks.iter().map(|track| {
            let own: Vec<&LayerIngest> = layers.by_ref().take(track.all_layers()).collect();
            let profile = own.iter().find_map(|l| l.profile());
            Track {
                name: track.name.clone(),
                codec: track.codec,
                clock_rate: track.clock_rate,
                channels: track.channels,
                fmtp: fmtp(track, profile),
                layers: own
                    .into_iter()
                    .map(|l| Layer {
                        ssrc: l.spec().ssrc,
                        payload_type: track.payload_type,
                        width: l.size().map(|s| s.0),
                        height: l.size().map(|s| s.1),
                        bitrate: None,
                        scalability: l.scalability(),
                    })
                    .collect(),
            }
        });
        PipelineDef {
            id: self.id,
            name: self.name.clone(),
            live: self.live,
            tracks: tracks.collect(),
        }
    }

    fn redefine(&mut self, now: Mono) {
        let definition = self.definition();
        let changed = definition.tracks != self.defined.tracks;
        self.untold = changed && !self.pace.take(now);
        if changed && !self.untold {
            self.defined = definition.clone();
            self.events.push_back(StreamEvent::Defined(definition));
        }
    }

    fn update_live(&mut self, now: Mono) {
        let live = self.heard.is_some_and(|h| now.since(h) < OFF_AIR_AFTER);
        if live != self.live {
            self.live = live;
            self.events.push_back(StreamEvent::Live(live));
        }
    }
}

/// The `fmtp` parameters: as configured, and for H.264 what the source has shown (RFC 6184 section
/// 8.1) where the configuration does not say it.
fn fmtp(track: &TrackSpec, profile: Option<[u8; 3]>) -> String {
    if track.codec != Codec::H264 {
        return track.fmtp.clone();
    }
    let has = |name: &str| track.fmtp.split(';').any(|p| p.trim().split('=').next() == Some(name));
    let mut parts = Vec::new();
    if !track.fmtp.is_empty() {
        parts.push(track.fmtp.clone());
    }
    if !has("packetization-mode") {
        parts.push("packetization-mode=1".to_owned());
    }
    if !has("level-asymmetry-allowed") {
        parts.push("level-asymmetry-allowed=1".to_owned());
    }
    if !has("profile-level-id")
        && let Some([profile, constraints, level]) = profile
    {
        parts.push(format!("profile-level-id={profile:02x}{constraints:02x}{level:02x}"));
    }
    parts.join(";")
}
