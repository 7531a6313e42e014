//! Key-frame requests of one layer, merged: whoever asks, at most one in 500 ms goes up. One that
//! comes within that time is deferred, not lost, unless a key frame starts meanwhile.

use soleil_protocol::Mono;
use std::time::Duration;

/// At most one request per layer goes up in this time (DESIGN 3).
pub const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Merges key-frame requests.
#[derive(Debug, Default)]
pub struct KeyFrameRequests {
    sent: Option<Mono>,
    deferred: bool,
}

impl KeyFrameRequests {
    /// Somebody asks: whether a request goes up now.
    pub fn request(&mut self, now: Mono) -> bool {
        match self.sent {
            Some(at) if now < at.after(KEY_FRAME_INTERVAL) => {
                self.deferred = true;
                false
            }
            _ => {
                self.sent = Some(now);
                self.deferred = false;
                true
            }
        }
    }

    /// A key frame begins: whoever waited has got it.
    pub fn key_frame_started(&mut self) {
        self.deferred = false;
    }

    /// When a deferred request is due.
    pub fn next_due(&self) -> Option<Mono> {
        self.sent.filter(|_| self.deferred).map(|at| at.after(KEY_FRAME_INTERVAL))
    }

    /// Whether a deferred request goes up now.
    pub fn take_due(&mut self, now: Mono) -> bool {
        self.next_due().is_some_and(|due| now >= due) && self.request(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    #[test]
    fn one_in_500_ms_and_the_last_is_not_lost() {
        let mut k = KeyFrameRequests::default();
        assert!(k.request(Mono(0)));
        assert_eq!(k.next_due(), None);
        assert!(!k.request(Mono(100 * MS)) && !k.request(Mono(499 * MS)));
        assert_eq!(k.next_due(), Some(Mono(500 * MS)));
        assert!(!k.take_due(Mono(499 * MS)));
        assert!(k.take_due(Mono(500 * MS)));
        assert!(!k.take_due(Mono(2000 * MS)));
        assert!(k.request(Mono(2000 * MS)));
    }

    #[test]
    fn a_key_frame_answers_those_who_wait() {
        let mut k = KeyFrameRequests::default();
        assert!(k.request(Mono(0)));
        assert!(!k.request(Mono(100 * MS)));
        k.key_frame_started();
        assert_eq!(k.next_due(), None);
        assert!(!k.take_due(Mono(600 * MS)));
    }
}
