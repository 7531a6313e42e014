//! Newtypes for everything that has a number or a name, so that one is never taken for another.

use std::fmt;
use std::str::FromStr;

/// A value that is not a legal identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Empty, longer than [`NodeId::MAX_LEN`], or with a character outside `[A-Za-z0-9._-]`.
    #[error("a node id has 1 to 64 characters out of A-Z a-z 0-9 . _ - and is neither ^ nor *")]
    Node,
    /// A number that does not fit.
    #[error("{0:?} is not a valid {1}")]
    Number(String, &'static str),
}

/// A node's unique name in the tree (thesis 3.1: the ids in `from` and `to`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(std::sync::Arc<str>);

impl NodeId {
    /// The longest id that is accepted, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`InvalidId::Node`] if the name is empty, too long or has a character that is not allowed.
    pub fn new(name: &str) -> Result<Self, InvalidId> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > Self::MAX_LEN || !name.bytes().all(legal) {
            return Err(InvalidId::Node);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        Self::new(s)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                s.trim().parse().map($name).map_err(|_| {
                    InvalidId::Number(s.chars().take(32).collect(), $what)
                })
            }
        }
    };
}

number!(
    /// A pipeline (one live stream with all its tracks and layers) by number; the thesis' `pipeid`.
    PipelineId, u32, "pipeline id"
);
number!(
    /// RTP synchronisation source (RFC 3550 section 3). One per track and layer; owned by the root.
    Ssrc, u32, "SSRC"
);
number!(
    /// Key epoch of a pipeline. On the wire its low 8 bits are the MKI.
    Epoch, u32, "key epoch"
);
number!(
    /// How often a node of this name has joined: an older incarnation never overrules a newer one.
    Incarnation, u64, "incarnation"
);
number!(
    /// Place in the current plan: on its own a node attaches only to a node of lower rank
    /// (DESIGN 6.4). The root has rank 0.
    Rank, u32, "rank"
);
number!(
    /// One media link between a child and a parent, unique at the root for its lifetime.
    LinkId, u64, "link id"
);
number!(
    /// 48-bit packet index of RFC 3711 section 3.3.1: roll-over counter * 65536 + sequence number.
    PacketIndex, u64, "packet index"
);

impl Epoch {
    /// The MKI octet that names this epoch in a packet (PROTOCOL "The media hop").
    pub fn mki(self) -> u8 {
        (self.0 & 0xff) as u8
    }
}

impl PacketIndex {
    /// Largest index that 48 bits can hold.
    pub const MAX: PacketIndex = PacketIndex((1 << 48) - 1);

    /// Builds an index from roll-over counter and sequence number.
    pub fn new(roc: u32, seq: u16) -> Self {
        Self((u64::from(roc) << 16) | u64::from(seq))
    }

    /// The roll-over counter part.
    pub fn roc(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The RTP sequence number part.
    pub fn seq(self) -> u16 {
        self.0 as u16
    }
}

/// What a node is in the tree. Root and leaf are relays with more functions (thesis 3.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Takes the broadcast in and plans the tree.
    Root,
    /// Multiplies packets.
    Relay,
    /// Hands packets to browsers.
    Leaf,
}

impl Role {
    /// The word used in XML, tokens and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Relay => "relay",
            Role::Leaf => "leaf",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        match s {
            "root" => Ok(Role::Root),
            "relay" => Ok(Role::Relay),
            "leaf" => Ok(Role::Leaf),
            _ => Err(InvalidId::Number(s.chars().take(32).collect(), "role (root, relay or leaf)")),
        }
    }
}
