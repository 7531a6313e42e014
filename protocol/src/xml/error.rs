//! Why a text is not a message, and what the sender is told.

use crate::address::Address;
use crate::limits::{MAX_SENTENCE, MAX_TYPE};
use crate::message::{ErrorCode, ErrorReport};
use crate::text::clip;
use crate::time::Millis;

/// Why a text is not a message that we understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not well formed, forbidden XML (DTD, processing instruction, entity), or a value that makes
    /// no sense. The link is closed after an ERROR.
    #[error("{text}")]
    Malformed {
        /// What is wrong, for people.
        text: String,
        /// `time` of the message, if it could be read.
        time: Option<Millis>,
        /// `type` of the message, if it could be read; empty otherwise.
        kind: String,
    },
    /// Over one of the bounds in [`crate::limits`]. The link is closed after an ERROR.
    #[error("too large: {what} (at most {limit})")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// `time` of the message, if it could be read.
        time: Option<Millis>,
        /// `type` of the message, if it could be read; empty otherwise.
        kind: String,
    },
    /// A well-formed message of a type that this version does not know. It is answered by ERROR
    /// and the link stays.
    #[error("message type {kind:?} is not known")]
    UnknownType {
        /// Its `type`, clipped.
        kind: String,
        /// Its `time`.
        time: Millis,
        /// Its `from`.
        from: Option<Address>,
        /// Its `to`.
        to: Option<Address>,
    },
}

impl XmlError {
    /// Whether the link has to be closed after the ERROR has been sent.
    pub fn closes_link(&self) -> bool {
        !matches!(self, XmlError::UnknownType { .. })
    }

    /// Whether what failed says that it is an ERROR itself: such a message is never answered, or
    /// two nodes could throw errors at each other for ever.
    pub fn is_about_error(&self) -> bool {
        match self {
            XmlError::Malformed { kind, .. }
            | XmlError::Limit { kind, .. }
            | XmlError::UnknownType { kind, .. } => kind == "error",
        }
    }
}

impl From<XmlError> for ErrorReport {
    fn from(error: XmlError) -> ErrorReport {
        let text = clip(&error.to_string(), MAX_SENTENCE).to_owned();
        let (code, failed_time, failed_type) = match error {
            XmlError::Malformed { time, kind, .. } | XmlError::Limit { time, kind, .. } => {
                (ErrorCode::Malformed, time, kind)
            }
            XmlError::UnknownType { time, kind, .. } => (ErrorCode::UnknownType, Some(time), kind),
        };
        ErrorReport { code, text, failed_time, failed_type }
    }
}

/// A failure deep inside a message, before it is known which message it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(String),
    Limit(&'static str, usize),
}

impl Fault {
    /// A [`Fault::Malformed`] that names an element or attribute and quotes a bit of its value.
    pub(super) fn value(name: &str, value: &str) -> Fault {
        Fault::Malformed(format!("{name} has no legal value: {:?}", clip(value, MAX_TYPE)))
    }

    /// A [`Fault::Malformed`] for something that must be there.
    pub(super) fn missing(name: &str) -> Fault {
        Fault::Malformed(format!("{name} is missing"))
    }

    /// Adds what is known of the message.
    pub(super) fn about(self, time: Option<Millis>, kind: &str) -> XmlError {
        let kind = clip(kind, MAX_TYPE).to_owned();
        match self {
            Fault::Malformed(text) => XmlError::Malformed { text, time, kind },
            Fault::Limit(what, limit) => XmlError::Limit { what, limit, time, kind },
        }
    }
}
