//! A session and a viewer of other crates, on virtual time, without sockets.

mod address;
pub(crate) mod bench;
mod chaos;
pub(crate) mod client;
mod connect;
mod ending;
mod handshake;
mod media;
mod start;
mod steer;

use proptest::prelude::ProptestConfig;

/// As many cases as `PROPTEST_CASES` says, or the usual number: each has a handshake in it.
fn cases(usual: u32) -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = usual;
    }
    config
}
