//! What the root tells a ladder's child: the first frame on their socket. What the child says is in
//! `sources::job::Report`.

use super::plan::Making;
use crate::sources::job::Make;
use serde::{Deserialize, Serialize};

/// The hidden subcommand of the child.
pub const SUBCOMMAND: &str = "ladder-worker";

/// What a child is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What comes, and what the layers are to be.
    pub codec: Make,
    /// The RTP payload type of the source and of all layers.
    pub payload_type: u8,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Pictures in a thousand seconds.
    pub millirate: u32,
    /// The layers, best first.
    pub making: Vec<Making>,
}
