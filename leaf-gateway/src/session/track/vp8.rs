//! The picture's numbers in VP8's payload descriptor (RFC 7741 section 4.2) where frames are left
//! out. A browser that sees a hole in them holds the frames of upper temporal layers back until the
//! missing one comes or a key frame does; so what is left out must leave none. Pure.

use crate::rewriter::Skipped;

/// Where the numbers are in a packet's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Places {
    /// First byte of the picture id, and whether it has two.
    picture: Option<(usize, bool)>,
    /// The number of the frame of the base layer.
    base: Option<usize>,
}

/// `None` if the descriptor is cut off.
fn places(payload: &[u8]) -> Option<Places> {
    let mut places = Places::default();
    if payload.first()? & 0x80 == 0 {
        return Some(places);
    }
    let extension = *payload.get(1)?;
    let mut at = 2;
    if extension & 0x80 != 0 {
        let long = *payload.get(at)? & 0x80 != 0;
        places.picture = Some((at, long));
        at += if long { 2 } else { 1 };
        payload.get(at - 1)?;
    }
    if extension & 0x40 != 0 {
        payload.get(at)?;
        places.base = Some(at);
    }
    Some(places)
}

/// What leaving out the frame of this packet skips.
pub(super) fn skips(payload: &[u8], base_layer: bool) -> Skipped {
    let places = places(payload).unwrap_or_default();
    Skipped {
        pictures: u16::from(places.picture.is_some()),
        bases: u8::from(base_layer && places.base.is_some()),
    }
}

/// Numbers a packet as if what was left out before it had never been.
pub(super) fn close_up(payload: &mut [u8], skipped: Skipped) {
    let Some(Places { picture, base }) = places(payload) else { return };
    match picture {
        Some((at, true)) => {
            let id = u16::from_be_bytes([payload[at], payload[at + 1]]);
            let id = 0x8000 | (id.wrapping_sub(skipped.pictures) & 0x7fff);
            payload[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        Some((at, false)) => payload[at] = payload[at].wrapping_sub(skipped.pictures as u8) & 0x7f,
        None => {}
    }
    if let Some(at) = base {
        payload[at] = payload[at].wrapping_sub(skipped.bases);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A descriptor as encoders with temporal layers write it, and a byte of the frame.
    pub(in super::super) fn descriptor(picture: u16, base: u8, layer: u8) -> Vec<u8> {
        let [high, low] = (0x8000 | picture).to_be_bytes();
        vec![0x90, 0xe0, high, low, base, layer << 6, 0x55]
    }

    fn closed_up(mut payload: Vec<u8>, pictures: u16, bases: u8) -> Vec<u8> {
        close_up(&mut payload, Skipped { pictures, bases });
        payload
    }

    #[test]
    fn numbers_of_all_sizes_go_down_and_wrap() {
        assert_eq!(closed_up(descriptor(300, 7, 2), 3, 1), descriptor(297, 6, 2));
        assert_eq!(closed_up(descriptor(2, 0, 1), 5, 1), descriptor(0x7ffd, 255, 1));
        assert_eq!(closed_up(vec![0x90, 0x80, 1, 0x55], 2, 9), [0x90, 0x80, 0x7f, 0x55]);
        assert_eq!(closed_up(vec![0x90, 0x40, 9, 0x55], 2, 1), [0x90, 0x40, 8, 0x55]);
    }

    #[test]
    fn what_has_no_numbers_or_is_cut_off_stays() {
        for payload in
            [&[][..], &[0x10, 0xff, 0xff], &[0x90], &[0x90, 0x80], &[0x90, 0xc0, 0x81, 0]]
        {
            assert_eq!(closed_up(payload.to_vec(), 1, 1), payload);
            assert_eq!(skips(payload, true), Skipped::default());
        }
        assert_eq!(skips(&descriptor(1, 1, 0), true), Skipped { pictures: 1, bases: 1 });
        assert_eq!(skips(&descriptor(1, 1, 2), false), Skipped { pictures: 1, bases: 0 });
    }
}
