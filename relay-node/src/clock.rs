//! The one place that reads the clock. Cores get [`Now`] as an argument; drivers get it here.

use soleil_protocol::{Mono, Now, Wall};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads both clocks; copies share the same beginning, so their monotonic times compare.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero. A process starts one and hands copies around.
    #[allow(clippy::disallowed_methods)] // This is the clock.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks, read together.
    #[allow(clippy::disallowed_methods)] // This is the clock.
    pub fn now(&self) -> Now {
        let mono = self.start.elapsed().as_micros().min(u128::from(u64::MAX)) as u64;
        // A wall clock before 1970 reads as 1970: certificates are then "not yet valid", which
        // says what is wrong better than a panic does.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono: Mono(mono), wall: Wall(wall.as_micros().min(u128::from(u64::MAX)) as u64) }
    }

    /// The system's instant `wait` from now, for timers of the runtime.
    pub fn deadline(&self, wait: Duration) -> Instant {
        self.instant(self.now().mono.after(wait))
    }

    /// The system's instant for a monotonic time, for timers of the runtime.
    pub fn instant(&self, at: Mono) -> Instant {
        // An instant too far away to be expressed means "never": a year is as good.
        const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
        let distance = Duration::from_micros(at.0);
        self.start.checked_add(distance).unwrap_or(self.start + NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_rises_and_wall_time_is_of_this_century() {
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.mono >= first.mono);
        assert!(first.wall.millis().0 > 1_600_000_000_000);
        assert!(clock.instant(second.mono) >= clock.instant(first.mono));
        assert!(clock.instant(Mono(u64::MAX)) > clock.instant(second.mono));
    }
}
