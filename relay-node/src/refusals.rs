//! What a node refuses from others: for which reasons, and how the log is kept short of them.
//!
//! Every refusal counts in a metric (`io::counters`). The log tells of the first few of a kind as
//! they come and then at most one line each [`TOLD_EVERY`], which says for how many it speaks
//! ([`RefusalLog`]): whoever attacks can fill neither the disk nor the operator's eyes.

use soleil_protocol::Mono;
use soleil_protocol::message::ErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Lines of one kind at once: enough to see that there is more than one source.
pub const TOLD_AT_ONCE: u32 = 3;

/// Beyond them, one line of a kind in this time.
pub const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Kinds that are told apart; what comes beyond shares one. All are words of this program, so this
/// is a belt beside the braces.
pub const MAX_KINDS: usize = 64;

/// Why something was refused: the label `reason` of `soleil_control_refused_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// A join token that is wrong, expired or revoked.
    Token,
    /// No certificate and no token either.
    Anonymous,
    /// TLS or the upgrade failed: another CA, no TLS at all, another path.
    Handshake,
    /// TLS, the upgrade or HELLO took too long.
    Slow,
    /// Too many connections, in all or of one address.
    Crowded,
    /// Let too much pile up, took too long to read, or answered no PING.
    NotReading,
    /// What came was not a message.
    Malformed,
    /// A message whose `from` its sender may not use, or a certificate of somebody else.
    Forged,
    /// A ticket that does not hold: not signed by the root, run out, another parent's, another
    /// child's.
    Ticket,
    /// A ticket that has made a child already, or that a newer one has replaced.
    Replayed,
    /// What this neighbour may not ask for, or not here.
    Unauthorized,
    /// No place left.
    Full,
    /// A protocol version that is not spoken here.
    Version,
    /// A CHILDSUPDATE that would make this node its own descendant.
    Loop,
    /// Entries of a CHILDSUPDATE that can't be true.
    Subtree,
    /// Statistics with values or weights that no subtree can have.
    Statistics,
    /// A well-formed message that makes no sense at this place.
    Nonsense,
    /// More messages than this neighbour has reason to send, or too many that were refused.
    Flood,
}

impl Refusal {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Token => "token",
            Refusal::Anonymous => "anonymous",
            Refusal::Handshake => "handshake",
            Refusal::Slow => "slow",
            Refusal::Crowded => "crowded",
            Refusal::NotReading => "not_reading",
            Refusal::Malformed => "malformed",
            Refusal::Forged => "forged",
            Refusal::Ticket => "ticket",
            Refusal::Replayed => "replayed",
            Refusal::Unauthorized => "unauthorized",
            Refusal::Full => "full",
            Refusal::Version => "version",
            Refusal::Loop => "loop",
            Refusal::Subtree => "subtree",
            Refusal::Statistics => "statistics",
            Refusal::Nonsense => "nonsense",
            Refusal::Flood => "flood",
        }
    }

    /// What an ERROR of this code is counted as, if nothing better is known. `None` for what happens
    /// in a healthy tree: a node or a pipeline that is gone, or not there yet.
    pub fn of(code: ErrorCode) -> Option<Refusal> {
        match code {
            ErrorCode::Malformed => Some(Refusal::Nonsense),
            ErrorCode::Forged => Some(Refusal::Forged),
            ErrorCode::Unauthorized => Some(Refusal::Unauthorized),
            ErrorCode::Full => Some(Refusal::Full),
            ErrorCode::Version => Some(Refusal::Version),
            ErrorCode::UnknownType
            | ErrorCode::UnknownNode
            | ErrorCode::UnknownPipeline
            | ErrorCode::Internal => None,
        }
    }
}

/// Decides which happenings of a kind get a line in the log.
#[derive(Debug, Default)]
pub struct RefusalLog {
    kinds: BTreeMap<&'static str, Told>,
}

#[derive(Debug)]
struct Told {
    /// Lines that may be written now.
    lines: u32,
    /// When the last one was granted.
    at: Mono,
    /// Happenings that no line has spoken for.
    left_out: u64,
}

impl Told {
    fn refill(&mut self, now: Mono) {
        let due = now.since(self.at).as_micros() / TOLD_EVERY.as_micros();
        if due > 0 {
            let due = u32::try_from(due).unwrap_or(u32::MAX);
            self.lines = self.lines.saturating_add(due).min(TOLD_AT_ONCE);
            self.at = now;
        }
    }

    /// For how many happenings the line that is due speaks.
    fn line(&mut self) -> Option<u64> {
        let lines = self.lines.checked_sub(1)?;
        self.lines = lines;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl RefusalLog {
    /// Something of this kind happened `times`. `Some(n)`: write a line, and say that it speaks for
    /// `n` of them, those that were left out before included.
    pub fn note(&mut self, kind: &'static str, times: u64, now: Mono) -> Option<u64> {
        if times == 0 {
            return None;
        }
        let known = self.kinds.contains_key(kind) || self.kinds.len() < MAX_KINDS;
        let kind = if known { kind } else { "other" };
        let new = Told { lines: TOLD_AT_ONCE, at: now, left_out: 0 };
        let told = self.kinds.entry(kind).or_insert(new);
        told.refill(now);
        told.left_out = told.left_out.saturating_add(times);
        told.line()
    }

    /// Kinds of which some were left out while a line is due again, with their number: to be asked
    /// for now and then, or the last ones of a flood would never be told.
    pub fn overdue(&mut self, now: Mono) -> Vec<(&'static str, u64)> {
        let mut lines = Vec::new();
        for (kind, told) in &mut self.kinds {
            told.refill(now);
            if told.left_out > 0
                && let Some(times) = told.line()
            {
                lines.push((*kind, times));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: u64 = 1_000_000;

    #[test]
    fn a_flood_makes_a_bounded_number_of_lines_that_speak_for_all() {
        let mut log = RefusalLog::default();
        let mut lines = Vec::new();
        // A thousand within ten seconds.
        for n in 0..1_000 {
            lines.extend(log.note("forged", 1, Mono(n * SEC / 100)));
        }
        assert_eq!(lines[..3], [1, 1, 1]);
        assert!(lines.len() <= 5, "{lines:?}");
        let late = log.overdue(Mono(30 * SEC));
        assert_eq!(late.len(), 1);
        assert_eq!(lines.iter().sum::<u64>() + late[0].1, 1_000);
        assert!(log.overdue(Mono(60 * SEC)).is_empty(), "nothing is told twice");
    }

    #[test]
    fn one_kind_does_not_silence_another_and_calm_is_forgiven() {
        let mut log = RefusalLog::default();
        for _ in 0..100 {
            log.note("slow", 1, Mono(0));
        }
        assert_eq!(log.note("forged", 7, Mono(0)), Some(7));
        assert_eq!(log.note("slow", 1, Mono(0)), None);
        assert_eq!(log.note("slow", 1, Mono(60 * SEC)), Some(99));
        assert_eq!(log.note("slow", 0, Mono(90 * SEC)), None, "nothing happened");
    }

    #[test]
    fn kinds_are_bounded() {
        let mut log = RefusalLog::default();
        let names: Vec<&'static str> =
            (0..200).map(|n| &*Box::leak(format!("kind-{n}").into_boxed_str())).collect();
        for name in names {
            log.note(name, 1, Mono(0));
        }
        assert!(log.kinds.len() <= MAX_KINDS + 1, "{}", log.kinds.len());
    }
}
