//! What a stream is, as operators write it and as the store keeps it, and what is checked about it.

use super::{Refused, SourceDefinition};
use crate::config::{MAX_LAYERS, MAX_TRACKS, StreamSection, TrackSection, check_streams};
use crate::ladder::budget::{self, Cores};
use crate::ladder::rung::Rung;
use crate::store::access::check_label;
use serde::{Deserialize, Serialize};
use soleil_protocol::pipeline::Codec;
use std::net::{IpAddr, SocketAddr};
use utoipa::ToSchema;

/// A stream's definition: what the operator said, with ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Definition {
    /// The operator's words.
    pub label: String,
    /// Its tracks.
    pub tracks: Vec<TrackDefinition>,
    /// Its sources, the best one first. (Those of the configuration are not shown here.)
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceDefinition>,
}

/// One track as it is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrackDefinition {
    /// Its name, unique in the stream.
    pub name: String,
    /// `H264`, `VP8`, `VP9`, `AV1` or `opus`.
    pub codec: String,
    /// The RTP payload type that the broadcaster uses.
    pub payload_type: u8,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Audio channels (0 for pictures).
    pub channels: u8,
    /// Codec parameters as in an SDP `fmtp` line.
    pub fmtp: String,
    /// One UDP port for each layer, best layer first.
    pub ports: Vec<u16>,
    /// The address that it listens on.
    #[schema(value_type = String, example = "127.0.0.1")]
    pub bind: IpAddr,
    /// Smaller layers that the root makes of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, example = json!(["720p", "360p@600k"]))]
    pub ladder: Vec<Rung>,
}

/// One track as an operator asks for it. What is left out gets a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrackRequest {
    /// Its name, unique in the stream; default: `video` or `audio`.
    pub name: Option<String>,
    /// `H264`, `VP8`, `VP9`, `AV1` or `opus`.
    #[schema(example = "H264")]
    pub codec: String,
    /// The RTP payload type that the broadcaster uses: 0 to 63 or 96 to 127.
    #[schema(example = 96)]
    pub payload_type: u8,
    /// RTP clock rate in Hz; default: 90,000 for pictures, 48,000 for Opus.
    pub clock_rate: Option<u32>,
    /// Audio channels; default: 2.
    pub channels: Option<u8>,
    /// Codec parameters as in an SDP `fmtp` line.
    pub fmtp: Option<String>,
    /// How many layers (qualities) it comes in, if you name no ports; default: 1.
    pub layers: Option<u8>,
    /// One UDP port for each layer, best layer first. Without it each layer gets a port out of the
    /// configured range (`ingest.ports`).
    pub ports: Option<Vec<u16>>,
    /// The address to listen on; default: the configured one (`ingest.bind`), which is this machine if
    /// nothing else is configured. Whoever can send to it can broadcast.
    #[schema(value_type = Option<String>, example = "127.0.0.1")]
    pub bind: Option<IpAddr>,
    /// Smaller layers that the root makes of it (H264 and VP8, of one layer), the best one first, like
    /// `["720p", "360p@600k"]`; default: none.
    #[schema(value_type = Option<Vec<String>>, example = json!(["720p", "360p@600k"]))]
    pub ladder: Option<Vec<Rung>>,
}

impl TrackRequest {
    /// As it is kept; layers without a port have port 0. `bind` is the address if none is named.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn resolve(&self, bind: IpAddr) -> Result<TrackDefinition, Refused> {
        let codec = Codec::from_name(&self.codec)
            .ok_or_else(|| Refused::Invalid("codec must be H264, VP8, VP9, AV1 or opus".into()))?;
        let layers = self.layers.map(usize::from);
        let ports = match &self.ports {
            Some(ports) if layers.is_some_and(|layers| layers != ports.len()) => {
                let text = "layers and ports do not fit together: each layer has one port";
                return Err(Refused::Invalid(text.into()));
            }
            Some(ports) if ports.contains(&0) => {
                let text = "port 0 is none: leave ports out, and free ones are given";
                return Err(Refused::Invalid(text.into()));
            }
            Some(ports) => ports.clone(),
            None => vec![0; layers.unwrap_or(1)],
        };
        let section = TrackSection {
            name: self.name.clone(),
            codec,
            payload_type: self.payload_type,
            clock_rate: self.clock_rate,
            channels: self.channels,
            fmtp: self.fmtp.clone().unwrap_or_default(),
            ports,
            bind: self.bind.unwrap_or(bind),
            ladder: self.ladder.clone().unwrap_or_default(),
        };
        Ok(TrackDefinition::of(&section))
    }
}

