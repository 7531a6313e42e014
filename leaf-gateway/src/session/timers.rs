//! The timers of a session in one table, each with a name that says why it woke.

use soleil_protocol::Mono;

/// Why a session wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// It should have got as far as media by now.
    Connect,
    /// The viewer's checks may have stopped.
    Consent,
    /// A DTLS flight may have to be sent again.
    Dtls,
    /// Sender Reports are due.
    Report,
    /// A key frame was asked for and may not have come.
    KeyFrame,
}

const ALL: [Timer; 5] =
    [Timer::Connect, Timer::Consent, Timer::Dtls, Timer::Report, Timer::KeyFrame];

/// The table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timers([Option<Mono>; ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Mono) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// The earliest time.
    pub(super) fn next(&self) -> Option<Mono> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes one timer out whose time has come.
    pub(super) fn expired(&mut self, now: Mono) -> Option<Timer> {
        let timer = ALL.into_iter().find(|t| self.0[*t as usize].is_some_and(|at| at <= now))?;
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timer_fires_once_when_its_time_has_come() {
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Consent, Mono(30));
        timers.set(Timer::Report, Mono(10));
        timers.set(Timer::Report, Mono(20));
        assert_eq!(timers.next(), Some(Mono(20)));
        assert_eq!(timers.expired(Mono(19)), None);
        assert_eq!(timers.expired(Mono(20)), Some(Timer::Report));
        assert_eq!(timers.expired(Mono(20)), None);
        assert_eq!(timers.next(), Some(Mono(30)));
        timers.stop(Timer::Consent);
        assert_eq!(timers.expired(Mono(u64::MAX)), None);
    }

    #[test]
    fn all_that_are_due_come_out_the_ends_first() {
        let mut timers = Timers::default();
        for timer in ALL.into_iter().rev() {
            timers.set(timer, Mono(5));
        }
        let fired: Vec<_> = std::iter::from_fn(|| timers.expired(Mono(5))).collect();
        assert_eq!(fired, ALL);
    }
}
