//! Takes values out of elements: checked, bounded, trimmed. Everything that reads a message body
//! goes through these.

use super::error::Fault;
use super::tree::Element;
use crate::limits;
use crate::message::HostPort;
use crate::text::trim;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

impl Element {
    /// An attribute's value without white space around it (the thesis prints
    /// `host="\n  143.225.229.199"`).
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| &**key == name).map(|(_, value)| trim(value))
    }

    /// An attribute that may be absent.
    pub(super) fn parse<T: FromStr>(&self, name: &str) -> Result<Option<T>, Fault> {
        match self.attribute(name) {
            Some(text) => text.parse().map(Some).map_err(|_| Fault::value(name, text)),
            None => Ok(None),
        }
    }

    /// An attribute that must be there.
    pub(super) fn need<T: FromStr>(&self, name: &str) -> Result<T, Fault> {
        self.parse(name)?.ok_or_else(|| Fault::missing(&format!("{name} of {}", self.name)))
    }

    /// A child element that may be absent, but not twice.
    pub(super) fn only(&self, name: &str) -> Result<Option<&Element>, Fault> {
        let mut found = self.children.iter().filter(|child| &*child.name == name);
        let first = found.next();
        if found.next().is_some() {
            return Err(Fault::Malformed(format!("{name} is there twice")));
        }
        Ok(first)
    }

    /// A child element that must be there once.
    pub(super) fn child(&self, name: &str) -> Result<&Element, Fault> {
        self.only(name)?.ok_or_else(|| Fault::missing(name))
    }

    /// All children of one name, at most `max`.
    pub(super) fn list<'a>(
        &'a self,
        name: &str,
        what: &'static str,
        max: usize,
    ) -> Result<impl Iterator<Item = &'a Element> + use<'a>, Fault> {
        let name: Box<str> = name.into();
        let found = move || {
            let name = name.clone();
            self.children.iter().filter(move |child| child.name == name)
        };
        if found().count() > max {
            return Err(Fault::Limit(what, max));
        }
        Ok(found())
    }

    /// The list inside a wrapping element (`<layers><layer/></layers>`); empty if it is absent.
    pub(super) fn nested<T>(
        &self,
        (outer, inner): (&str, &str),
        (what, max): (&'static str, usize),
        read: impl FnMut(&Element) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        match self.only(outer)? {
            Some(list) => list.list(inner, what, max)?.map(read).collect(),
            None => Ok(Vec::new()),
        }
    }

    /// The element's own text as a value.
    pub(super) fn value<T: FromStr>(&self) -> Result<T, Fault> {
        let text = trim(&self.text);
        text.parse().map_err(|_| Fault::value(&self.name, text))
    }

    /// The value of a child element that may be absent.
    pub(super) fn leaf<T: FromStr>(&self, name: &str) -> Result<Option<T>, Fault> {
        self.only(name)?.map(Element::value).transpose()
    }

    /// The value of a child element that must be there.
    pub(super) fn need_leaf<T: FromStr>(&self, name: &str) -> Result<T, Fault> {
        self.child(name)?.value()
    }

    /// Free text of a child element; empty if it is absent.
    pub(super) fn words(&self, name: &'static str, max: usize) -> Result<String, Fault> {
        let text = self.only(name)?.map_or("", |child| trim(&child.text));
        bounded(text, name, max).map(str::to_owned)
    }

    /// Base64 of a child element that may be absent.
    pub(super) fn bytes(
        &self,
        name: &'static str,
        size: RangeInclusive<usize>,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let Some(child) = self.only(name)? else { return Ok(None) };
        let mut text: Vec<u8> = child.text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        while text.last() == Some(&b'=') {
            text.pop();
        }
        // Three bytes for every four characters (RFC 4648 section 4).
        if text.len() * 3 / 4 > *size.end() {
            return Err(Fault::Limit(name, *size.end()));
        }
        let padded = text.len().div_ceil(4) * 4;
        text.resize(padded, b'=');
        let bytes =
            STANDARD.decode(&text).map_err(|_| Fault::Malformed(format!("{name} is no base64")))?;
        if !size.contains(&bytes.len()) {
            return Err(Fault::Malformed(format!("{name} has {} bytes", bytes.len())));
        }
        Ok(Some(bytes))
    }

    /// Base64 of a child element that must be there.
    pub(super) fn need_bytes(
        &self,
        name: &'static str,
        size: RangeInclusive<usize>,
    ) -> Result<Vec<u8>, Fault> {
        self.bytes(name, size)?.ok_or_else(|| Fault::missing(name))
    }

    /// `host` and `port` attributes.
    pub(super) fn host_port(&self) -> Result<HostPort, Fault> {
        let host = self.attribute("host").ok_or_else(|| Fault::missing("host"))?;
        // Brackets belong to URLs; without them the same address has one spelling only.
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        bounded(host, "host in bytes", limits::MAX_HOST)?;
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(legal) {
            return Err(Fault::value("host", host));
        }
        Ok(HostPort { host: host.to_owned(), port: self.need("port")? })
    }

    /// The `mediaAddress` children: addresses that one can send to.
    pub(super) fn media(&self) -> Result<Vec<SocketAddr>, Fault> {
        let read = |element: &Element| {
            let address = SocketAddr::new(element.need::<IpAddr>("host")?, element.need("port")?);
            let ip = address.ip();
            if ip.is_unspecified() || ip.is_multicast() || address.port() == 0 {
                return Err(Fault::value("mediaAddress", &address.to_string()));
            }
            Ok(address)
        };
        self.list("mediaAddress", "media addresses", limits::MAX_MEDIA)?.map(read).collect()
    }
}

/// A text that has at most `max` bytes.
pub(super) fn bounded<'a>(text: &'a str, what: &'static str, max: usize) -> Result<&'a str, Fault> {
    if text.len() > max { Err(Fault::Limit(what, max)) } else { Ok(text) }
}
