//! What root and child say to each other on their socket: a byte that says what it is, one for the layer,
//! two for the length, then so many bytes. Pure.

/// Largest frame: a job, or a packet as large as ingest takes them.
pub const MAX_BODY: usize = u16::MAX as usize;
const HEAD: usize = 4;

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To the child, first of all: what it is to do (JSON).
    Job = 1,
    /// RTP: to the child of the source, from it of a layer.
    Rtp = 2,
    /// To the child: RTP with which a key frame begins.
    Key = 3,
    /// To the child: a key frame of that layer is wanted.
    Wanted = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        [Kind::Job, Kind::Rtp, Kind::Key, Kind::Wanted].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Of which layer: the number of its rung.
    pub layer: u8,
    /// The bytes.
    pub body: Vec<u8>,
}

/// Writes a frame; `false` if the body is too long: nothing is written then.
pub fn write(kind: Kind, layer: u8, body: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(body.len()) else { return false };
    out.extend_from_slice(&[kind as u8, layer]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    true
}

/// Puts frames together out of pieces.
#[derive(Debug, Default)]
pub struct Splitter {
    bytes: Vec<u8>,
    read: usize,
}

impl Splitter {
    /// More has come.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next frame, if it is there.
    ///
    /// # Errors
    /// The byte that is no kind of frame: nothing that follows can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, u8> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let Some((head, rest)) = rest.split_at_checked(HEAD) else { return Ok(None) };
        let [kind, layer, high, low] = *head else { return Ok(None) };
        let kind = Kind::of(kind).ok_or(kind)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let body = body.to_vec();
        self.read += HEAD + length;
        Ok(Some(Frame { kind, layer, body }))
    }
}
