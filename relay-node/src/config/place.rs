//! Where in a TOML file something stands: offsets to lines and keys, keys to lines.

use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// The line of a byte offset, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The dotted key whose name or value is at an offset; `None` if the file cannot be parsed.
pub fn key_at(text: &str, offset: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut best: Option<(usize, String)> = None;
    walk(table.get_ref(), "", &mut |key, spans| {
        for span in spans {
            let narrower = best.as_ref().is_none_or(|(length, _)| span.len() <= *length);
            if span.contains(&offset) && narrower {
                best = Some((span.len(), key.to_string()));
            }
        }
    });
    best.map(|(_, key)| key)
}

/// The line on which a dotted key is set, from 1.
pub fn line_of_key(text: &str, wanted: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut found = None;
    walk(table.get_ref(), "", &mut |key, spans| {
        if key == wanted && found.is_none() {
            found = Some(line_of(text, spans[0].start));
        }
    });
    found
}

/// Visits every key with the spans of its name and its value.
fn walk(table: &DeTable<'_>, prefix: &str, visit: &mut impl FnMut(&str, [Range<usize>; 2])) {
    for (name, value) in table.iter() {
        let key = match prefix {
            "" => name.get_ref().to_string(),
            _ => format!("{prefix}.{}", name.get_ref()),
        };
        visit(&key, [name.span(), value.span()]);
        walk_value(value.get_ref(), &key, visit);
    }
}

fn walk_value(value: &DeValue<'_>, key: &str, visit: &mut impl FnMut(&str, [Range<usize>; 2])) {
    match value {
        DeValue::Table(table) => walk(table, key, visit),
        DeValue::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let key = format!("{key}[{i}]");
                visit(&key, [item.span(), item.span()]);
                walk_value(item.get_ref(), &key, visit);
            }
        }
        _ => {}
    }
}
