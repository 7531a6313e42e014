//! What every measurement begins with: a root and a leaf as processes, the leaf alone on its core,
//! and the synthetic source on the air.

use super::{LoadSource, Pattern, cpu};
use crate::harness::{HarnessError, Options, Stream, Tree};
use relay_node::clock::Clock;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The stream is on the air within this time.
const AIR_TIMEOUT: Duration = Duration::from_secs(20);

/// A leaf to be measured.
#[derive(Debug)]
pub(super) struct Stage {
    /// The processes.
    pub tree: Tree,
    /// What is on the air.
    pub source: LoadSource,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The tree.
    #[error("{0}")]
    Tree(#[from] HarnessError),
    /// The source.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Stage {
    /// With room for so many viewers, served by so many workers.
    pub fn start(
        core: usize,
        workers: usize,
        viewers: usize,
        pattern: Pattern,
        clock: Clock,
    ) -> Result<Self, StageError> {
        let options = Options { leaf_workers: workers, ..Self::options(core, viewers) };
        Self::with(&options, pattern, clock)
    }

    /// The options of a leaf with room for so many viewers.
    pub fn options(core: usize, viewers: usize) -> Options {
        Options {
            relays: 0,
            streams: vec![Stream { name: "load".into(), codec: "VP8" }],
            leaf_core: Some(core),
            // The root counts tickets that are under way as viewers.
            leaf_viewers: Some(2 * viewers + 500),
            log: "warn".into(),
            ..Options::default()
        }
    }

    /// With a leaf of these options.
    pub fn with(options: &Options, pattern: Pattern, clock: Clock) -> Result<Self, StageError> {
        let tree = Tree::start(options)?;
        let source = LoadSource::start(tree.ingest(0).0, pattern, clock)?;
        crate::wait::until("the stream", AIR_TIMEOUT, || tree.is_live("load"));
        Ok(Self { tree, source })
    }

    /// Where viewers go.
    pub fn url(&self) -> String {
        self.tree.whep_url("load")
    }

    /// The leaf's process.
    pub fn process(&self) -> u32 {
        self.tree.leaves[0].process.id()
    }

    /// Resident memory of the leaf in bytes.
    pub fn memory(&self) -> io::Result<u64> {
        cpu::memory(self.process())
    }

    /// CPU time of the leaf so far, in nanoseconds.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        cpu::time_ns(self.process())
    }

    /// Where the leaf takes viewers' datagrams.
    pub fn media(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.tree.viewer_port(0)))
    }

    /// Where it takes their offers.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.tree.leaf_http_port(0)))
    }

    /// Sessions of the leaf.
    pub fn sessions(&self) -> u64 {
        self.tree.leaves[0].metrics().sum("soleil_leaf_viewers", &[]) as u64
    }
}
