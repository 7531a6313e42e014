//! What has to be known of a STUN message (RFC 8489) before `rtc` gets it: whose it is, and whether it
//! may have it.

/// The fixed values (section 5).
const HEADER: usize = 20;
pub(super) const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Types: a Binding request, and the success response to one.
const REQUEST: [u8; 2] = [0, 1];
const SUCCESS: [u8; 2] = [1, 1];
/// Attributes.
const USERNAME: u16 = 0x0006;
const ICE_CONTROLLED: u16 = 0x8029;
/// Longest user name: two fragments and a colon.
const MAX_USERNAME: usize = 513;

fn is_stun(datagram: &[u8]) -> bool {
    // RFC 7983: STUN's first byte is below 4.
    datagram.len() >= HEADER && datagram[0] < 4 && datagram[4..8] == COOKIE
}

/// All attributes; the last one is an error if the message ends within one.
fn attributes(datagram: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Cut>> {
    let mut rest = datagram.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, after) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        // What pads the last one is nobody's.
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_be_bytes([header[0], header[1]]);
        Some(after.get(..length).map(|value| (kind, value)).ok_or(Cut))
    })
}

/// A message that ends too early.
struct Cut;

/// The receiver's fragment in the user name of a request.
pub(super) fn ufrag(datagram: &[u8]) -> Option<&str> {
    let all = is_stun(datagram).then(|| attributes(datagram));
    let (_, value) = all?.map_while(Result::ok).find(|(kind, _)| *kind == USERNAME)?;
    let name = std::str::from_utf8(value).ok().filter(|n| n.len() <= MAX_USERNAME)?;
    name.split(':').next()
}

/// Whether it is a check, or the answer to one.
pub(super) fn is_check_or_answer(datagram: &[u8]) -> bool {
    is_stun(datagram) && [REQUEST, SUCCESS].contains(&[datagram[0], datagram[1]])
}

/// Whether the sender says that it is the controlled side, or says nothing that can be read.
///
/// Roles are decided here from the start: with one lite side, the other one controls (RFC 8445 section
/// 6.1.1), and an offer of another lite side is refused. Repair of role conflicts (section 7.3.1.1) is for
/// full implementations, and for requests that have proved to know the secret. `rtc` does it for lite ones,
/// too, and before it has looked at the proof: whoever had seen a user name fragment could turn its role,
/// after which it would nominate pairs of its own. What says this is dropped therefore; the broadcaster
/// never does.
pub(super) fn claims_controlled(datagram: &[u8]) -> bool {
    let says =
        |found: Result<(u16, &[u8]), Cut>| found.map_or(true, |(kind, _)| kind == ICE_CONTROLLED);
    is_stun(datagram) && attributes(datagram).any(says)
}

#[cfg(test)]
mod tests {
    use super::super::route::tests::request;
    use super::*;

    #[test]
    fn who_says_that_it_is_controlled_is_found_wherever_it_says_so() {
        let plain = request("abcd:zzzz");
        assert!(!claims_controlled(&plain));
        let attribute = [0x80, 0x29, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut said = plain.clone();
        // The user name is padded to whole words.
        said.resize(said.len().next_multiple_of(4), 0);
        said.extend(attribute);
        assert!(claims_controlled(&said));
        assert!(claims_controlled(&[&plain[..20], &attribute].concat()));
        // What can't be read to its end may say anything.
        assert!(claims_controlled(&said[..said.len() - 1]));
        assert!(!claims_controlled(&[0x80; 60]), "no STUN");
    }
}
