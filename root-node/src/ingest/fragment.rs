//! Cutting payloads that are over the size limit. The unit (an H.264 NAL unit, a VP8 partition, a
//! VP9 layer frame) is a string of bytes that may come in several packets; it leaves in fragments
//! of one size, each with the codec's own header, the last one shorter. Equal sizes are what UDP
//! GSO wants on every hop and at the leaf (DESIGN 4).
//!
//! It never waits for a frame: a full fragment leaves as soon as its bytes are here, and what is
//! held back is less than one packet of a unit that is not complete anyway.

use bytes::{BufMut, Bytes, BytesMut};

/// The header of a unit's fragments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// Header of the first fragment.
    pub first: Vec<u8>,
    /// Header of the others.
    pub rest: Vec<u8>,
    /// Where the "last fragment" bit is: byte and mask (a mask of 0: the codec has none).
    pub end_bit: (usize, u8),
}

/// A part of a unit, as one incoming packet carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The header for outgoing fragments.
    pub prefix: Prefix,
    /// The unit begins here.
    pub start: bool,
    /// The unit ends here.
    pub end: bool,
    /// The unit's bytes, without the header they came with.
    pub body: Bytes,
}

/// Where a fragment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// It begins its unit.
    pub first: bool,
    /// It carries the last byte of the packet that was pushed: the marker bit goes here.
    pub last: bool,
}

/// A unit that is being cut.
#[derive(Debug)]
pub struct Fragmenter<M> {
    limit: usize,
    open: Option<Open<M>>,
}

#[derive(Debug)]
struct Open<M> {
    prefix: Prefix,
    first: bool,
    carry: BytesMut,
    meta: M,
}

impl<M> Fragmenter<M> {
    /// A cutter for payloads of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, open: None }
    }

    /// Whether bytes of an unfinished unit are held: then the next part must come through here.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Forgets what is held: a packet was lost, so the unit is damaged.
    pub fn abandon(&mut self) {
        self.open = None;
    }

    /// Gives out what is held as the unit's final fragment (without the codec's "last" bit: nobody said so).
    pub fn flush(&mut self, emit: &mut impl FnMut(Bytes, &M, Place)) {
        if let Some(open) = self.open.take()
            && !open.carry.is_empty()
        {
            let place = Place { first: open.first, last: false };
            emit(fragment(&open.prefix, open.first, false, &open.carry), &open.meta, place);
        }
    }

    /// Takes a part; `finish` says that nothing more of this unit is expected (the end of the
    /// unit, or of the frame). `emit` gets each payload, its meta
    /// (that of the unit's first part) and its place.
    pub fn push(
        &mut self,
        part: Part,
        finish: bool,
        meta: M,
        emit: &mut impl FnMut(Bytes, &M, Place),
    ) {
        if part.start {
            self.flush(emit);
        }
        let whole = part.start && (part.end || finish);
        let mut open = self.open.take().unwrap_or_else(|| Open {
            first: part.start,
            prefix: part.prefix.clone(),
            carry: BytesMut::new(),
            meta,
        });
        open.carry.extend_from_slice(&part.body);
        let room = |p: &Prefix, first: bool| {
            self.limit.saturating_sub(if first { p.first.len() } else { p.rest.len() }).max(1)
        };
        // A unit that is all here is cut into equal pieces; one that is still coming into full
        // ones. The first header may be longer than the others: pieces are equal on the wire.
        let mut size = self.limit;
        if whole {
            let head = open.prefix.first.len().saturating_sub(open.prefix.rest.len());
            let each = room(&open.prefix, false);
            let pieces = (open.carry.len() + head).div_ceil(each).max(1);
            size = (open.carry.len() + head).div_ceil(pieces) + open.prefix.rest.len();
        }
        loop {
            let header = if open.first { open.prefix.first.len() } else { open.prefix.rest.len() };
            let take = size.saturating_sub(header).clamp(1, room(&open.prefix, open.first));
            if open.carry.len() <= take {
                break;
            }
            let body = open.carry.split_to(take);
            let place = Place { first: open.first, last: false };
            emit(fragment(&open.prefix, open.first, false, &body), &open.meta, place);
            open.first = false;
        }
        if finish || part.end {
            let place = Place { first: open.first, last: true };
            emit(fragment(&open.prefix, open.first, part.end, &open.carry), &open.meta, place);
        } else {
            self.open = Some(open);
        }
    }
}

fn fragment(prefix: &Prefix, first: bool, end: bool, body: &[u8]) -> Bytes {
    let header = if first { &prefix.first } else { &prefix.rest };
    let mut out = BytesMut::with_capacity(header.len() + body.len());
    out.put_slice(header);
    if end && let Some(byte) = out.get_mut(prefix.end_bit.0) {
        *byte |= prefix.end_bit.1;
    }
    out.put_slice(body);
    out.freeze()
}
