//! The dependency descriptor (AV1 RTP payload specification 1.0, appendix A): a header extension in which
//! a sender of any codec says which layer a frame belongs to, and who needs it. Pure, and bounded by
//! the numbers of bits that its counts have.
//!
//! The sender describes the kinds of frames that it will make once, with a key frame: *templates*, and for
//! each what it is to each *decode target* (a choice of layers that a receiver may want). Every frame
//! then names its template.

use super::bits::BitReader;
use soleil_protocol::scalability::{Between, Scalability};

/// Templates of a structure: their numbers have six bits.
pub const MAX_TEMPLATES: usize = 64;
/// The highest spatial layer (appendix A.8.3).
const MAX_SPATIAL: u8 = 3;
/// The highest temporal layer.
const MAX_TEMPORAL: u8 = 7;
/// Frame numbers that one frame may name in place of its template's: the format has no bound.
const MAX_CUSTOM: usize = 64;

/// Why a descriptor says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// It ends too early.
    #[error("the dependency descriptor is cut off")]
    Truncated,
    /// More templates, layers or references than there can be.
    #[error("the dependency descriptor has too many of something")]
    TooMany,
    /// It speaks of templates that were not described.
    #[error("the dependency descriptor's template is not known")]
    UnknownTemplate,
}

/// What a frame is to a decode target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indication {
    /// It does not belong to it.
    NotPresent,
    /// No frame of the target needs it.
    Discardable,
    /// The target can be joined here; later frames may need it.
    Switch,
    /// Later frames may need it.
    Required,
}

/// What a frame is to each decode target: two bits for each of the 32 that there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indications(u64);

impl Indications {
    fn read(bits: &mut BitReader<'_>, targets: usize) -> Result<Self, DescriptorError> {
        let mut all = 0;
        for target in 0..targets {
            all |= u64::from(take(bits, 2)?) << (2 * target);
        }
        Ok(Self(all))
    }

    /// What it is to one target.
    pub fn of(self, target: usize) -> Indication {
        match (self.0 >> (2 * (target & 31))) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }
}

/// A kind of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Its spatial layer.
    pub spatial: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// Who needs it.
    pub indications: Indications,
    /// How many frames back the oldest one is that it is made of; 0: of none.
    pub reach: u8,
}

impl Template {
    /// Whether it is made of nothing but frames of its own time: those of the spatial layers below.
    fn begins(&self) -> bool {
        self.reach <= self.spatial
    }
}

/// The layers of a decode target: those up to these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// The highest spatial layer.
    pub spatial: u8,
    /// The highest temporal layer.
    pub temporal: u8,
}

/// All that frames may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    offset: u8,
    templates: Vec<Template>,
    targets: Vec<Target>,
    /// Chains of frames that a target needs without a hole; only their number matters for reading.
    chains: u8,
    /// Width and height of each spatial layer, if they are told.
    sizes: Vec<(u32, u32)>,
}

/// What one packet's descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The frame (of one spatial layer) begins in this packet.
    pub first: bool,
    /// It ends in this packet.
    pub last: bool,
    /// The frame's number.
    pub number: u16,
    /// Its spatial layer.
    pub spatial: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// Who needs it.
    pub indications: Indications,
    /// Which decode targets are sent from now on, one bit each, if it says so.
    pub active: Option<u32>,
    /// A new structure, valid from this frame on.
    pub structure: Option<Structure>,
}

fn take(bits: &mut BitReader<'_>, count: u32) -> Result<u32, DescriptorError> {
    bits.bits(count).ok_or(DescriptorError::Truncated)
}

fn flag(bits: &mut BitReader<'_>) -> Result<bool, DescriptorError> {
    Ok(take(bits, 1)? == 1)
}

/// A number below `n` in as few bits as it needs (`ns(n)`, AV1 specification section 4.10.7).
fn below(bits: &mut BitReader<'_>, n: u32) -> Result<u32, DescriptorError> {
    let width = u32::BITS - n.leading_zeros();
    let spare = (1u32 << width) - n;
    let value = take(bits, width.saturating_sub(1))?;
    if value < spare {
        return Ok(value);
    }
    Ok((value << 1) - spare + take(bits, 1)?)
}

impl Descriptor {
    /// Reads the extension's bytes. `known` is the structure that frames name their templates of, until
    /// one comes with a descriptor.
    ///
    /// # Errors
    /// Why it says nothing.
    pub fn read(bytes: &[u8], known: Option<&Structure>) -> Result<Self, DescriptorError> {
        let bits = &mut BitReader::new(bytes);
        let (first, last) = (flag(bits)?, flag(bits)?);
        let template = take(bits, 6)?;
        let number = take(bits, 16)? as u16;
        // Appendix A.8.2: what is longer than the mandatory fields has the others.
        let extended = bytes.len() > 3;
        let mut flags = [false; 5];
        if extended {
            for value in &mut flags {
                *value = flag(bits)?;
            }
        }
        let [new, active, custom_indications, custom_diffs, custom_chains] = flags;
        let structure = if new { Some(Structure::read(bits)?) } else { None };
        let valid = structure.as_ref().or(known).ok_or(DescriptorError::UnknownTemplate)?;
        let targets = valid.targets.len();
        let all = u32::MAX >> (32 - targets.clamp(1, 32));
        let active = match (active, new) {
            (true, _) => Some(take(bits, targets as u32)?),
            (false, true) => Some(all),
            (false, false) => None,
        };
        let at = (template as usize + MAX_TEMPLATES - usize::from(valid.offset)) % MAX_TEMPLATES;
        let template = valid.templates.get(at).ok_or(DescriptorError::UnknownTemplate)?;
        let indications = match custom_indications {
            true => Indications::read(bits, targets)?,
            false => template.indications,
        };
        if custom_diffs {
            // Each says how long the next one is, in half bytes.
            let mut count = 0;
            loop {
                let size = take(bits, 2)?;
                if size == 0 {
                    break;
                }
                count += 1;
                if count > MAX_CUSTOM {
                    return Err(DescriptorError::TooMany);
                }
                take(bits, 4 * size)?;
            }
        }
        if custom_chains {
            for _ in 0..valid.chains {
                take(bits, 8)?;
            }
        }
        let Template { spatial, temporal, .. } = *template;
        Ok(Self { first, last, number, spatial, temporal, indications, active, structure })
    }
}

