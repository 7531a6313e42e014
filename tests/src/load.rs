//! Load: the synthetic source, the machine's limit, the peer, the runs of many viewers, the attacks and
//! the ladder that `make bench` is made of. The viewers themselves are those of [`crate::viewer`].

mod cell;
pub mod cpu;
mod crowd;
pub mod ladder;
pub mod limit;
mod measure;
mod peer;
pub mod plot;
pub mod results;
pub mod siege;
mod sink;
mod source;
mod stage;
mod stamp;

pub use cell::{Cell, CellError, CellResult, Setting, foreign};
pub use crowd::{ChurnResult, Crowd, CrowdError, StormResult};
pub use ladder::LadderResult;
pub use measure::{Audience, Figures, MeasureError, Subject};
pub use peer::PeerError;
pub use siege::{Attack, SiegeError, SiegeResult};
pub use sink::Sinks;
pub(crate) use sink::{MESSAGES, RECEIVE_BUFFER, yield_to_others};
pub use source::{LoadSource, Pattern};
pub use stage::StageError;
pub use stamp::Stamp;

/// Keeps the calling thread, and what it starts from now on, on one core.
///
/// # Errors
/// If there is no such core.
pub fn stay_on(core: usize) -> std::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Paces a source, or lets a measurement last: what is waited for is time itself.
#[allow(clippy::disallowed_methods)]
fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}
