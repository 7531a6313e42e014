//! The operator's drawing of a topology: nodes with roles, and links between them that have no
//! direction. Here is the file, in XML like the thesis' (5.3); what follows from a drawing is in
//! [`super::drawn`].
//!
//! ```xml
//! <topology>
//!   <node id="root" role="root" children="8"/>
//!   <node id="relay-1" role="relay" children="32"/>
//!   <node id="leaf-1" role="leaf"/>
//!   <link a="root" b="relay-1"/>
//!   <link a="relay-1" b="leaf-1"/>
//! </topology>
//! ```
//!
//! `children` is what the node takes at most; 32 if it is not said. Other attributes and elements
//! are passed over, so that a drawing tool can keep positions and colours in the file.

use quick_xml::XmlVersion;
use quick_xml::escape::{escape, resolve_xml_entity};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use soleil_protocol::{NodeId, Role};
use std::fmt::Write;

/// Longest file in bytes: the most nodes and links with long names.
pub const MAX_DRAWING: usize = 16 * 1024 * 1024;

/// Most nodes: as many as a root knows.
pub const MAX_DRAWN_NODES: usize = crate::core::tree::MAX_NODES;

/// Most links: eight for each node, far more than anybody draws.
pub const MAX_DRAWN_LINKS: usize = 8 * MAX_DRAWN_NODES;

/// Deepest nesting of elements: ours need two, the rest is a drawing tool's.
const MAX_NESTING: usize = 16;

/// Most attributes of one element.
const MAX_ATTRIBUTES: usize = 32;

/// Children of a node that does not say, as in the nodes' own configuration.
const DEFAULT_CHILDREN: u32 = 32;

/// A drawing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drawing {
    /// Its nodes.
    pub nodes: Vec<DrawnNode>,
    /// Its links.
    pub links: Vec<DrawnLink>,
}

/// A node of a drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnNode {
    /// The name that the node joins by.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Children that it takes at most.
    pub children: u32,
}

/// A link of a drawing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrawnLink {
    /// One end.
    pub a: NodeId,
    /// The other.
    pub b: NodeId,
}

/// Why a file is no drawing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrawingError {
    /// It is larger than [`MAX_DRAWING`].
    #[error("a drawing of more than {MAX_DRAWING} bytes")]
    TooLong,
    /// More nodes, links or nesting than there may be.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// It is not XML, or XML that we do not read.
    #[error("{0}")]
    Malformed(String),
    /// An attribute is missing or makes no sense.
    #[error("{element}: {attribute} is missing or wrong")]
    Attribute {
        /// Of which element.
        element: &'static str,
        /// Which one.
        attribute: &'static str,
    },
}

fn malformed(what: impl ToString) -> DrawingError {
    DrawingError::Malformed(what.to_string())
}

