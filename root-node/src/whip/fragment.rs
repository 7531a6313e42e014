//! Fragments of SDP with candidates and ICE credentials (RFC 8840 section 9). Candidates are not looked
//! at: a lite agent learns addresses from the broadcaster's checks.

use super::answer::{ICE_OPTIONS, candidates};
use super::offer::{Credentials, OfferError, malformed};
use std::fmt::Write;
use std::net::SocketAddr;

/// The longest fragment in bytes: a handful of candidates.
pub const MAX_FRAGMENT: usize = 16 * 1024;

/// What a fragment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The ICE user name fragment, the same in every section.
    pub ufrag: Option<&'a str>,
    pwd: Option<&'a str>,
    /// The first section: its pseudo m-line and its mid.
    section: Option<(&'a str, &'a str)>,
}

impl<'a> Fragment<'a> {
    /// Reads a fragment.
    ///
    /// # Errors
    /// [`OfferError::Malformed`] if it is none, or says nothing of ICE.
    pub fn parse(text: &'a str) -> Result<Self, OfferError> {
        let (mut ufrag, mut pwd, mut media, mut section) = (None, None, None, None);
        let mut says = false;
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            // Parts of it go back; none of them may end a line.
            if line.bytes().any(|b| b.is_ascii_control()) {
                return Err(malformed("a line has a control character"));
            }
            let (kind, value) = line.split_once('=').ok_or_else(|| malformed("no line of SDP"))?;
            match kind {
                "m" => media = Some(value),
                "a" => {
                    let (key, value) = value.split_once(':').unwrap_or((value, ""));
                    match key {
                        "ice-ufrag" => same(&mut ufrag, value)?,
                        "ice-pwd" => same(&mut pwd, value)?,
                        "mid" => section = section.or(media.map(|media| (media, value))),
                        "candidate" | "end-of-candidates" => {}
                        _ => continue,
                    }
                    says = true;
                }
                _ => return Err(malformed("a fragment has lines of a= and m= only")),
            }
        }
        if !says {
            return Err(malformed("the fragment has no candidate and no credentials"));
        }
        Ok(Self { ufrag, pwd, section })
    }

    /// The credentials of a restart.
    ///
    /// # Errors
    /// [`OfferError::Malformed`] if they are not complete or have a wrong form.
    pub fn credentials(&self) -> Result<Credentials, OfferError> {
        match (self.ufrag, self.pwd) {
            (Some(ufrag), Some(pwd)) => Credentials::new(ufrag, pwd),
            _ => Err(malformed("a restart needs ice-ufrag and ice-pwd")),
        }
    }

    /// The answer to a restart (RFC 9725 section 4.3.3). Sections are bundled: the first one speaks for
    /// all.
    ///
    /// # Errors
    /// None: it writes to memory.
    pub fn answer(
        &self,
        ours: &Credentials,
        addresses: &[SocketAddr],
    ) -> Result<String, std::fmt::Error> {
        let mut out = String::from(ICE_OPTIONS);
        if let Some((media, mid)) = self.section {
            write!(out, "m={media}\r\na=mid:{mid}\r\n")?;
        }
        write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ours.ufrag, ours.pwd)?;
        // Candidates belong to a section.
        if self.section.is_some() {
            candidates(&mut out, addresses)?;
        }
        Ok(out)
    }
}

/// All sections go over one transport: they have the same credentials.
fn same<'a>(known: &mut Option<&'a str>, value: &'a str) -> Result<(), OfferError> {
    match known.replace(value) {
        Some(other) if other != value => Err(malformed("sections with different credentials")),
        _ => Ok(()),
    }
}
