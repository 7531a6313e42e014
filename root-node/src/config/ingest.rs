//! `[ingest]`: what streams that are defined at run time get if their operator does not say it.

use crate::ladder::budget::Cores;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// `[ingest]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSection {
    /// UDP ports that are given to streams which name none: each layer gets an even one, and the next
    /// one for RTCP.
    pub ports: PortRange,
    /// The address to listen on. Whoever can send to it can broadcast: the default is this machine.
    pub bind: IpAddr,
    /// Processor cores that the ladders of all streams may take together; default: three quarters of the
    /// machine's.
    pub cores: Option<Cores>,
    /// The directory below which operators may name files for sources; default: nowhere.
    pub files: Option<PathBuf>,
}

impl IngestSection {
    /// What ladders may take.
    pub fn cores(&self) -> Cores {
        let machine = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.cores.unwrap_or_else(|| Cores::of_machine(machine()))
    }
}

impl Default for IngestSection {
    fn default() -> Self {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { ports: PortRange::default(), bind, cores: None, files: None }
    }
}

/// UDP ports from one to another, like `20000-20999`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl Default for PortRange {
    /// Below what systems give to outgoing sockets, and room for 500 layers.
    fn default() -> Self {
        Self { first: 20_000, last: 20_999 }
    }
}

impl PortRange {
    /// All of them.
    pub fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (first, last) = text.split_once('-')?;
            let range = Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? };
            (range.first > 0 && range.first < range.last).then_some(range)
        };
        read().ok_or_else(|| {
            format!("{text:?} is no range of ports: write it like \"20000-20999\", two at least")
        })
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!("20000-20999".parse(), Ok(PortRange::default()));
        assert_eq!(PortRange::default().to_string().parse(), Ok(PortRange::default()));
        assert_eq!(" 6000 - 6001".parse::<PortRange>().unwrap().ports().count(), 2);
        for bad in ["", "6000", "0-9", "9-6", "6-6", "6000-70000", "a-b", "1-2-3"] {
            let error = bad.parse::<PortRange>().unwrap_err();
            assert!(error.contains("20000-20999"), "{bad}: {error}");
        }
    }
}
