//! Why something from a broadcaster was not taken, as a closed list: each reason is a counter and
//! the label of a metric. It decides nothing.

/// Why a datagram (or a payload in it) was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum DropReason {
    /// Shorter than its headers say.
    Truncated,
    /// Not RTP version 2.
    Version,
    /// The CSRC list does not fit.
    Csrc,
    /// The header extension does not fit.
    Extension,
    /// A padding length of zero or beyond the packet.
    Padding,
    /// A payload type that this port is not configured for.
    PayloadType,
    /// The port is locked to another sender.
    SecondSender,
    /// A far jump in sequence numbers that the next packet has not confirmed yet
    /// (RFC 3550 appendix A.1).
    Sequence,
    /// The same sequence number again.
    Duplicate,
    /// Behind the reorder window.
    Late,
    /// The payload header does not parse.
    Payload,
    /// A packetisation that browsers do not play (RFC 6184 interleaved mode).
    Unsupported,
    /// Over the size limit, and the codec can't be split.
    Oversized,
    /// RTCP that is malformed, or not from the sender that the port is locked to.
    Rtcp,
    /// Nobody is there to seal it yet: the pipeline has no key.
    NoKey,
    /// Another source of the stream is on air.
    OffAir,
}

impl DropReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [DropReason; 16] = [
        DropReason::Truncated,
        DropReason::Version,
        DropReason::Csrc,
        DropReason::Extension,
        DropReason::Padding,
        DropReason::PayloadType,
        DropReason::SecondSender,
        DropReason::Sequence,
        DropReason::Duplicate,
        DropReason::Late,
        DropReason::Payload,
        DropReason::Unsupported,
        DropReason::Oversized,
        DropReason::Rtcp,
        DropReason::NoKey,
        DropReason::OffAir,
    ];

    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::Truncated => "truncated",
            DropReason::Version => "version",
            DropReason::Csrc => "csrc",
            DropReason::Extension => "extension",
            DropReason::Padding => "padding",
            DropReason::PayloadType => "payload_type",
            DropReason::SecondSender => "second_sender",
            DropReason::Sequence => "sequence",
            DropReason::Duplicate => "duplicate",
            DropReason::Late => "late",
            DropReason::Payload => "payload",
            DropReason::Unsupported => "unsupported",
            DropReason::Oversized => "oversized",
            DropReason::Rtcp => "rtcp",
            DropReason::NoKey => "no_key",
            DropReason::OffAir => "off_air",
        }
    }
}

/// Counters of one layer; they only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// RTP packets taken.
    pub accepted: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that left for sealing (more than `accepted` where packets were split).
    pub sent: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Gaps that viewers can notice (loss that was given up, or a change of source).
    pub gaps: u64,
    /// Packets that had to be split.
    pub split: u64,
    /// Key frames begun.
    pub key_frames: u64,
    /// Times that the source changed (another SSRC, another sender, a restart).
    pub sources: u64,
    /// RTCP packets taken from the sender.
    pub rtcp: u64,
    /// Key-frame requests sent to the sender.
    pub plis: u64,
    /// Dropped, by [`DropReason`].
    pub dropped: [u64; DropReason::ALL.len()],
}

impl Counters {
    /// Counts one drop.
    pub fn drop(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// How many were dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many were dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