impl TrackDefinition {
    /// A track of the configuration.
    pub fn of(section: &TrackSection) -> Self {
        let spec = section.spec();
        Self {
            name: spec.name,
            codec: spec.codec.name().to_owned(),
            payload_type: spec.payload_type,
            clock_rate: spec.clock_rate,
            channels: spec.channels,
            fmtp: spec.fmtp,
            ports: section.ports.clone(),
            bind: section.bind,
            ladder: section.ladder.clone(),
        }
    }

    /// What viewers have been told of it and can't be told again.
    fn shape(&self) -> impl PartialEq + '_ {
        let kind = (&self.name, &self.codec, self.payload_type);
        (kind, self.clock_rate, self.channels, &self.fmtp, &self.ladder)
    }

    fn section(&self) -> Result<TrackSection, Refused> {
        let codec = Codec::from_name(&self.codec).ok_or_else(|| {
            Refused::Invalid(format!("track {:?}: codec {:?} is unknown", self.name, self.codec))
        })?;
        Ok(TrackSection {
            name: Some(self.name.clone()),
            codec,
            payload_type: self.payload_type,
            clock_rate: Some(self.clock_rate),
            channels: (self.channels > 0).then_some(self.channels),
            fmtp: self.fmtp.clone(),
            ports: self.ports.clone(),
            bind: self.bind,
            ladder: self.ladder.clone(),
        })
    }
}

impl Definition {
    /// A stream of the configuration.
    pub fn of(section: &StreamSection) -> Self {
        Self {
            label: String::new(),
            tracks: section.track.iter().map(TrackDefinition::of).collect(),
            sources: Vec::new(),
        }
    }

    /// As the configuration would have it.
    ///
    /// # Errors
    /// If a codec is unknown: the store was written by another version.
    pub fn section(&self, name: &str) -> Result<StreamSection, Refused> {
        let track = self.tracks.iter().map(TrackDefinition::section).collect::<Result<_, _>>()?;
        Ok(StreamSection {
            name: name.to_owned(),
            id: None,
            publish_token: None,
            track,
            source: self.sources.iter().map(|s| s.section(None, None)).collect(),
            ladder: Vec::new(),
        })
    }

    /// For being shown: without secrets.
    pub fn hidden(self) -> Self {
        let sources = self.sources.into_iter().map(SourceDefinition::hidden).collect();
        Self { sources, ..self }
    }

