//! Everything that tests Soleil from outside: the test picture and the broadcaster that sends it,
//! the link emulator, the headless viewer, and the harness that starts a tree of real processes.
//! Nothing here is part of a running system.

pub mod browser;
pub mod emulator;
pub mod harness;
pub mod http;
pub mod load;
pub mod netns;
pub mod picture;
pub mod planning;
pub mod python;
pub mod sim;
pub mod small;
pub mod source;
pub mod viewer;
pub mod wait;

/// Logs of the test programs go to stderr, as `RUST_LOG` says; their results go to stdout.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,rtc_dtls=error"));
    // A second call (several tests in one process) changes nothing.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
