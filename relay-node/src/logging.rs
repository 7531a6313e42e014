//! The log: text on a terminal, JSON elsewhere, level changeable while the program runs.

use crate::config::sections::{LogFormat, LogSection};
use std::io::IsTerminal;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Longest directives that are accepted at run time, in bytes.
pub const MAX_DIRECTIVES: usize = 1024;

/// Changes the level of a running program. Clones change the same one.
#[derive(Clone)]
pub struct LogControl {
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

impl LogControl {
    /// For programs (tests) whose log belongs to somebody else: changes nothing.
    pub fn none() -> LogControl {
        LogControl { filter: None }
    }

    /// Sets what is logged from now on.
    ///
    /// # Errors
    /// A sentence, if the directives cannot be read or the log is not ours.
    pub fn set(&self, directives: &str) -> Result<(), String> {
        check_level(directives)?;
        let filter = EnvFilter::try_new(quieten(directives)).map_err(|e| e.to_string())?;
        match &self.filter {
            Some(handle) => handle.reload(filter).map_err(|e| e.to_string()),
            None => Err("the log of this program cannot be changed".into()),
        }
    }
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControl(..)")
    }
}

/// Starts the log of this process, to standard error. A second call changes nothing.
pub fn start(section: &LogSection) -> LogControl {
    let filter =
        EnvFilter::try_new(quieten(&section.level.0)).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let terminal = std::io::stderr().is_terminal();
    let json = match section.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let layer = if json {
        fmt::layer().json().with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_ansi(terminal).with_writer(std::io::stderr).boxed()
    };
    let started = tracing_subscriber::registry().with(filter).with(layer).try_init();
    LogControl { filter: started.ok().map(|()| handle) }
}

/// The WebRTC libraries tell of each state of a broadcaster, and warn three times of every browser's
/// hello; they are heard only if they are named.
fn quieten(directives: &str) -> String {
    if directives.contains("rtc") {
        directives.to_owned()
    } else {
        format!("{directives},rtc=warn,rtc_dtls=error,rtc_ice=error")
    }
}

/// Whether directives can be read.
///
/// # Errors
/// A sentence about what is wrong.
pub fn check_level(directives: &str) -> Result<(), String> {
    let refuse =
        |why: String| format!("{why}: write a level like \"info\" or \"info,relay_node=debug\"");
    if directives.is_empty() || directives.len() > MAX_DIRECTIVES {
        return Err(refuse("no log level".into()));
    }
    // A word alone would be taken for the name of a module, of which everything is logged, and
    // nothing of the others: a typing error would silence the program.
    let alone = directives.split(',').map(str::trim).filter(|d| !d.contains(['=', '[']));
    for word in alone {
        // An empty word would be the level "error".
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(refuse(format!("{word:?} is no level")));
        }
    }
    EnvFilter::try_new(directives).map(drop).map_err(|e| refuse(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dtls_library_is_quiet_unless_it_is_named() {
        assert_eq!(quieten("info"), "info,rtc=warn,rtc_dtls=error,rtc_ice=error");
        assert_eq!(quieten("info,rtc_dtls=debug"), "info,rtc_dtls=debug");
        for directives in ["info", "off", "relay_node=debug,info", "rtc_dtls=trace"] {
            check_level(&quieten(directives)).unwrap();
        }
    }

    #[test]
    fn directives_that_make_no_sense_are_refused() {
        let long = "a".repeat(MAX_DIRECTIVES + 1);
        for directives in ["", "loud", "inf", "info,", "relay_node=loud", long.as_str()] {
            assert!(check_level(directives).unwrap_err().contains("write a level like"));
        }
    }
}
