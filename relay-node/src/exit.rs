//! Exit codes of all binaries, as INTERFACE fixes them.

use crate::config::ConfigError;
use std::process::ExitCode;

/// Stopped as asked.
pub const OK: u8 = 0;
/// Anything that is not one of the others.
pub const FAILURE: u8 = 1;
/// Wrong usage (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;
/// Wrong configuration (`EX_CONFIG` of sysexits.h).
pub const CONFIG: u8 = 78;

/// Reads the command line; on wrong usage prints what clap has to say and gives exit code 64, for
/// `--help` and `--version` 0.
///
/// # Errors
/// The exit code with which the program should end at once.
pub fn parse_args<T: clap::Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|error| {
        // Nothing can be done if even that cannot be printed.
        let _ = error.print();
        ExitCode::from(if error.use_stderr() { USAGE } else { OK })
    })
}

/// The exit code for how a program ended; prints the error if there is one.
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(OK),
        Err(error) => {
            eprintln!("error: {error:#}");
            let config = error.chain().any(|cause| cause.is::<ConfigError>());
            ExitCode::from(if config { CONFIG } else { FAILURE })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_errors_have_a_code_of_their_own() {
        let same = |a: ExitCode, b: u8| format!("{a:?}") == format!("{:?}", ExitCode::from(b));
        assert!(same(code(Ok(())), OK));
        assert!(same(code(Err(anyhow::anyhow!("boom"))), FAILURE));
        let error = anyhow::Error::from(ConfigError::missing("a.b", None)).context("starting");
        assert!(same(code(Err(error)), CONFIG));
    }
}