impl Structure {
    fn read(bits: &mut BitReader<'_>) -> Result<Self, DescriptorError> {
        let offset = take(bits, 6)? as u8;
        let targets = take(bits, 5)? as usize + 1;
        let mut templates = layers(bits)?;
        for template in &mut templates {
            template.indications = Indications::read(bits, targets)?;
        }
        for template in &mut templates {
            while flag(bits)? {
                template.reach = template.reach.max(take(bits, 4)? as u8 + 1);
            }
        }
        let chains = below(bits, targets as u32 + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                below(bits, chains)?;
            }
            for _ in 0..templates.len() as u32 * chains {
                take(bits, 4)?;
            }
        }
        let spatial = templates.iter().map(|t| t.spatial).max().unwrap_or(0);
        let mut sizes = Vec::new();
        if flag(bits)? {
            for _ in 0..=spatial {
                sizes.push((take(bits, 16)? + 1, take(bits, 16)? + 1));
            }
        }
        let target = |number| {
            let own = |t: &&Template| t.indications.of(number) != Indication::NotPresent;
            let own = templates.iter().filter(own);
            own.fold(Target::default(), |max, t| Target {
                spatial: max.spatial.max(t.spatial),
                temporal: max.temporal.max(t.temporal),
            })
        };
        let targets = (0..targets).map(target).collect();
        Ok(Self { offset, templates, targets, chains: chains as u8, sizes })
    }

    /// The kinds of frames.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// The choices of layers.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The highest temporal layer of all.
    pub fn top(&self) -> u8 {
        self.templates.iter().map(|t| t.temporal).max().unwrap_or(0)
    }

    /// Width and height of the largest picture that is sent, with these targets active.
    pub fn size(&self, active: u32) -> Option<(u32, u32)> {
        let sent = self.targets.iter().enumerate().filter(|(n, _)| active >> n & 1 == 1);
        let spatial = sent.map(|(_, target)| target.spatial).max()?;
        self.sizes.get(usize::from(spatial)).copied()
    }

    /// Whether the frames of the highest temporal layer can be left out, each alone: nothing of another
    /// time is made of them. A frame is indeed needed by the spatial layers above it, which are of its
    /// own time and left out with it; so what counts is what it is to the target that ends with it.
    pub fn spares_top(&self) -> bool {
        let top = self.top();
        let mut of_top = self.templates.iter().filter(|t| t.temporal == top);
        top > 0 && of_top.all(|t| self.spares(t.spatial, t.temporal, t.indications))
    }

    /// Whether no frame of another time is made of one of this layer, to whom it is this.
    pub fn spares(&self, spatial: u8, temporal: u8, indications: Indications) -> bool {
        let own = self.targets.iter().position(|t| *t == Target { spatial, temporal });
        own.is_some_and(|target| indications.of(target) == Indication::Discardable)
    }

    /// The name of it all; `None` for more layers than names can say.
    pub fn scalability(&self) -> Option<Scalability> {
        let spatial = self.templates.iter().map(|t| t.spatial).max()?;
        let mode = Scalability::new(spatial + 1, self.top() + 1, self.between()).ok()?;
        let halves = matches!(self.sizes[..], [.., (low, _), (high, _)] if 2 * high == 3 * low);
        Some(if halves { mode.three_halves() } else { mode })
    }

    /// What spatial layers need of each other: whether frames belong to targets of higher layers, those
    /// that begin and the others.
    fn between(&self) -> Between {
        let crosses = |template: &&Template| {
            let mut targets = self.targets.iter().enumerate();
            targets.any(|(n, target)| {
                target.spatial > template.spatial
                    && template.indications.of(n) != Indication::NotPresent
            })
        };
        let mut crossing = self.templates.iter().filter(crosses).peekable();
        match (crossing.peek().is_some(), crossing.any(|t| !t.begins())) {
            (false, _) => Between::Never,
            (true, false) => Between::KeyFrames,
            (true, true) => Between::Always,
        }
    }
}

/// The layers of the templates (`template_layers()`): each is of the layer of the one before, or the next
/// temporal or spatial one.
fn layers(bits: &mut BitReader<'_>) -> Result<Vec<Template>, DescriptorError> {
    let mut templates = Vec::new();
    let (mut spatial, mut temporal) = (0, 0);
    loop {
        if templates.len() >= MAX_TEMPLATES {
            return Err(DescriptorError::TooMany);
        }
        templates.push(Template { spatial, temporal, indications: Indications(0), reach: 0 });
        match take(bits, 2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => return Ok(templates),
        }
        if spatial > MAX_SPATIAL || temporal > MAX_TEMPORAL {
            return Err(DescriptorError::TooMany);
        }
    }
}
