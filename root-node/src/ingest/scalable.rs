//! The layers within one encoding, as they show while packets pass: which one a frame belongs to, whether
//! it can be left out alone, and what the encoding is called altogether. What the sender says in its
//! dependency descriptor counts before what the payload shows. Pure.
//!
//! Left out are whole pictures, all spatial layers of one time together: of a picture the first packet
//! decides (`leaf_gateway::session`). So a picture is discardable if no picture of another time needs
//! it, whatever its own spatial layers need of each other.

use super::codec::Info;
use super::dependency::{Descriptor, Structure};
use super::vp9;
use soleil_protocol::scalability::{Between, Scalability};

/// Pictures after which a temporal layer that has not been seen again at a key frame is believed to be no
/// more: the longest pattern of the modes has eight.
const PATTERN: u32 = 8;
/// VP9 numbers references with seven bits: no picture is made of one that is further back.
const REMEMBERED: usize = 128;

/// What one frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Its temporal layer.
    pub temporal: u8,
    /// No picture of another time needs it.
    pub discardable: bool,
}

/// What is known of the layers of one encoding.
#[derive(Debug, Default)]
pub struct Scalable {
    described: Option<Described>,
    vp9: Vp9,
    seen: Seen,
    /// What AV1's sequence header counts.
    counted: Option<(u8, u8)>,
    /// Timestamp and temporal layer of the last packet.
    last: Option<(u32, u8)>,
    /// Spatial layers of one time have been of different temporal layers.
    shifted: bool,
}

/// By dependency descriptors.
#[derive(Debug)]
struct Described {
    structure: Structure,
    /// What the structure says, for it is asked of every packet.
    mode: Option<Scalability>,
    spares_top: bool,
    active: u32,
}

impl Scalable {
    /// The next packet, in the sender's order. `key`: a key frame begins in it.
    pub fn take(
        &mut self,
        timestamp: u32,
        key: bool,
        info: &Info,
        descriptor: Option<&[u8]>,
    ) -> Standing {
        let begins = self.last.is_none_or(|(last, _)| last != timestamp);
        self.counted = info.layers.or(self.counted);
        let described = descriptor.and_then(|bytes| self.describe(bytes));
        let mut standing = described.unwrap_or_else(|| {
            let spare = info.vp9.is_some_and(|picture| self.vp9.take(&picture, begins));
            Standing { temporal: info.temporal, discardable: spare }
        });
        self.seen.take(key, begins, standing.temporal);
        self.shifted |=
            self.last.is_some_and(|(last, t)| last == timestamp && t != standing.temporal);
        self.last = Some((timestamp, standing.temporal));
        // Of pictures that mix temporal layers nobody knows by the first packet what the others are.
        standing.discardable = info.discardable || (standing.discardable && !self.shifted);
        standing
    }

    fn describe(&mut self, bytes: &[u8]) -> Option<Standing> {
        let known = self.described.as_ref().map(|d| &d.structure);
        let Descriptor { spatial, temporal, indications, active, structure, .. } =
            Descriptor::read(bytes, known).ok()?;
        if let Some(structure) = structure {
            if known != Some(&structure) {
                self.shifted = false;
            }
            let (mode, spares_top) = (structure.scalability(), structure.spares_top());
            self.described = Some(Described { structure, mode, spares_top, active: 0 });
        }
        let described = self.described.as_mut()?;
        described.active = active.unwrap_or(described.active);
        let structure = &described.structure;
        let discardable = described.spares_top
            && temporal == structure.top()
            && structure.spares(spatial, temporal, indications);
        Some(Standing { temporal, discardable })
    }

    /// The mode, if there are several layers.
    pub fn scalability(&self) -> Option<Scalability> {
        let mode = match &self.described {
            Some(described) => {
                let mode = described.mode?;
                match mode.between() {
                    Between::KeyFrames if self.shifted => {
                        let between = Between::KeyFramesShifted;
                        Scalability::new(mode.spatial(), mode.temporal(), between).ok()?
                    }
                    _ => mode,
                }
            }
            None => self.shown()?,
        };
        (mode.spatial() > 1 || mode.temporal() > 1).then_some(mode)
    }