    /// The same checks as for the configuration.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, name: &str) -> Result<(), Refused> {
        check_label(&self.label).map_err(|e| Refused::Invalid(e.to_string()))?;
        check_streams(&[self.section(name)?]).map_err(Refused::Invalid)
    }

    /// What its ladders take of the machine.
    ///
    /// # Errors
    /// If that is not left, with what would fit.
    pub fn check_cores(&self, mut left: Cores) -> Result<Cores, Refused> {
        let mut all = Cores::NONE;
        for track in &self.tracks {
            let Some(codec) = Codec::from_name(&track.codec) else { continue };
            let taken = budget::check(codec, &track.ladder, left).map_err(Refused::Invalid)?;
            left = left.without(taken);
            all = all.and(taken);
        }
        Ok(all)
    }

    /// The ladder's rungs, if it has one.
    pub fn ladder(&self) -> &[Rung] {
        self.tracks.iter().map(|t| t.ladder.as_slice()).find(|l| !l.is_empty()).unwrap_or_default()
    }

    /// Whether viewers and nodes can go on with what they know of another definition of the stream:
    /// the same tracks, whatever ports they come in by.
    pub fn continues(&self, before: &Definition) -> bool {
        self.tracks.len() == before.tracks.len()
            && self.tracks.iter().zip(&before.tracks).all(|(a, b)| a.shape() == b.shape())
    }

    /// Gives each layer that has none a port. Does nothing to a definition that `check` refuses for
    /// its size.
    ///
    /// # Errors
    /// What `give` fails with.
    pub fn fill_ports(
        &mut self,
        give: &mut dyn FnMut(IpAddr) -> Result<u16, Refused>,
    ) -> Result<(), Refused> {
        let small = |t: &TrackDefinition| t.ports.len() <= MAX_LAYERS;
        if self.tracks.len() > MAX_TRACKS || !self.tracks.iter().all(small) {
            return Ok(());
        }
        for track in &mut self.tracks {
            for port in track.ports.iter_mut().filter(|port| **port == 0) {
                *port = give(track.bind)?;
            }
        }
        Ok(())
    }

    /// Where it lets the system choose a port, those that it has chosen: one for each layer, through all
    /// tracks.
    pub fn keep_ports(&mut self, bound: &[SocketAddr]) {
        let ports = self.tracks.iter_mut().flat_map(|track| &mut track.ports);
        for (port, address) in ports.zip(bound).filter(|(port, _)| **port == 0) {
            *port = address.port();
        }
    }

    /// The RTP address of each layer, through all tracks.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let of = |t: &TrackDefinition| {
            let bind = t.bind;
            t.ports.clone().into_iter().map(move |port| SocketAddr::new(bind, port))
        };
        self.tracks.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn request(more: &str) -> TrackRequest {
        serde_json::from_str(&format!("{{\"codec\":\"opus\",\"payload_type\":111{more}}}")).unwrap()
    }

    fn one(request: &TrackRequest) -> Result<Definition, Refused> {
        let tracks = vec![request.resolve(HOME)?];
        let mut definition = Definition { tracks, ..Definition::default() };
        let mut next = 6_998;
        definition.fill_ports(&mut |_| {
            next += 2;
            Ok(next)
        })?;
        definition.check("a").map(|()| definition)
    }

    #[test]
    fn what_is_left_out_gets_a_default() {
        let track = request("").resolve(HOME).unwrap();
        assert_eq!((track.name.as_str(), track.clock_rate, track.channels), ("audio", 48_000, 2));
        assert_eq!((track.ports, track.bind.is_loopback()), (vec![0], true));
        let h264 = TrackRequest { codec: "h264".into(), layers: Some(3), ..request("") };
        let track = h264.resolve(HOME).unwrap();
        assert_eq!((track.codec.as_str(), track.name.as_str()), ("H264", "video"));
        assert_eq!((track.clock_rate, track.channels, track.ports.len()), (90_000, 0, 3));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let long = format!(",\"fmtp\":\"{}\"", "x".repeat(3000));
        for (more, word) in [
            (",\"layers\":0", "1 to 4 ports"),
            (",\"layers\":5", "1 to 4 ports"),
            (",\"layers\":255", "1 to 4 ports"),
            (",\"ports\":[]", "1 to 4 ports"),
            (",\"ports\":[0]", "port 0"),
            (",\"ports\":[6000,6000]", "used twice"),
            (",\"ports\":[6000],\"layers\":2", "do not fit"),
            (",\"channels\":9", "channels"),
            (",\"clock_rate\":1", "clock_rate"),
            (",\"name\":\"a/b\"", "a/b"),
            (&long, "fmtp"),
        ] {
            let refused = one(&request(more)).unwrap_err().to_string();
            assert!(refused.contains(word), "{more}: {refused}");
        }
        let bad = TrackRequest { codec: "MPEG".into(), ..request("") };
        assert!(one(&bad).unwrap_err().to_string().contains("codec"));
        let bad = TrackRequest { payload_type: 72, ..request("") };
        assert!(one(&bad).unwrap_err().to_string().contains("payload_type"));
        let mut good = one(&request("")).unwrap();
        good.label = "x".repeat(101);
        assert!(good.check("a").unwrap_err().to_string().contains("label"));
        let twice = Definition {
            tracks: [good.tracks.clone(), good.tracks].concat(),
            ..Definition::default()
        };
        assert!(twice.check("a").unwrap_err().to_string().contains("two of this name"));
    }

    #[test]
    fn ports_may_change_under_viewers_and_codecs_may_not() {
        let a = one(&request("")).unwrap();
        let ports = one(&request(",\"ports\":[6000,6002]")).unwrap();
        assert!(a.continues(&ports));
        let mono = one(&request(",\"channels\":1")).unwrap();
        assert!(!a.continues(&mono));
        let none = Definition { tracks: Vec::new(), ..a.clone() };
        assert!(!none.continues(&a) && !a.continues(&none));
    }

    #[test]
    fn it_is_kept_as_text_and_comes_back() {
        let a = one(&request(",\"ports\":[6000],\"bind\":\"::1\"")).unwrap();
        let text = serde_json::to_string(&a).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), a);
        let section = a.section("a").unwrap();
        assert_eq!(Definition::of(&section), a);
        assert_eq!(a.addresses(), [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 6000))]);
    }
}
