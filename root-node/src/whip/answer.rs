//! Writes the answer: what was agreed, our credentials and all our candidates, for nobody gathers more
//! of them later (RFC 9725 section 4.3.2).

use super::offer::{Credentials, MIXED};
use super::plan::{Line, Plan};
use relay_node::config::candidates::Candidate;
use relay_node::webrtc::ice::{ICE_OPTIONS, write_candidates};
use soleil_protocol::pipeline::MediaKind;
use std::fmt::Write;

/// Our side of a session.
#[derive(Debug)]
pub struct Ours<'a> {
    /// Our ICE credentials.
    pub ice: &'a Credentials,
    /// Hash function and fingerprint of our certificate.
    pub fingerprint: &'a str,
    /// Where our port is reached, best first.
    pub addresses: &'a [Candidate],
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
    // RFC 9725 section 4.4.1 wants it of both sides, though answers have no need of it and RFC 8858 section
    // 4.3 leaves it out of them.
    out.push_str("a=rtcp-mux-only\r\n");
    if section.rtcp_rsize {
        out.push_str("a=rtcp-rsize\r\n");
    }
    write!(out, "a=setup:passive\r\na=fingerprint:{}\r\n", ours.fingerprint)?;
    write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ours.ice.ufrag, ours.ice.pwd)?;
    write_candidates(out, ours.addresses)?;
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
    if section.mixed {
        write!(out, "a={MIXED}\r\n")?;
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
