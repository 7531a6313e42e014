//! Everything that another node may send has a bound, and all bounds of the protocol are here.
//!
//! They are checked while reading, before memory is spent. Writers keep to them by construction:
//! free text is clipped, [`crate::message::ChildsUpdate::split`] cuts long lists.

/// Longest message in bytes (one WebSocket text frame). A CHILDSUPDATE of [`MAX_CHILDREN`] nodes
/// with the longest ids still fits.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// Deepest nesting of elements. Ours need 6; the rest is room for extensions.
pub const MAX_DEPTH: usize = 16;

/// Most elements in one message. STATS of [`MAX_CONTAINERS`] pipelines with a dozen names each
/// needs about 13,000; at about 150 bytes of memory each this bounds a message being read to a few
/// megabytes.
pub const MAX_ELEMENTS: usize = 16_384;

/// Most attributes of one element. Ours need at most 6.
pub const MAX_ATTRIBUTES: usize = 16;

/// Longest attribute value in bytes, as written.
pub const MAX_ATTRIBUTE: usize = 1024;

/// Longest element or attribute name in bytes.
pub const MAX_NAME: usize = 64;

/// Longest text inside one element in bytes: a certificate of [`MAX_CERTIFICATE`] bytes in base64
/// with line breaks.
pub const MAX_TEXT: usize = 16 * 1024;

/// Longest message type in bytes; the longest of ours has 14.
pub const MAX_TYPE: usize = 32;

/// Longest sentence meant for people (`reason`, the text of an ERROR), in bytes. Longer ones are
/// clipped by the writer and refused by the reader.
pub const MAX_SENTENCE: usize = 512;

/// Longest short word (region, label, names of tracks), in bytes.
pub const MAX_WORD: usize = 64;

/// Longest name of a stream, in bytes; it goes into URLs.
pub const MAX_STREAM_NAME: usize = 128;

/// Longest host name in bytes (RFC 1035 section 2.3.4).
pub const MAX_HOST: usize = 255;

/// Longest URL in bytes.
pub const MAX_URL: usize = 1024;

/// Longest `fmtp` line in bytes: H.264 parameter sets in base64 take a few hundred.
pub const MAX_FMTP: usize = 2048;

/// Longest PING token in bytes.
pub const MAX_ECHO: usize = 32;

/// Longest certificate request in bytes (DER); ours have about 300.
pub const MAX_CSR: usize = 4096;

/// Longest certificate in bytes (DER); ours have about 500.
pub const MAX_CERTIFICATE: usize = 8192;

/// Longest signed ticket in bytes; ours have about 400.
pub const MAX_TICKET: usize = 4096;

/// Bytes of an X25519 or Ed25519 public key (RFC 7748, RFC 8032).
pub const KEY_BYTES: usize = 32;

/// Bytes of a link's nonce.
pub const NONCE_BYTES: usize = 16;

/// Longest encapsulated HPKE key in bytes (RFC 9180: 32 for X25519).
pub const MAX_ENC: usize = 64;

/// Longest wrapped secret in bytes: 32 bytes and a 16-byte tag today.
pub const MAX_SEALED: usize = 256;

/// Most nodes added, and most removed, in one CHILDSUPDATE. With ids of 64 bytes each entry takes
/// at most 210 bytes, so that the message stays below [`MAX_MESSAGE`].
pub const MAX_CHILDREN: usize = 600;

/// Most nodes that a node routes to: far above any tree we plan for, and about 4 MB.
pub const MAX_DESCENDANTS: usize = 16_384;

/// Most pipelines that a HELLO lists.
pub const MAX_PIPELINES: usize = 256;

/// Most labels of a node.
pub const MAX_LABELS: usize = 32;

/// Most media addresses of a node: a few interfaces, IPv4 and IPv6, a NAT's outside.
pub const MAX_MEDIA: usize = 16;

/// Most parents in a REDIRECT: the new one and its backups.
pub const MAX_PARENTS: usize = 8;

/// Most tracks of a pipeline.
pub const MAX_TRACKS: usize = 16;

/// Most layers of a track: simulcast and ladders have 3 to 6.
pub const MAX_LAYERS: usize = 16;

/// Most layers of a whole pipeline, and so most entries of PLAYPIPELINE and PIPEDEFINFO.
pub const MAX_SSRCS: usize = 64;

/// Most epoch keys in a PIPEDEF: the current epoch and those that rings and caches still hold.
pub const MAX_KEYS: usize = 16;

/// Most removed nodes that a PIPEDEF names: as many as a node remembers. With ids of 64 bytes each
/// takes at most 120 bytes.
pub const MAX_REMOVALS: usize = 256;

/// Longest path of a ROUTEPIPELINE: deeper than any tree with sub-second delay.
pub const MAX_PATH: usize = 64;

/// Most containers in STATS and FULLSTATS: one for each pipeline and one for the node.
pub const MAX_CONTAINERS: usize = 256;

/// Most statistics of one container.
pub const MAX_STATS: usize = 32;

/// Longest name of a statistic in bytes: some end with a node's id.
pub const MAX_STAT_NAME: usize = 80;

/// Largest absolute value of a statistic: below 2^53, so that sums stay exact in an `f64`, and far
/// above any byte counter.
pub const MAX_STAT_VALUE: f64 = 1e15;

/// Most viewers that one node is believed to speak for: ten times what the fastest leaf carries.
pub const MAX_VIEWERS_PER_NODE: u32 = 50_000;
