//! Step tests of the node's core: each step drains the actions to nothing and compares them all,
//! so that one too many is found like one too few.

mod clock;
mod cutoff;
mod expiry;
mod failover;
mod media;
mod moves;
mod pipelines;
mod refusals;
mod rig;
mod strangers;
mod uplink;
mod versions;
