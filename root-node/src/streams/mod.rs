//! Streams that come and go while the root runs. The [`Registry`] knows all streams: those of the
//! configuration, which stay as they are until the root's next start, and those that operators define
//! through the API, which the store keeps. It starts and stops their ingest and tells the tree.
//!
//! Not here: who may ask for that (`http::api`), and what happens to packets (`ingest`).

mod definition;
mod ports;
mod registry;
mod run;
mod source;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use definition::{Definition, TrackDefinition, TrackRequest};
pub use registry::{Info, Known, Origin, Registry, State};
pub use run::{Prepared, Surroundings, Tree};
pub use source::{SourceDefinition, SourceRequest};
pub use table::Table;

use crate::store::StoreError;

/// Why a stream can't be defined, changed, started, stopped or removed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nobody knows it. The name is not repeated: it is whatever was sent.
    #[error("there is no stream of this name: /api/v1/streams lists those that exist")]
    Unknown,
    /// It has a place already.
    #[error("there is a stream {0:?} already")]
    Exists(String),
    /// The configuration has it.
    #[error(
        "stream {0:?} stands in the root's configuration ([[stream]], or the default one if there is \
         none): change it there and restart the root"
    )]
    Configured(String),
    /// It runs, and what is wanted changes what runs.
    #[error("stream {0:?} is running: stop it before you change its tracks or sources")]
    Running(String),
    /// What is wanted makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A port is in use, or none is free.
    #[error("{0}")]
    Ports(String),
    /// There are as many as there may be.
    #[error("there are {0} streams already, and no more may be: remove one")]
    Full(usize),
    /// The tree did not say that it has done it.
    #[error("the root is too busy, or about to stop: look at the stream, and try again")]
    Busy,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}
