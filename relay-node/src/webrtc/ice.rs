//! What descriptions and fragments say of ICE: what we are, our candidates, and which credentials there
//! can be.

use crate::config::candidates::{Candidate, Transport};
use std::fmt::Write;

/// What we are in ICE, the same in every description and fragment of a session (RFC 9725 section
/// 4.3.3): a lite agent (RFC 8445 section 2.5) that takes candidates later (RFC 8840 section 4.1.3).
pub const ICE_OPTIONS: &str = "a=ice-lite\r\na=ice-options:trickle ice2\r\n";

/// Whether name fragment and password have lengths that there are (RFC 8839 section 5.4).
pub fn good_lengths(ufrag: &str, pwd: &str) -> bool {
    (4..=256).contains(&ufrag.len()) && (22..=256).contains(&pwd.len())
}

/// All our candidates, best first. TCP ones are passive: the other side connects (RFC 6544 section
/// 4.5).
///
/// # Errors
/// None: it writes to memory.
pub fn write_candidates(out: &mut String, candidates: &[Candidate]) -> std::fmt::Result {
    for (i, Candidate { transport, address }) in candidates.iter().enumerate() {
        let (ip, port, preference) = (address.ip(), address.port(), i as u32);
        // Component 1, local preference in our order (RFC 8445 section 5.1.2.1). Type preferences:
        // 126 (host), and less for TCP, which waits for lost packets, so that it serves only where
        // UDP does not get through; there the upper bits of the local preference are 4 for passive
        // (RFC 6544 section 4.2).
        let (name, kind, preference, more) = match transport {
            Transport::Udp => ("udp", 126, 65_535 - preference.min(65_535), ""),
            Transport::Tcp => {
                ("tcp", 90, (4 << 13) + 8_191 - preference.min(8_191), " tcptype passive")
            }
        };
        let priority = (kind << 24) | (preference << 8) | 255;
        let number = i + 1;
        write!(out, "a=candidate:{number} 1 {name} {priority} {ip} {port} typ host{more}\r\n")?;
    }
    out.push_str("a=end-of-candidates\r\n");
    Ok(())
}