    /// The mode, by what the payload shows.
    fn shown(&self) -> Option<Scalability> {
        if let Some(structure) = self.vp9.structure {
            let temporal = structure.group.map_or(self.seen.count(), |group| group.temporal);
            let mode = Scalability::new(structure.spatial, temporal, self.vp9.between()?).ok()?;
            return Some(if structure.three_halves { mode.three_halves() } else { mode });
        }
        let (spatial, temporal) = self.counted.unwrap_or((1, self.seen.count()));
        // AV1's sequence header does not say what spatial layers need of each other.
        (spatial == 1).then(|| Scalability::new(1, temporal, Between::Always).ok()).flatten()
    }

    /// Width and height of the largest picture that is sent, if the dependency descriptor tells.
    pub fn size(&self) -> Option<(u32, u32)> {
        let described = self.described.as_ref()?;
        described.structure.size(described.active)
    }
}

/// Temporal layers that have come, for codecs that do not count them.
#[derive(Debug, Default)]
struct Seen {
    top: u8,
    /// Since the last key frame.
    lately: u8,
    pictures: u32,
}

impl Seen {
    fn take(&mut self, key: bool, begins: bool, temporal: u8) {
        if key {
            if self.pictures >= PATTERN {
                self.top = self.lately;
            }
            (self.lately, self.pictures) = (0, 0);
        }
        self.pictures = self.pictures.saturating_add(u32::from(begins));
        self.lately = self.lately.max(temporal);
        self.top = self.top.max(temporal);
    }

    fn count(&self) -> u8 {
        self.top + 1
    }
}

/// What VP9's payload descriptors have shown.
#[derive(Debug)]
struct Vp9 {
    structure: Option<vp9::Structure>,
    /// Temporal layers of the last pictures, by the low bits of their numbers.
    layers: [Option<u8>; REMEMBERED],
    /// The highest temporal layer so far, how many pictures of it there were, and whether one of them
    /// was referred to.
    top: u8,
    tops: u32,
    needed: bool,
    /// An upper spatial layer has come outside key frames: now it shows what it is made of.
    upper: bool,
    /// An upper layer was made of the one below, in a key frame and elsewhere.
    by_key: bool,
    by_delta: bool,
}

impl Default for Vp9 {
    fn default() -> Self {
        Self {
            structure: None,
            layers: [None; REMEMBERED],
            top: 0,
            tops: 0,
            needed: false,
            upper: false,
            by_key: false,
            by_delta: false,
        }
    }
}

impl Vp9 {
    /// Whether the picture can be left out. `begins`: it is the picture's first packet.
    fn take(&mut self, picture: &vp9::Picture, begins: bool) -> bool {
        if let Some(structure) = picture.structure
            && self.structure.replace(structure) != Some(structure)
        {
            *self = Self { structure: Some(structure), ..Self::default() };
        }
        if picture.spatial > 0 {
            self.upper |= picture.inter_picture;
            self.by_key |= picture.inter_layer && !picture.inter_picture;
            self.by_delta |= picture.inter_layer && picture.inter_picture;
        }
        if begins {
            self.refer(picture);
        }
        let group = self.structure.and_then(|structure| structure.group);
        match group {
            Some(group) => group.spares_top && picture.temporal + 1 == group.temporal,
            // Nobody says so: but in a pattern what was not referred to for so long never is.
            None => {
                let settled = self.tops > PATTERN && !self.needed;
                self.top > 0 && picture.temporal == self.top && settled
            }
        }
    }

    /// Remembers the picture, and what it is made of.
    fn refer(&mut self, picture: &vp9::Picture) {
        let Some(id) = picture.id else { return };
        let place = |back: u8| usize::from(id.wrapping_sub(u16::from(back))) % REMEMBERED;
        if picture.temporal > self.top {
            (self.top, self.tops, self.needed) = (picture.temporal, 0, false);
        }
        for diff in picture.diffs.into_iter().filter(|diff| *diff > 0) {
            self.needed |= self.layers[place(diff)] == Some(self.top);
        }
        self.layers[place(0)] = Some(picture.temporal);
        self.tops = self.tops.saturating_add(u32::from(picture.temporal == self.top));
    }

    /// What spatial layers need of each other, once it has shown.
    fn between(&self) -> Option<Between> {
        let several = self.structure.is_some_and(|structure| structure.spatial > 1);
        match (several, self.upper) {
            (false, _) => Some(Between::Always),
            (true, false) => None,
            (true, true) if self.by_delta => Some(Between::Always),
            (true, true) if self.by_key => Some(Between::KeyFrames),
            (true, true) => Some(Between::Never),
        }
    }
}
