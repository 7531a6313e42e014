//! Messages as XML and back (PROTOCOL, thesis 3.1). `docs/protocol.md` shows every type.
//!
//! A text is first read into a small tree within bounds (`tree`), then its envelope and body are
//! taken out of it with every value checked (`envelope`, `nodes`, `streams`, `statistics`; each
//! holds both directions of its types). Elements and attributes that are not known are ignored, so
//! that the protocol can be extended; types that are not known are told apart from malformed ones.
//!
//! White space around any value is not part of it.

mod envelope;
mod error;
mod nodes;
mod read;
mod statistics;
mod streams;
mod tree;
mod write;

pub use error::XmlError;
