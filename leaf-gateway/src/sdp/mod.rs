//! SDP offer in, answer out, or an offer of ours and an answer in (RFC 8866, RFC 9429, RFC 8843, RFC 8839). Pure text work: it decides
//! which tracks a viewer gets in which codec, and opens nothing.

mod answer;
mod codec;
mod counter;
mod fragment;
mod offer;

#[cfg(test)]
mod tests;

pub use answer::{Answer, AnswerOptions, answer};
pub use counter::{accept, counter_offer};
pub use fragment::{Fragment, MAX_FRAGMENT_LEN};
pub use offer::{Offer, OfferedCodec, OfferedMedia};

/// The longest offer: Chromium's has 6 KB with every codec; tabs with simulcast and many sections
/// stay below 16 KB.
pub const MAX_OFFER_LEN: usize = 32 * 1024;

/// Media sections of an offer. Two are served.
pub const MAX_MEDIA: usize = 16;

/// Lines of an offer: Chromium's has 200 for two sections.
pub const MAX_LINES: usize = 2_000;

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
