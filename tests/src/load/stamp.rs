//! The stamp in every packet of the synthetic source: who opens a packet knows when it was sent,
//! which of the source's packets it is, and of what kind of frame. A server that hides loss by
//! numbering anew is found out by it.

/// Bytes of a stamp.
pub const STAMP_LEN: usize = 4 + 8 + 8 + 1;
const MAGIC: &[u8; 4] = b"SLst";
/// VP8's payload descriptor (RFC 7741 section 4.2), one byte here.
const DESCRIPTOR: usize = 1;
/// Header of a VP8 key frame (RFC 6386 section 9.1); interframes are given as much.
pub(super) const FRAME_HEADER: usize = 10;

/// A stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the packet at the source.
    pub number: u64,
    /// Wall clock when it was sent, in microseconds.
    pub sent_us: u64,
    /// Whether its frame is a key frame.
    pub key: bool,
}

impl Stamp {
    /// The stamp's bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; STAMP_LEN] {
        let mut out = [0; STAMP_LEN];
        out[..4].copy_from_slice(MAGIC);
        out[4..12].copy_from_slice(&self.number.to_be_bytes());
        out[12..20].copy_from_slice(&self.sent_us.to_be_bytes());
        out[20] = u8::from(self.key);
        out
    }

    /// The stamp of a VP8 payload, if it has one.
    #[must_use]
    pub fn find(payload: &[u8]) -> Option<Self> {
        [DESCRIPTOR, DESCRIPTOR + FRAME_HEADER].into_iter().find_map(|at| {
            let bytes: &[u8; STAMP_LEN] = payload.get(at..at + STAMP_LEN)?.try_into().ok()?;
            let word = |from: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&bytes[from..from + 8]);
                u64::from_be_bytes(word)
            };
            (&bytes[..4] == MAGIC).then(|| Self {
                number: word(4),
                sent_us: word(12),
                key: bytes[20] != 0,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_at_both_places_and_nowhere_else() {
        let stamp = Stamp { number: 7 << 40, sent_us: 1_700_000_000_000_001, key: true };
        for at in [1, 11] {
            let mut payload = vec![0x90; at];
            payload.extend(stamp.to_bytes());
            assert_eq!(Stamp::find(&payload), Some(stamp));
            payload.pop();
            assert_eq!(Stamp::find(&payload), None);
        }
        let mut elsewhere = vec![0; 5];
        elsewhere.extend(stamp.to_bytes());
        assert_eq!(Stamp::find(&elsewhere), None);
    }
}
