//! SDP offer in, answer out, or an offer of ours and an answer in (RFC 8866, RFC 9429, RFC 8843, RFC 8839). Pure text work: it decides
//! which tracks a viewer gets in which codec, and opens nothing.

mod answer;
mod codec;
mod counter;
mod offer;

#[cfg(test)]
mod tests;

use relay_node::webrtc::Malformed;

pub use answer::{Answer, AnswerOptions, answer};
pub use counter::{accept, counter_offer};
pub use offer::{Offer, OfferedMedia};
pub use relay_node::webrtc::fragment::{Fragment, MAX_FRAGMENT as MAX_FRAGMENT_LEN};
pub use relay_node::webrtc::sdp::{MAX_LINES, MAX_OFFER as MAX_OFFER_LEN, OfferedCodec};

/// Media sections of an offer. Two are served.
pub const MAX_MEDIA: usize = 16;

/// The extension with the transport-wide number.
pub use crate::bandwidth::twcc::EXTENSION_URI as TRANSPORT_CC;

/// The absolute-capture-time extension.
pub const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// Why an offer can't be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not an SDP offer, or without something that it must have.
    #[error("{0}")]
    Bad(String),
    /// Nothing that both sides speak.
    #[error("{0}")]
    NoCommonCodec(String),
}

impl From<Malformed> for SdpError {
    fn from(Malformed(text): Malformed) -> Self {
        SdpError::Bad(text)
    }
}