impl Drawing {
    /// Reads a drawing. DTDs, processing instructions and entities of one's own are refused.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_xml(xml: &str) -> Result<Drawing, DrawingError> {
        Self::parse(xml).map_err(|(_, error)| error)
    }

    /// Likewise, for people.
    ///
    /// # Errors
    /// The line (from 1 on) that it was seen in, and what is wrong with it.
    pub fn parse(xml: &str) -> Result<Drawing, (usize, DrawingError)> {
        if xml.len() > MAX_DRAWING {
            return Err((1, DrawingError::TooLong));
        }
        let mut drawing = Drawing::default();
        let text = xml.strip_prefix('\u{feff}').unwrap_or(xml);
        let mut reader = Reader::from_str(text);
        match drawing.read(&mut reader) {
            Ok(()) => Ok(drawing),
            Err(error) => {
                let seen = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
                let before = text.as_bytes().iter().take(seen.saturating_sub(1));
                Err((before.filter(|byte| **byte == b'\n').count() + 1, error))
            }
        }
    }

    fn read(&mut self, reader: &mut Reader<&[u8]>) -> Result<(), DrawingError> {
        let (mut depth, mut seen) = (0_usize, false);
        loop {
            match reader.read_event().map_err(malformed)? {
                Event::Start(start) => {
                    self.element(depth, seen, &start)?;
                    seen = true;
                    depth += 1;
                    if depth > MAX_NESTING {
                        return Err(DrawingError::TooMany("levels of elements"));
                    }
                }
                Event::Empty(start) => {
                    self.element(depth, seen, &start)?;
                    seen = true;
                }
                Event::End(_) => depth = depth.saturating_sub(1),
                Event::DocType(_) => return Err(malformed("a DTD is not allowed")),
                Event::PI(_) => return Err(malformed("processing instructions are not allowed")),
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {}
                Event::Comment(_) | Event::Decl(_) => {}
                Event::Eof if depth > 0 => return Err(malformed("an element is not closed")),
                Event::Eof if !seen => return Err(malformed("no topology in it")),
                Event::Eof => return Ok(()),
            }
        }
    }

    fn element(
        &mut self,
        depth: usize,
        seen: bool,
        start: &BytesStart<'_>,
    ) -> Result<(), DrawingError> {
        let name = start.name().into_inner();
        match (depth, name) {
            (0, "topology") if !seen => Ok(()),
            (0, _) => Err(malformed("one <topology> and nothing else at the top")),
            (1, "node") => self.node(start),
            (1, "link") => self.link(start),
            _ => Ok(()),
        }
    }

    fn node(&mut self, start: &BytesStart<'_>) -> Result<(), DrawingError> {
        if self.nodes.len() >= MAX_DRAWN_NODES {
            return Err(DrawingError::TooMany("nodes"));
        }
        let [id, role, children] = attributes(start, ["id", "role", "children"])?;
        let wrong = |attribute| DrawingError::Attribute { element: "node", attribute };
        let id = id.and_then(|id| NodeId::new(id.trim()).ok()).ok_or_else(|| wrong("id"))?;
        let role = role.and_then(|role| role.trim().parse().ok()).ok_or_else(|| wrong("role"))?;
        let children = match children {
            Some(text) => text.trim().parse().map_err(|_| wrong("children"))?,
            None => DEFAULT_CHILDREN,
        };
        self.nodes.push(DrawnNode { id, role, children });
        Ok(())
    }

    fn link(&mut self, start: &BytesStart<'_>) -> Result<(), DrawingError> {
        if self.links.len() >= MAX_DRAWN_LINKS {
            return Err(DrawingError::TooMany("links"));
        }
        let [a, b] = attributes(start, ["a", "b"])?;
        let end = |text: Option<String>, attribute| {
            let id = text.and_then(|id| NodeId::new(id.trim()).ok());
            id.ok_or(DrawingError::Attribute { element: "link", attribute })
        };
        self.links.push(DrawnLink { a: end(a, "a")?, b: end(b, "b")? });
        Ok(())
    }

    /// Writes a drawing as [`Drawing::from_xml`] reads it.
    pub fn to_xml(&self) -> String {
        let mut out = String::from("<topology>\n");
        for node in &self.nodes {
            let (id, role) = (escape(node.id.as_str()), node.role.as_str());
            let children = node.children;
            // Writing into a string does not fail.
            let _ = writeln!(out, "  <node id=\"{id}\" role=\"{role}\" children=\"{children}\"/>");
        }
        for link in &self.links {
            let (a, b) = (escape(link.a.as_str()), escape(link.b.as_str()));
            let _ = writeln!(out, "  <link a=\"{a}\" b=\"{b}\"/>");
        }
        out.push_str("</topology>\n");
        out
    }
}

/// Values of some attributes.
fn attributes<const N: usize>(
    start: &BytesStart<'_>,
    names: [&str; N],
) -> Result<[Option<String>; N], DrawingError> {
    let mut values = [const { None }; N];
    for (count, attribute) in start.attributes().enumerate() {
        if count >= MAX_ATTRIBUTES {
            return Err(DrawingError::TooMany("attributes"));
        }
        let attribute = attribute.map_err(malformed)?;
        let key = attribute.key.into_inner();
        if let Some(n) = names.iter().position(|name| *name == key) {
            let value =
                attribute.normalized_value_with(XmlVersion::Implicit1_0, 1, resolve_xml_entity);
            values[n] = Some(value.map_err(malformed)?.into_owned());
        }
    }
    Ok(values)
}
