//! Time as the cores see it: an argument, never a system call.

use std::time::Duration;

/// Milliseconds since the Unix epoch: the `time` attribute of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

/// Monotonic time since the process (or the simulation) began, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mono(pub u64);

/// Wall-clock time since the Unix epoch, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Wall(pub u64);

/// Both clocks, read together, as every `handle(now, …)` gets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For intervals and time-outs.
    pub mono: Mono,
    /// For stamps that leave the node.
    pub wall: Wall,
}

impl Mono {
    /// This time plus a duration (saturating).
    pub fn after(self, d: Duration) -> Mono {
        Mono(self.0.saturating_add(d.as_micros().min(u128::from(u64::MAX)) as u64))
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Wall {
    /// As milliseconds, for messages.
    pub fn millis(self) -> Millis {
        Millis(self.0 / 1000)
    }

    /// As a 64-bit NTP timestamp (RFC 3550 section 4: seconds since 1900, 32.32 fixed point).
    pub fn ntp(self) -> u64 {
        const UNIX_TO_NTP: u64 = 2_208_988_800;
        let secs = (self.0 / 1_000_000 + UNIX_TO_NTP) & 0xffff_ffff;
        let frac = ((self.0 % 1_000_000) << 32) / 1_000_000;
        (secs << 32) | frac
    }
}
