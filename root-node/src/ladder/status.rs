//! The state of a ladder as the API and the log show it.

use super::plan::Plan;
use super::rung::Rung;
use crate::sources::status::{Handling, Problem, SourceStatus, State, in_words};
use serde::Serialize;
use utoipa::ToSchema;

/// One rung as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RungStatus {
    /// As it was written.
    #[schema(value_type = String, example = "360p")]
    pub rung: Rung,
    /// Whether its layer is made.
    pub made: bool,
    /// Why it is not.
    pub why: Option<String>,
    /// Width in pixels, of one that is made.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// Bit rate in kbit/s.
    pub kbit: Option<u32>,
    /// By which GStreamer element.
    pub encoder: Option<String>,
}

/// A ladder as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LadderStatus {
    /// What its process is doing: `waiting` for the source, `starting`, `running`, `stalled`,
    /// `backing_off` (it has failed and is tried again soon), `stopped`.
    #[schema(value_type = String, example = "running")]
    pub state: State,
    /// Since when, milliseconds since the epoch.
    pub since: u64,
    /// The rungs, best first.
    pub rungs: Vec<RungStatus>,
    /// How often its process was started again after a failure.
    pub restarts: u64,
    /// The longest time that a frame took in the last second, from its last packet in to its first
    /// one out, in milliseconds.
    pub delay_ms: u32,
    /// What went wrong last.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "in_words")]
    pub last_error: Option<Problem>,
}

impl LadderStatus {
    /// All together for the outside: the rungs as wished, what is planned of them, how the child
    /// fares, and which rungs it leaves out and why.
    pub(super) fn of(
        rungs: &[Rung],
        plan: &Plan,
        status: &SourceStatus,
        left: &[(usize, String)],
        delay_ms: u32,
    ) -> LadderStatus {
        let running = matches!(status.state, State::Running);
        let rung = |(number, rung): (usize, &Rung)| {
            let making = plan.making.iter().find(|m| m.rung == number);
            let why = plan.left_out.iter().chain(left).find(|(n, _)| *n == number);
            let name = rung.to_string();
            let made = status.tracks.iter().find(|track| track.name == name);
            RungStatus {
                rung: *rung,
                made: running && making.is_some() && why.is_none(),
                why: why.map(|(_, why)| why.clone()),
                width: making.map(|m| m.width),
                height: making.map(|m| m.height),
                kbit: making.map(|m| m.kbit),
                encoder: made.and_then(|track| match &track.handling {
                    Handling::Converted { encoder, .. } => Some(encoder.clone()),
                    _ => None,
                }),
            }
        };
        LadderStatus {
            state: status.state,
            since: status.since,
            rungs: rungs.iter().enumerate().map(rung).collect(),
            restarts: status.restarts,
            delay_ms: if running { delay_ms } else { 0 },
            last_error: status.last_error.clone(),
        }
    }
}
