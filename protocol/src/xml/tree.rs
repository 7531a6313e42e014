//! Reads a text into a small tree of elements, within bounds.
//!
//! This knows XML and nothing of our messages. What is refused: anything over a bound of
//! [`crate::limits`], DTDs, processing instructions, entities other than the five predefined ones,
//! characters that XML 1.0 forbids.

use super::error::Fault;
use crate::limits;
use crate::text::{legal, trim};
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

/// One element with everything below it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: Box<str>,
    pub(super) attributes: Vec<(Box<str>, Box<str>)>,
    /// All text directly inside, entities resolved.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

/// What went wrong, and the root element as far as it had been read.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) fault: Fault,
    pub(super) root: Option<Element>,
}

/// Reads a whole document.
pub(super) fn parse(xml: &str) -> Result<Element, Broken> {
    let mut builder = Builder::default();
    match builder.run(xml) {
        Ok(root) => Ok(root),
        Err(fault) => Err(Broken { fault, root: builder.into_root() }),
    }
}

#[derive(Default)]
struct Builder {
    /// Elements that are open, outermost first.
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
}

impl Builder {
    fn run(&mut self, xml: &str) -> Result<Element, Fault> {
        if xml.len() > limits::MAX_MESSAGE {
            return Err(Fault::Limit("message in bytes", limits::MAX_MESSAGE));
        }
        if let Some(c) = xml.chars().find(|&c| !legal(c)) {
            return Err(malformed(format!("character U+{:04X} is not allowed in XML", c as u32)));
        }
        // A byte order mark is not part of the document (XML 1.0 section 4.3.3).
        let xml = xml.strip_prefix('\u{feff}').unwrap_or(xml);
        let mut reader = Reader::from_str(xml);
        reader.config_mut().check_comments = true;
        let mut first = true;
        loop {
            let event = reader.read_event().map_err(|e| malformed(e.to_string()))?;
            match event {
                Event::Start(start) => self.start(&start)?,
                Event::Empty(start) => {
                    self.start(&start)?;
                    self.end()?;
                }
                Event::End(_) => self.end()?,
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(text) => {
                    if self.open.is_empty() {
                        return Err(malformed("text outside the message"));
                    }
                    self.text(&text.xml10_content())?;
                }
                Event::GeneralRef(reference) => self.reference(&reference)?,
                Event::Comment(_) => {}
                Event::Decl(decl) if first => declaration(&decl)?,
                Event::Decl(_) | Event::PI(_) => {
                    return Err(malformed("processing instructions are not allowed"));
                }
                Event::DocType(_) => return Err(malformed("a DTD is not allowed")),
                Event::Eof => break,
            }
            first = false;
        }
        if let Some(element) = self.open.last() {
            return Err(malformed(format!("{} is not closed", element.name)));
        }
        self.root.take().ok_or_else(|| malformed("no message in it"))
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), Fault> {
        if self.root.is_some() {
            return Err(malformed("more than one element at the top"));
        }
        if self.open.len() >= limits::MAX_DEPTH {
            return Err(Fault::Limit("depth of elements", limits::MAX_DEPTH));
        }
        self.elements += 1;
        if self.elements > limits::MAX_ELEMENTS {
            return Err(Fault::Limit("number of elements", limits::MAX_ELEMENTS));
        }
        let name = start.name().into_inner();
        check_name(name)?;
        let mut element = Element { name: name.into(), ..Element::default() };
        for attribute in start.attributes() {
            let attribute =
                attribute.map_err(|e| malformed(format!("attribute of {name}: {e}")))?;
            if element.attributes.len() >= limits::MAX_ATTRIBUTES {
                return Err(Fault::Limit("attributes of an element", limits::MAX_ATTRIBUTES));
            }
            let key = attribute.key.into_inner();
            check_name(key)?;
            if attribute.value.len() > limits::MAX_ATTRIBUTE {
                return Err(Fault::Limit("attribute in bytes", limits::MAX_ATTRIBUTE));
            }
            if attribute.value.contains('<') {
                return Err(malformed(format!("attribute {key} has a bare <")));
            }
            let value = attribute
                .normalized_value_with(XmlVersion::Implicit1_0, 1, resolve_xml_entity)
                .map_err(|e| malformed(format!("attribute {key}: {e}")))?;
            if !value.chars().all(legal) {
                return Err(malformed(format!("attribute {key} refers to an illegal character")));
            }
            element.attributes.push((key.into(), value.into()));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let element = self.open.pop().ok_or_else(|| malformed("an end without a start"))?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        let Some(element) = self.open.last_mut() else {
            return if trim(text).is_empty() {
                Ok(())
            } else {
                Err(malformed("text outside the message"))
            };
        };
        if element.text.is_empty() && trim(text).is_empty() {
            return Ok(());
        }
        if element.text.len() + text.len() > limits::MAX_TEXT {
            return Err(Fault::Limit("text in bytes", limits::MAX_TEXT));
        }
        element.text.push_str(text);
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), Fault> {
        if self.open.is_empty() {
            return Err(malformed("text outside the message"));
        }
        let character = reference.resolve_char_ref().map_err(|e| malformed(e.to_string()))?;
        match character {
            Some(c) if legal(c) => self.text(c.encode_utf8(&mut [0; 4])),
            Some(_) => Err(malformed("a reference to an illegal character")),
            None => match resolve_xml_entity(reference) {
                Some(text) => self.text(text),
                None => Err(malformed("entities other than lt, gt, amp, apos, quot")),
            },
        }
    }

    /// What there is of the root element, for the error report.
    fn into_root(self) -> Option<Element> {
        self.root.or_else(|| self.open.into_iter().next())
    }
}

fn declaration(decl: &BytesDecl<'_>) -> Result<(), Fault> {
    match decl.encoding() {
        None => Ok(()),
        Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") => Ok(()),
        Some(_) => Err(malformed("the encoding is not UTF-8")),
    }
}

/// XML 1.0 section 2.3, a little stricter: letters, digits, `_`, `-`, `.`, `:`.
fn check_name(name: &str) -> Result<(), Fault> {
    if name.len() > limits::MAX_NAME {
        return Err(Fault::Limit("name in bytes", limits::MAX_NAME));
    }
    let start = |c: char| c.is_alphabetic() || c == '_' || c == ':';
    let follow = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if name.starts_with(start) && name.chars().all(follow) {
        Ok(())
    } else {
        Err(malformed("a name with illegal characters"))
    }
}

fn malformed(text: impl Into<String>) -> Fault {
    Fault::Malformed(text.into())
}
