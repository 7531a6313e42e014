//! The words that stand for types, codes and states on the wire.

use super::{Body, ErrorCode, MoveMode, PipelineState};
use std::fmt;
use std::str::FromStr;

/// A word that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of the known words")]
pub struct UnknownWord;

impl Body {
    /// The `type` attribute: lower case, as the thesis' examples have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Body::Hello(_) => "hello",
            Body::Bye(_) => "bye",
            Body::ChildsUpdate(_) => "childsupdate",
            Body::Error(_) => "error",
            Body::Kill(_) => "kill",
            Body::Ping(_) => "ping",
            Body::Pong(_) => "pong",
            Body::Redirect(_) => "redirect",
            Body::PipeDef(_) => "pipedef",
            Body::PipeDefInfo(_) => "pipedefinfo",
            Body::PlayPipeline(_) => "playpipeline",
            Body::StopPipeline(_) => "stoppipeline",
            Body::RemovePipeline(_) => "removepipeline",
            Body::RoutePipeline(_) => "routepipeline",
            Body::Stats(_) => "stats",
            Body::ReqFullStats(_) => "reqfullstats",
            Body::FullStats(_) => "fullstats",
        }
    }
}

/// Gives an enumeration its words, in both directions.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $name {
            /// The word used in XML.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word { $($word => Ok($name::$variant),)+ _ => Err(UnknownWord) }
            }
        }
    };
}

words!(ErrorCode {
    Malformed = "malformed",
    UnknownType = "unknownType",
    UnknownNode = "unknownNode",
    Forged = "forged",
    Unauthorized = "unauthorized",
    Full = "full",
    UnknownPipeline = "unknownPipeline",
    Version = "version",
    Internal = "internal",
});
words!(MoveMode { Overlap = "overlap", AtOnce = "atOnce" });
words!(PipelineState { Idle = "idle", Flowing = "flowing", Unknown = "unknown" });
