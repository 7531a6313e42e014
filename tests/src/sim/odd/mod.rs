//! Scenarios of nodes that are not as they should be: they keep falling over, have wrong clocks, lie
//! and flood, or speak an older version of the protocol; and of orphans who count on each other.

mod flapping;
mod malice;
mod orphans;
mod skew;
mod upgrade;

use super::scenario::Scenario;

/// All of them.
pub const SCENARIOS: &[Scenario] =
    &[flapping::SCENARIO, skew::SCENARIO, malice::SCENARIO, orphans::SCENARIO, upgrade::SCENARIO];
