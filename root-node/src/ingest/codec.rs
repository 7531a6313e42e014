//! One view of every codec's payload: what a packet means to those who forward it, and how it is
//! cut when it is too large. The formats are in the modules of their names.

use super::fragment::Part;
use super::reason::DropReason;
use super::{av1, h264, vp8, vp9};
use bytes::Bytes;
use soleil_protocol::pipeline::Codec;

/// What a payload says about its frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// A key frame begins in this packet.
    pub key: bool,
    /// No other frame needs this one.
    pub discardable: bool,
    /// Temporal layer, 0 is the base.
    pub temporal: u8,
    /// Width and height, where the payload says it.
    pub size: Option<(u32, u32)>,
    /// The three bytes of H.264's `profile-level-id` (RFC 6184 section 8.1), from the SPS.
    pub profile: Option<[u8; 3]>,
    /// What VP9's payload descriptor says of layers.
    pub vp9: Option<vp9::Picture>,
    /// How many spatial and temporal layers AV1's sequence header counts.
    pub layers: Option<(u8, u8)>,
}

/// How an over-large payload can be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// Parts of units, each to go through a [`super::fragment::Fragmenter`].
    Parts(Vec<Part>),
    /// Cut already (AV1 has lengths of its own).
    Done(Vec<Bytes>),
}

/// Reads a payload.
///
/// # Errors
/// Why it is not a payload of this codec that browsers play.
pub fn inspect(codec: Codec, payload: &[u8]) -> Result<Info, DropReason> {
    match codec {
        Codec::H264 => h264::inspect(payload),
        Codec::Vp8 => vp8::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload),
        Codec::Av1 => av1::inspect(payload),
        Codec::Opus => Ok(Info::default()),
    }
}

/// Takes a payload apart for cutting to at most `limit` bytes.
///
/// # Errors
/// Why it can't be cut.
pub fn cut(codec: Codec, payload: &Bytes, limit: usize) -> Result<Cut, DropReason> {
    let parts = match codec {
        Codec::H264 => h264::parts(payload)?,
        Codec::Vp8 => vec![vp8::part(payload)?],
        Codec::Vp9 => vec![vp9::part(payload)?],
        Codec::Av1 => return av1::split(payload, limit).map(Cut::Done),
        // RFC 7587 section 4.2: one Opus packet per RTP packet.
        Codec::Opus => return Err(DropReason::Oversized),
    };
    // Each fragment carries the unit's header: one that leaves no room (VP9's scalability
    // structure may have a thousand bytes) can't be cut.
    let headers = parts.iter().flat_map(|p| [&p.prefix.first, &p.prefix.rest]);
    if headers.map(Vec::len).max().unwrap_or(0) >= limit {
        return Err(DropReason::Oversized);
    }
    Ok(Cut::Parts(parts))
}
