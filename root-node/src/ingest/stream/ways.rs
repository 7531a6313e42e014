//! Who may send: one source within this process, if it has claimed the stream; and of a stream that may
//! come in by several ways, the source that is on air. Who that is, is decided in
//! [`choice`](crate::ingest::choice).

use super::{REPLACED_AFTER, StreamIngest};
use crate::ingest::choice::{Choice, Heard, Via, Way};
use crate::ingest::codec;
use crate::ingest::feedback::PLI_INTERVAL;
use crate::ingest::layer::{LayerIngest, Port};
use crate::ingest::rtp;
use crate::ingest::source::{FeedId, Source, ToSender};
use soleil_protocol::Mono;
use soleil_protocol::pipeline::MediaKind;
use std::collections::VecDeque;

/// A source's hold on all ports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    pub(super) id: FeedId,
    /// When its last packet was taken; at first, when it claimed the stream.
    pub(super) heard: Mono,
}

/// The ways of a stream.
#[derive(Debug)]
pub(super) struct Ways {
    choice: Choice,
    /// Whose the ports are.
    via: Option<Via>,
    /// When a source that is not on air was asked for a key frame last.
    asked: Option<Mono>,
    /// What it is asked, and by which layer.
    pub(super) wishes: VecDeque<(usize, ToSender)>,
}

impl StreamIngest {
    /// Keeps all ports for a source within this process until it [leaves](Self::leave), or is silent and
    /// another one claims them; `false` if somebody else sends.
    pub fn claim(&mut self, now: Mono, feed: FeedId) -> bool {
        let silent = self.feed.filter(|hold| now.since(hold.heard) >= REPLACED_AFTER);
        if let Some(hold) = silent {
            self.leave(now, hold.id);
        }
        let sent = || self.sent_in().any(|layer| layer.sender(now).is_some());
        let busy = self.keeps_broadcasters_away(now).unwrap_or_else(sent);
        let free = self.feed.is_none() && !busy;
        if free {
            self.feed = Some(Hold { id: feed, heard: now });
        }
        free
    }

    /// Who sends now, or may alone.
    pub fn sender(&self, now: Mono) -> Option<Source> {
        let feed = self.feed.map(|hold| Source::Fed(hold.id));
        feed.or_else(|| self.sent_in().find_map(|layer| layer.sender(now)))
    }

    /// A source within this process has gone: its ports are free at once.
    pub fn leave(&mut self, now: Mono, feed: FeedId) {
        if self.feed.is_some_and(|hold| hold.id == feed) {
            self.feed = None;
            self.gone(now, Via::Broadcaster);
            for layer in &mut self.layers {
                layer.leave(Source::Fed(feed));
            }
        }
    }

    /// Lets it come in by several ways, the best one first; without this a broadcaster's is the only one.
    pub fn with_ways(mut self, ways: Vec<Way>) -> Self {
        let (choice, wishes) = (Choice::new(ways), VecDeque::new());
        self.ways = Some(Ways { choice, via: None, asked: None, wishes });
        self
    }

    /// By which way it comes in, if it has several and somebody sends.
    pub fn on_air(&self) -> Option<Via> {
        self.ways.as_ref().and_then(|ways| ways.choice.on_air())
    }

    /// By which way it came in last: RTCP goes back by it.
    pub fn way_back(&self) -> Via {
        self.ways.as_ref().and_then(|ways| ways.via).unwrap_or(Via::Broadcaster)
    }

    /// One of several sources is known to send no more: its worker has ended, for example.
    pub fn gone(&mut self, now: Mono, via: Via) {
        let Some(ways) = &mut self.ways else { return };
        ways.choice.gone(now, via);
        if ways.via == Some(via) {
            // If it comes back it is another sender.
            ways.via = None;
            self.free_ports();
        }
        self.change_over();
    }

    /// Time has passed.
    pub(super) fn choose(&mut self, now: Mono) {
        if let Some(ways) = &mut self.ways {
            ways.choice.handle_timeout(now);
        }
        self.change_over();
    }

    pub(super) fn choice_timeout(&self) -> Option<Mono> {
        self.ways.as_ref()?.choice.poll_timeout()
    }

    /// Whether a broadcaster who wants to begin has to go; `None` if there is no choice. Who stands by
    /// for broadcasters does not keep them away.
    pub(super) fn keeps_broadcasters_away(&self, now: Mono) -> Option<bool> {
        let choice = &self.ways.as_ref()?.choice;
        let own = Via::Broadcaster;
        Some(choice.sends(now, own) || choice.is_behind(now, own))
    }

    /// Whether a datagram is of the source that is on air; one that comes otherwise is a sign of life.
    pub(super) fn is_chosen(
        &mut self,
        now: Mono,
        via: Via,
        layer: usize,
        port: Port,
        datagram: &[u8],
    ) -> bool {
        let best = self.is_best(layer);
        let (Some(ways), Some(ingest)) = (&mut self.ways, self.layers.get(layer)) else {
            return via == Via::Broadcaster;
        };
        let spec = *ingest.spec();
        let choice = &mut ways.choice;
        let on_air = choice.on_air();
        let packet = match port {
            Port::Rtp if !rtp::is_rtcp(datagram) => rtp::parse(datagram).ok(),
            _ => None,
        };
        let Some(packet) = packet.filter(|p| p.payload_type == spec.payload_type) else {
            // RTCP, and what the layer itself refuses.
            return on_air.is_none_or(|on_air| on_air == via);
        };
        let picture = spec.codec.kind() == MediaKind::Video;
        let mut heard = Heard { picture, key: false };
        if on_air != Some(via) {
            // Nobody gets on air with something that is not the codec.
            let Ok(info) = codec::inspect(spec.codec, packet.payload) else { return false };
            // Layers of one encoder begin anew together: the best one tells.
            heard.key = info.key && best;
        }
        let chosen = choice.handle(now, via, heard);
        if let (false, Some(hold), Via::Broadcaster) = (chosen, &mut self.feed, via) {
            hold.heard = now;
            let again = ways.asked.is_none_or(|asked| now.since(asked) >= PLI_INTERVAL);
            if best && picture && again && choice.awaits_key(now, via) {
                ways.asked = Some(now);
                let to = Source::Fed(hold.id);
                let wish = ToSender { port: Port::Rtp, to, key_frame: true, bytes: Vec::new() };
                ways.wishes.push_back((layer, wish));
            }
        }
        self.change_over();
        chosen
    }

    /// If another source is on air than so far, the ports are its own.
    fn change_over(&mut self) {
        let Some(ways) = &mut self.ways else { return };
        let Some(via) = ways.choice.on_air() else { return };
        if ways.via.replace(via).is_some_and(|before| before != via) {
            self.free_ports();
        }
    }

    fn free_ports(&mut self) {
        for number in 0..self.layers.len() {
            if !self.is_made(number)
                && let Some(layer) = self.layers.get_mut(number)
            {
                LayerIngest::free(layer);
            }
        }
    }

    /// Whether a layer is the best one of its track.
    fn is_best(&self, layer: usize) -> bool {
        let mut end = 0;
        self.tracks.iter().any(|track| {
            let first = end;
            end += track.all_layers();
            first == layer
        })
    }
}
