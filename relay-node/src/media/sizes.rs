//! How large packets are, and why (DESIGN 4).

/// The largest UDP payload that is sent to a viewer. With IPv6 and UDP headers 1,248 bytes: it
/// passes tunnels and stays below IPv6's least MTU of 1,280.
pub const MAX_DATAGRAM: usize = 1_200;

/// RTP header without CSRCs (RFC 3550 section 5.1).
pub const RTP_HEADER: usize = 12;

/// Start of a header extension block (RFC 8285 section 4.2).
pub const EXTENSION_HEADER: usize = 4;

/// Elements of the hop's extension block: 4 + 8 + 1 bytes of data and a byte in front of each.
pub const HOP_ELEMENTS: usize = 16;

/// Header of a hop packet: constant, or GSO runs would break.
pub const HOP_HEADER: usize = RTP_HEADER + EXTENSION_HEADER + HOP_ELEMENTS;

/// The MKI octet after the tag.
pub const MKI: usize = 1;

/// Authentication tag (RFC 7714 section 13.1).
pub const TAG: usize = 16;

/// What a hop packet has besides its payload.
pub const HOP_OVERHEAD: usize = HOP_HEADER + TAG + MKI;

/// Room for a viewer's header extensions (mid, transport-wide number, absolute capture time).
pub const VIEWER_ELEMENTS: usize = 24;

/// Original sequence number in front of an RTX payload (RFC 4588 section 4).
pub const RTX_OSN: usize = 2;

/// The largest payload that the root makes: a viewer's datagram must hold it even as RTX.
pub const MAX_PAYLOAD: usize =
    MAX_DATAGRAM - RTP_HEADER - EXTENSION_HEADER - VIEWER_ELEMENTS - RTX_OSN - TAG;

/// The largest hop packet: anything larger is dropped unread.
pub const MAX_HOP_PACKET: usize = MAX_PAYLOAD + HOP_OVERHEAD;

/// A root that starts again numbers the packets of a layer from at least so far above everything
/// that it may have sent before; a gap of this size is therefore another life of the layer, and
/// nothing in it was ever sent. No outage is taken for one: it is 3 minutes of 5,000 packets a
/// second, and rings are much shorter.
pub const INDEX_LEAP: u64 = 1 << 20;

const _: () = assert!(MAX_PAYLOAD == 1_142 && MAX_HOP_PACKET <= MAX_DATAGRAM);
