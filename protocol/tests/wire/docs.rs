//! `docs/protocol.md` tells the truth: its examples are what we write, its tables are the code's.

use crate::samples;
use soleil_protocol::stats::{Merge, RULES, Scope};
use soleil_protocol::{Message, limits};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")
}

fn document() -> String {
    std::fs::read_to_string(path()).expect("docs/protocol.md")
}

/// One element a line, indented, elements that hold text only on one line.
fn pretty(xml: &str) -> String {
    let mut lines = String::new();
    let mut depth = 0;
    let mut rest = xml;
    while let Some(end) = rest.find('>') {
        let (tag, after) = rest.split_at(end + 1);
        if tag.starts_with("</") {
            depth -= 1;
        }
        lines.push_str(&"  ".repeat(depth));
        lines.push_str(tag);
        rest = after;
        if !tag.starts_with("</") && !tag.ends_with("/>") {
            let text = rest.find('<').unwrap_or(0);
            if text > 0 {
                let close = rest.find('>').expect("closed") + 1;
                lines.push_str(&rest[..close]);
                rest = &rest[close..];
            } else {
                depth += 1;
            }
        }
        lines.push('\n');
    }
    lines
}

/// The text of all fenced blocks of one language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    document.split(&fence).skip(1).filter_map(|part| part.split("```").next()).collect()
}

/// The document with the first XML block after each heading replaced by what we write.
fn updated(mut document: String) -> String {
    for (heading, message) in samples::all() {
        let section = format!("### {heading}\n");
        let at =
            document.find(&section).unwrap_or_else(|| panic!("docs/protocol.md lacks {section}"));
        let fence = "```xml\n";
        let start = at + document[at..].find(fence).expect("an XML block") + fence.len();
        let end = start + document[start..].find("```").expect("its end");
        document.replace_range(start..end, &pretty(&message.to_xml()));
    }
    document
}

/// With `UPDATE_EXPECT` set the examples are written into the document.
#[test]
fn every_type_is_shown_as_we_write_it() {
    let document = document();
    let expected = updated(document.clone());
    if samples::updating() {
        std::fs::write(path(), &expected).expect("writable");
    } else {
        assert!(document == expected, "run this test with UPDATE_EXPECT=1: {expected}");
    }
}

#[test]
fn every_example_is_a_message() {
    let document = document();
    let mut kinds = BTreeSet::new();
    for example in blocks(&document, "xml") {
        let message = Message::from_xml(example).unwrap_or_else(|e| panic!("{e}: {example}"));
        kinds.insert(message.body.kind());
    }
    assert_eq!(kinds.len(), 17, "{kinds:?}");
}

#[test]
fn the_table_of_statistics_is_the_code_s() {
    let document = document();
    for rule in RULES {
        let merge = match rule.merge {
            Merge::Mean => "mean",
            Merge::Sum => "sum",
        };
        let scope = match rule.scope {
            Scope::Nodes => "nodes",
            Scope::Viewers => "viewers",
        };
        let row =
            format!("| `{}` | {} | {merge} | {scope} | {} |", rule.name, rule.unit, rule.meaning);
        assert!(document.contains(&row), "docs/protocol.md lacks the row\n{row}");
    }
}

#[test]
fn the_table_of_limits_is_the_code_s() {
    let document = document();
    for (name, value) in [
        ("MAX_MESSAGE", limits::MAX_MESSAGE),
        ("MAX_DEPTH", limits::MAX_DEPTH),
        ("MAX_ELEMENTS", limits::MAX_ELEMENTS),
        ("MAX_ATTRIBUTES", limits::MAX_ATTRIBUTES),
        ("MAX_ATTRIBUTE", limits::MAX_ATTRIBUTE),
        ("MAX_NAME", limits::MAX_NAME),
        ("MAX_TEXT", limits::MAX_TEXT),
        ("MAX_TYPE", limits::MAX_TYPE),
        ("MAX_SENTENCE", limits::MAX_SENTENCE),
        ("MAX_WORD", limits::MAX_WORD),
        ("MAX_STREAM_NAME", limits::MAX_STREAM_NAME),
        ("MAX_HOST", limits::MAX_HOST),
        ("MAX_URL", limits::MAX_URL),
        ("MAX_FMTP", limits::MAX_FMTP),
        ("MAX_ECHO", limits::MAX_ECHO),
        ("MAX_CSR", limits::MAX_CSR),
        ("MAX_CERTIFICATE", limits::MAX_CERTIFICATE),
        ("MAX_TICKET", limits::MAX_TICKET),
        ("KEY_BYTES", limits::KEY_BYTES),
        ("NONCE_BYTES", limits::NONCE_BYTES),
        ("MAX_ENC", limits::MAX_ENC),
        ("MAX_SEALED", limits::MAX_SEALED),
        ("MAX_CHILDREN", limits::MAX_CHILDREN),
        ("MAX_DESCENDANTS", limits::MAX_DESCENDANTS),
        ("MAX_PIPELINES", limits::MAX_PIPELINES),
        ("MAX_LABELS", limits::MAX_LABELS),
        ("MAX_MEDIA", limits::MAX_MEDIA),
        ("MAX_PARENTS", limits::MAX_PARENTS),
        ("MAX_TRACKS", limits::MAX_TRACKS),
        ("MAX_LAYERS", limits::MAX_LAYERS),
        ("MAX_SSRCS", limits::MAX_SSRCS),
        ("MAX_KEYS", limits::MAX_KEYS),
        ("MAX_REMOVALS", limits::MAX_REMOVALS),
        ("MAX_PATH", limits::MAX_PATH),
        ("MAX_CONTAINERS", limits::MAX_CONTAINERS),
        ("MAX_STATS", limits::MAX_STATS),
        ("MAX_STAT_NAME", limits::MAX_STAT_NAME),
        ("MAX_VIEWERS_PER_NODE", limits::MAX_VIEWERS_PER_NODE as usize),
    ] {
        let row = format!("| `{name}` | {value} |");
        assert!(document.contains(&row), "docs/protocol.md lacks the row {row}");
    }
}
