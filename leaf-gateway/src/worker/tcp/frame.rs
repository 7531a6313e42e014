//! RFC 4571 framing: two bytes of length before every packet. Pure.

use std::net::SocketAddr;

/// The longest frame of a viewer: its DTLS flights and RTCP are shorter than this on every path.
pub(super) const MAX_FRAME: usize = 4_096;

/// Bytes of the length.
const HEADER: usize = 2;

/// A frame is longer than [`MAX_FRAME`]: whoever sends it is no viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Cuts a byte stream into frames; holds at most one that is not complete.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    partial: Vec<u8>,
}

impl Deframer {
    /// Takes what came and gives each frame that is complete; empty ones are passed over.
    pub(super) fn push(&mut self, data: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLong> {
        let mut rest = data;
        while !self.partial.is_empty() && !rest.is_empty() {
            let wanted = if self.partial.len() < HEADER { HEADER } else { whole(&self.partial)? };
            let (now, later) = rest.split_at(rest.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(now);
            rest = later;
            if self.partial.len() >= HEADER && self.partial.len() == whole(&self.partial)? {
                give(&self.partial, &mut each);
                self.partial.clear();
            }
        }
        while rest.len() >= HEADER {
            let Some((frame, later)) = rest.split_at_checked(whole(rest)?) else { break };
            give(frame, &mut each);
            rest = later;
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }
}

/// Frames that have come, each with its connection's address.
#[derive(Debug, Default)]
pub(in crate::worker) struct Frames {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<(SocketAddr, usize, usize)>,
}

impl Frames {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Calls `each` with every frame.
    pub(in crate::worker) fn for_each(&mut self, mut each: impl FnMut(SocketAddr, &mut [u8])) {
        for (from, start, end) in &self.spans {
            if let Some(data) = self.bytes.get_mut(*start..*end) {
                each(*from, data);
            }
        }
    }
}

fn give(frame: &[u8], each: &mut impl FnMut(&[u8])) {
    if let Some(data) = frame.get(HEADER..).filter(|data| !data.is_empty()) {
        each(data);
    }
}

/// The length of a frame with its header.
fn whole(frame: &[u8]) -> Result<usize, TooLong> {
    let length = frame.first_chunk().map_or(0, |l| usize::from(u16::from_be_bytes(*l)));
    if length > MAX_FRAME { Err(TooLong) } else { Ok(HEADER + length) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in frames {
            out.extend_from_slice(&(frame.len() as u16).to_be_bytes());
            out.extend_from_slice(frame);
        }
        out
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_has_come() {
        let mut d = Deframer::default();
        assert_eq!(d.push(&[0xff], |_| {}), Ok(()));
        assert_eq!(d.push(&[0xff], |_| {}), Err(TooLong));
        let length = (MAX_FRAME as u16 + 1).to_be_bytes();
        assert_eq!(Deframer::default().push(&length, |_| {}), Err(TooLong));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cuts in prop::collection::vec(1usize..97, 1..40),
        ) {
            let stream = framed(&frames);
            let (mut d, mut seen, mut rest) = (Deframer::default(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                d.push(now, |frame| seen.push(frame.to_vec())).unwrap();
                prop_assert!(d.partial.len() < 2 + MAX_FRAME);
                rest = later;
            }
            let sent: Vec<_> = frames.into_iter().filter(|f| !f.is_empty()).collect();
            prop_assert_eq!(seen, sent);
            prop_assert!(d.partial.is_empty());
        }

        #[test]
        fn noise_holds_little(data in prop::collection::vec(any::<u8>(), 0..20_000)) {
            let mut d = Deframer::default();
            let _ = data.chunks(1_000).try_for_each(|chunk| d.push(chunk, |f| assert!(f.len() <= MAX_FRAME)));
            prop_assert!(d.partial.len() < 2 + MAX_FRAME + 1_000);
        }
    }
}
