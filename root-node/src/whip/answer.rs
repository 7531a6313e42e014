//! Writes the answer: what was agreed, our credentials and all our candidates, for nobody gathers more
//! of them later (RFC 9725 section 4.3.2).

use super::offer::Credentials;
use super::plan::{Line, Plan};
use soleil_protocol::pipeline::MediaKind;
use std::fmt::Write;
use std::net::SocketAddr;

/// What we are, at session level.
pub(super) const ICE_OPTIONS: &str = "a=ice-lite\r\na=ice-options:trickle ice2\r\n";

/// Our side of a session.
#[derive(Debug)]
pub struct Ours<'a> {
    /// Our ICE credentials.
    pub ice: &'a Credentials,
    /// Hash function and fingerprint of our certificate.
    pub fingerprint: &'a str,
    /// Where our port is reached, best first.
    pub addresses: &'a [SocketAddr],
    /// Number of the session for the `o=` line.
    pub session: u32,
}

/// The answer to the offer that the plan was made of.
///
/// # Errors
/// None: it writes to memory.
pub fn answer(plan: &Plan, ours: &Ours<'_>) -> Result<String, std::fmt::Error> {
    let mut out = String::with_capacity(2048);
    write!(out, "v=0\r\no=- {} 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", ours.session)?;
    out.push_str("a=group:BUNDLE");
    for line in &plan.lines {
        write!(out, " {}", line.section.mid)?;
    }
    out.push_str("\r\n");
    out.push_str(ICE_OPTIONS);
    out.push_str("a=msid-semantic: WMS *\r\n");
    for line in &plan.lines {
        section(&mut out, line, ours)?;
    }
    Ok(out)
}

fn section(out: &mut String, line: &Line, ours: &Ours<'_>) -> std::fmt::Result {
    let (section, codec) = (&line.section, &line.codec);
    let media = if section.kind == MediaKind::Audio { "audio" } else { "video" };
    let payload_type = codec.payload_type;
    write!(out, "m={media} 9 UDP/TLS/RTP/SAVPF {payload_type}")?;
    if let Some(rtx) = line.rtx {
        write!(out, " {rtx}")?;
    }
    out.push_str("\r\nc=IN IP4 0.0.0.0\r\n");
    write!(out, "a=mid:{}\r\na=recvonly\r\na=rtcp-mux\r\n", section.mid)?;
    if section.rtcp_rsize {
        out.push_str("a=rtcp-rsize\r\n");
    }
    write!(out, "a=setup:passive\r\na=fingerprint:{}\r\n", ours.fingerprint)?;
    write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ours.ice.ufrag, ours.ice.pwd)?;
    candidates(out, ours.addresses)?;
    write!(out, "a=rtpmap:{payload_type} {}/{}", codec.name, codec.clock_rate)?;
    if let Some(channels) = &codec.channels {
        write!(out, "/{channels}")?;
    }
    out.push_str("\r\n");
    if !line.fmtp.is_empty() {
        write!(out, "a=fmtp:{payload_type} {}\r\n", line.fmtp)?;
    }
    for feedback in &line.feedback {
        write!(out, "a=rtcp-fb:{payload_type} {feedback}\r\n")?;
    }
    if let Some(rtx) = line.rtx {
        write!(
            out,
            "a=rtpmap:{rtx} rtx/{}\r\na=fmtp:{rtx} apt={payload_type}\r\n",
            codec.clock_rate
        )?;
    }
    for (extension, id) in &section.extensions {
        write!(out, "a=extmap:{id} {}\r\n", extension.uri())?;
    }
    for rid in &line.rids {
        write!(out, "a=rid:{rid} recv\r\n")?;
    }
    if !line.rids.is_empty() {
        write!(out, "a=simulcast:recv {}\r\n", line.rids.join(";"))?;
    }
    Ok(())
}

/// Host candidates (RFC 8839 section 5.1), best first.
pub(super) fn candidates(out: &mut String, addresses: &[SocketAddr]) -> std::fmt::Result {
    for (n, address) in addresses.iter().enumerate() {
        let local = 65_535 - n.min(65_535) as u32;
        // RFC 8445 section 5.1.2.1: type preference of a host, local preference, component 1.
        let priority = (126 << 24) | (local << 8) | 255;
        let (ip, port) = (address.ip(), address.port());
        write!(out, "a=candidate:{} 1 udp {priority} {ip} {port} typ host\r\n", n + 1)?;
    }
    out.push_str("a=end-of-candidates\r\n");
    Ok(())
}
