//! Fragments of SDP with candidates and ICE credentials (RFC 8840 section 9). Candidates are not
//! looked at: a lite agent learns addresses from the other side's checks.

use super::Malformed;
use super::ice::{ICE_OPTIONS, good_lengths, write_candidates};
use crate::config::candidates::Candidate;
use std::fmt::Write;

/// The longest fragment in bytes: a handful of candidates.
pub const MAX_FRAGMENT: usize = 16 * 1024;

/// What a fragment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The ICE user name fragment, the same in every section.
    pub ice_ufrag: Option<&'a str>,
    /// The ICE password.
    pub ice_pwd: Option<&'a str>,
    /// The first section: its pseudo m-line and its mid.
    section: Option<(&'a str, &'a str)>,
    len: usize,
}

impl<'a> Fragment<'a> {
    /// Reads a fragment.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, or says nothing of ICE.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let (mut ice_ufrag, mut ice_pwd, mut media, mut section) = (None, None, None, None);
        let mut says = false;
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            // Parts of it go back; none of them may end a line.
            if line.bytes().any(|b| b.is_ascii_control()) {
                return Err(Malformed::new("a line has a control character"));
            }
            let (kind, value) =
                line.split_once('=').ok_or_else(|| Malformed::new("a line is not SDP"))?;
            match kind {
                "m" => media = Some(value),
                "a" => {
                    let (key, value) = value.split_once(':').unwrap_or((value, ""));
                    says |= matches!(
                        key,
                        "ice-ufrag" | "ice-pwd" | "mid" | "candidate" | "end-of-candidates"
                    );
                    match key {
                        "ice-ufrag" => same(&mut ice_ufrag, value)?,
                        "ice-pwd" => same(&mut ice_pwd, value)?,
                        "mid" => section = section.or(media.map(|media| (media, value))),
                        _ => {}
                    }
                }
                _ => return Err(Malformed::new("a fragment has lines of a= and m= only")),
            }
        }
        if !says {
            return Err(Malformed::new("the fragment has no candidate and no credentials"));
        }
        Ok(Self { ice_ufrag, ice_pwd, section, len: text.len() })
    }

    /// The credentials of a restart.
    ///
    /// # Errors
    /// [`Malformed`] if they are not complete or have a wrong length.
    pub fn credentials(&self) -> Result<(&'a str, &'a str), Malformed> {
        let (Some(ufrag), Some(pwd)) = (self.ice_ufrag, self.ice_pwd) else {
            return Err(Malformed::new("a restart needs ice-ufrag and ice-pwd"));
        };
        if !good_lengths(ufrag, pwd) {
            return Err(Malformed::new("ice-ufrag or ice-pwd has a wrong length"));
        }
        Ok((ufrag, pwd))
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: an empty text is no fragment.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The answer to a restart, with our new credentials and our candidates (RFC 9725 section
    /// 4.3.3). Sections are bundled: the first one speaks for all.
    ///
    /// # Errors
    /// None: it writes to memory.
    pub fn answer(
        &self,
        ufrag: &str,
        pwd: &str,
        addresses: &[Candidate],
    ) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        out.push_str(ICE_OPTIONS);
        match self.section {
            Some((media, mid)) => {
                write!(out, "m={media}\r\na=mid:{mid}\r\n")?;
                write!(out, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n")?;
                write_candidates(&mut out, addresses)?;
            }
            // Candidates belong to a section.
            None => write!(out, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n")?,
        }
        Ok(out)
    }
}

/// All sections go over one transport: they have the same credentials.
fn same<'a>(known: &mut Option<&'a str>, value: &'a str) -> Result<(), Malformed> {
    match known.replace(value) {
        Some(other) if other != value => Err(Malformed::new("sections with different credentials")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_fragment() {
        let text = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
                    m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=candidate:1 1 udp 1 ::1 9 typ host\r\n\
                    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\na=end-of-candidates\r\n";
        let fragment = Fragment::parse(text).unwrap();
        assert_eq!(fragment.credentials().unwrap(), ("abcd", "0123456789012345678901"));
        let ours = Candidate::udp("192.0.2.1:8190".parse().unwrap());
        let answer = fragment.answer("u", "p", &[ours]).unwrap();
        assert_eq!(
            answer,
            "a=ice-lite\r\na=ice-options:trickle ice2\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=ice-ufrag:u\r\n\
             a=ice-pwd:p\r\na=candidate:1 1 udp 2130706431 192.0.2.1 8190 typ host\r\n\
             a=end-of-candidates\r\n"
        );
        assert!(Fragment::parse(&answer).is_ok());
        let bare = Fragment::parse("a=ice-ufrag:abcd\n").unwrap();
        assert!(bare.credentials().is_err(), "no password");
        assert!(!bare.answer("u", "p", &[]).unwrap().contains("candidate"));
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "complete garbage",
            "a=ice-ufrag:abcd\r\nand garbage\r\n",
            "m=audio 9 RTP/AVP 0\r\n",
            "a=sendrecv\r\n",
            "v=0\r\na=mid:0\r\n",
            "a=ice-ufrag:abcd\r\na=ice-ufrag:efgh\r\n",
            "m=audio 9 RTP/AVP 0\r\na=mid:0\ra=ice-lite\r\n",
        ] {
            assert!(Fragment::parse(text).is_err(), "{text}");
        }
    }
}
