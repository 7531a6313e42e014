//! Writes elements into a string, escaped. It cannot fail: what XML cannot carry is replaced.

use crate::message::HostPort;
use crate::text::{clip, legal, trim};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::{self, Display, Write};
use std::net::SocketAddr;

/// Attributes of an element: name and value.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// The document being written.
#[derive(Debug, Default)]
pub(super) struct Out(String);

impl Out {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn tag(&mut self, name: &str, attributes: Attributes<'_>, close: &str) {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            self.0.push(' ');
            self.0.push_str(key);
            self.0.push_str("=\"");
            escape(&mut self.0, value);
            self.0.push('"');
        }
        self.0.push_str(close);
    }

    /// An element that others are written into.
    pub(super) fn element(
        &mut self,
        name: &str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Out),
    ) {
        self.tag(name, attributes, ">");
        let before = self.0.len();
        inside(self);
        if self.0.len() == before {
            self.0.pop();
            self.0.push_str("/>");
        } else {
            self.0.push_str("</");
            self.0.push_str(name);
            self.0.push('>');
        }
    }

    /// An element without content.
    pub(super) fn empty(&mut self, name: &str, attributes: Attributes<'_>) {
        self.tag(name, attributes, "/>");
    }

    /// An element with a value as its text.
    pub(super) fn leaf(&mut self, name: &str, value: impl Display) {
        self.element(name, &[], |out| escape(&mut out.0, &value));
    }

    /// The same, if there is a value.
    pub(super) fn leaf_opt(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.leaf(name, value);
        }
    }

    /// Free text, clipped to `max` bytes; nothing if it is empty.
    pub(super) fn words(&mut self, name: &str, text: &str, max: usize) {
        // Replaced first: the replacement may be longer than what it stands for.
        let text: String = text.chars().map(replace).collect();
        let text = trim(clip(trim(&text), max));
        if !text.is_empty() {
            self.leaf(name, text);
        }
    }

    /// Bytes as base64 (RFC 4648 section 4).
    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.leaf(name, STANDARD.encode(bytes));
    }

    /// The same, if there are any.
    pub(super) fn bytes_opt(&mut self, name: &str, bytes: Option<&Vec<u8>>) {
        if let Some(bytes) = bytes {
            self.bytes(name, bytes);
        }
    }

    /// A wrapping element with a list in it; nothing if the list is empty.
    pub(super) fn nested<T>(&mut self, name: &str, list: &[T], each: impl Fn(&mut Out, &T)) {
        if !list.is_empty() {
            self.element(name, &[], |out| list.iter().for_each(|item| each(out, item)));
        }
    }

    /// An address as the thesis writes it.
    pub(super) fn host_port(&mut self, name: &str, at: &HostPort) {
        self.empty(name, &[("host", &at.host), ("port", &at.port)]);
    }

    /// `mediaAddress` elements.
    pub(super) fn media(&mut self, addresses: &[SocketAddr]) {
        for at in addresses {
            self.empty("mediaAddress", &[("host", &at.ip()), ("port", &at.port())]);
        }
    }
}

/// What stands for a character that XML cannot carry.
fn replace(c: char) -> char {
    if legal(c) { c } else { char::REPLACEMENT_CHARACTER }
}

/// Appends a value with everything escaped that means something to XML. White space other than
/// the blank is escaped too, so that readers do not normalise it away (XML 1.0 section 3.3.3).
fn escape(xml: &mut String, value: &dyn Display) {
    struct Escape<'a>(&'a mut String);
    impl Write for Escape<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars() {
                match c {
                    '<' => self.0.push_str("&lt;"),
                    '>' => self.0.push_str("&gt;"),
                    '&' => self.0.push_str("&amp;"),
                    '"' => self.0.push_str("&quot;"),
                    '\'' => self.0.push_str("&apos;"),
                    '\t' => self.0.push_str("&#9;"),
                    '\n' => self.0.push_str("&#10;"),
                    '\r' => self.0.push_str("&#13;"),
                    c => self.0.push(replace(c)),
                }
            }
            Ok(())
        }
    }
    // Neither the String nor the Display implementations used here can fail.
    let _ = write!(Escape(xml), "{value}");
}
