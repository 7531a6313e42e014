//! The little RTCP that ingest speaks with a broadcaster (RFC 3550 section 6): it reads Sender
//! Reports and BYE, and writes Receiver Report, SDES and PLI. Receiver Reports and everything
//! else that a sender may add is skipped.

/// What a compound packet said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FromSender {
    /// SSRC of the packet's first part.
    pub ssrc: u32,
    /// NTP time and RTP timestamp of a Sender Report.
    pub report: Option<(u64, u32)>,
    /// The sender says goodbye.
    pub bye: bool,
}

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1).
mod packet {
    pub const SR: u8 = 200;
    pub const RR: u8 = 201;
    pub const SDES: u8 = 202;
    pub const BYE: u8 = 203;
    pub const PSFB: u8 = 206;
}

/// Reads a compound packet; `None` if it is not well formed (RFC 3550 appendix A.2).
pub fn parse(mut rest: &[u8]) -> Option<FromSender> {
    let mut found: Option<FromSender> = None;
    while !rest.is_empty() {
        let header = rest.get(..4)?;
        if header[0] >> 6 != 2 {
            return None;
        }
        let length = 4 + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (part, after) = rest.split_at_checked(length)?;
        rest = after;
        let ssrc = word(part, 4);
        let from = found.get_or_insert(FromSender { ssrc: ssrc?, ..FromSender::default() });
        match header[1] {
            packet::SR => {
                let ntp = (u64::from(word(part, 8)?) << 32) | u64::from(word(part, 12)?);
                let timestamp = word(part, 16)?;
                // The sender's own packet and octet counts must be there, too.
                word(part, 24)?;
                if ssrc == Some(from.ssrc) {
                    from.report = Some((ntp, timestamp));
                }
            }
            packet::BYE => from.bye |= ssrc == Some(from.ssrc),
            _ => {}
        }
    }
    found
}

fn word(part: &[u8], at: usize) -> Option<u32> {
    let bytes = part.get(at..at + 4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// One report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The sender's SSRC.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning (24 bits, signed).
    pub lost: i32,
    /// Extended highest sequence number.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last Sender Report's NTP time.
    pub last_report: u32,
    /// Delay since then in 1/65536 s.
    pub delay: u32,
}

/// The canonical name in our SDES: the sender does not need to know more.
const CNAME: &[u8] = b"soleil";

/// Writes a compound packet: Receiver Report, SDES and, if asked for, a PLI (RFC 4585 section
/// 6.3.1) for the sender's SSRC.
pub fn write(own: u32, block: ReportBlock, pli: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend([0x81, packet::RR, 0, 7]);
    out.extend(own.to_be_bytes());
    out.extend(block.ssrc.to_be_bytes());
    let lost = block.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
    out.extend(((u32::from(block.fraction_lost) << 24) | lost).to_be_bytes());
    for value in [block.highest, block.jitter, block.last_report, block.delay] {
        out.extend(value.to_be_bytes());
    }
    // SDES: one chunk, CNAME, ended by zeros up to a 32-bit boundary.
    let chunk = 4 + 2 + CNAME.len() + 1;
    let words = chunk.div_ceil(4);
    out.extend([0x81, packet::SDES, 0, words as u8]);
    out.extend(own.to_be_bytes());
    out.extend([1, CNAME.len() as u8]);
    out.extend(CNAME);
    out.resize(out.len() + words * 4 - (chunk - 1), 0);
    if pli {
        out.extend([0x81, packet::PSFB, 0, 2]);
        out.extend(own.to_be_bytes());
        out.extend(block.ssrc.to_be_bytes());
    }
    out
}

/// Reception statistics for the report block (RFC 3550 appendix A.3 and A.8).
#[derive(Debug, Clone, Default)]
pub struct Reception {
    base: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    transit: Option<i64>,
    jitter16: u64,
}

impl Reception {
    /// A packet came: its extended sequence number, timestamp and arrival in timestamp units.
    pub fn packet(&mut self, at: u64, timestamp: u32, arrival: u32) {
        self.base.get_or_insert(at);
        self.highest = self.highest.max(at);
        self.received += 1;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        if let Some(before) = self.transit.replace(transit) {
            let d = i64::from((transit - before) as i32).unsigned_abs();
            self.jitter16 = self.jitter16 + d - ((self.jitter16 + 8) >> 4);
        }
    }

    /// The block so far; begins a new interval.
    pub fn report(&mut self, ssrc: u32) -> ReportBlock {
        let expected = self.base.map_or(0, |base| self.highest.saturating_sub(base) + 1);
        let interval = expected.saturating_sub(self.expected_before);
        let received = self.received.saturating_sub(self.received_before);
        let lost = interval.saturating_sub(received);
        let fraction = (lost * 256).checked_div(interval).unwrap_or(0).min(255);
        self.expected_before = expected;
        self.received_before = self.received;
        ReportBlock {
            ssrc,
            fraction_lost: fraction as u8,
            lost: (expected as i64 - self.received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest: self.highest as u32,
            jitter: (self.jitter16 >> 4) as u32,
            last_report: 0,
            delay: 0,
        }
    }
}
