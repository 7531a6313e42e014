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
