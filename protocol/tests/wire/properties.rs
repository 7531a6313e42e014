//! What holds for any message and for any text.

use crate::{samples, strategies};
use proptest::prelude::*;
use soleil_protocol::limits::{MAX_CHILDREN, MAX_MESSAGE, MAX_SENTENCE};
use soleil_protocol::message::*;
use soleil_protocol::{Incarnation, Message, Millis, NodeId};

/// What was read reads the same after it was written again.
fn stable(xml: &str) {
    if let Ok(message) = Message::from_xml(xml) {
        let written = message.to_xml();
        assert_eq!(Message::from_xml(&written).as_ref(), Ok(&message), "{xml}\n{written}");
    }
}

/// A change to a text: where (as a share of its length), how much to cut out, what to put in.
type Change = (f64, usize, String);

fn change() -> impl Strategy<Value = Change> {
    let pieces = vec![
        "<",
        ">",
        "</",
        "/>",
        "\"",
        "'",
        "&",
        ";",
        "=",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?x?>",
        "&lt;",
        "&#x",
        "&a;",
        "<!DOCTYPE",
        "^",
        "*",
        "-1",
        "NaN",
        "1e999",
        "99999999999999999999",
        "\u{0}",
        "\u{ffff}",
        "<a>",
        "</a>",
        "<message>",
        "</message>",
        "type=\"",
        "\n",
    ];
    let piece = prop_oneof![prop::sample::select(pieces).prop_map(str::to_owned), ".{0,3}",];
    (0.0..1.0f64, 0usize..12, piece)
}

fn mutate(xml: &str, changes: &[Change]) -> String {
    let mut characters: Vec<char> = xml.chars().collect();
    for (at, cut, piece) in changes {
        let start = (at * characters.len() as f64) as usize;
        let end = (start + cut).min(characters.len());
        characters.splice(start..end, piece.chars());
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_message_survives_write_then_read(message in strategies::message()) {
        let xml = message.to_xml();
        prop_assert_eq!(Message::from_xml(&xml), Ok(message), "{}", xml);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        stable(&text);
    }

    #[test]
    fn no_markup_makes_the_reader_panic(text in "[<>/&;=\"' !?\\[\\]#xa-cA-Z0-9-]{0,120}") {
        stable(&text);
        stable(&format!("<message type=\"bye\" time=\"1\">{text}</message>"));
    }

    #[test]
    fn no_mutation_makes_the_reader_panic(
        message in strategies::message(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        stable(&mutate(&message.to_xml(), &changes));
    }

    /// Text that XML cannot carry is replaced and clipped, and the message is still read.
    #[test]
    fn any_sentence_can_be_written(reason in any::<String>()) {
        let message = Message { time: Millis(1), from: None, to: None, body: Body::Bye(Bye { reason }) };
        let read = Message::from_xml(&message.to_xml());
        prop_assert!(read.is_ok(), "{:?}", read);
    }
}

#[test]
fn one_of_each_survives() {
    for (_, message) in samples::all() {
        let xml = message.to_xml();
        assert_eq!(Message::from_xml(&xml), Ok(message), "{xml}");
    }
}

#[test]
fn long_and_illegal_sentences_are_clipped_and_replaced() {
    for reason in
        ["é".repeat(MAX_SENTENCE), "\u{1}".repeat(MAX_SENTENCE), " x ".repeat(MAX_SENTENCE)]
    {
        let body = Body::Bye(Bye { reason });
        let message = Message { time: Millis(1), from: None, to: None, body };
        let read = Message::from_xml(&message.to_xml()).expect("still a message");
        assert!(matches!(read.body, Body::Bye(bye) if bye.reason.len() > MAX_SENTENCE - 3));
    }
}

/// The bound on children and the bound on bytes fit together, with the longest ids there are.
#[test]
fn the_largest_update_fits_and_longer_ones_are_split() {
    let long = |n: usize| NodeId::new(&format!("{n:0>64}")).expect("legal");
    let newest = Incarnation(u64::MAX);
    let nodes = 2 * MAX_CHILDREN + 1;
    let entry = |n| Child { id: long(n), incarnation: newest, parent: long(n), weight: u32::MAX };
    let update = ChildsUpdate {
        added: (0..nodes).map(entry).collect(),
        removed: (0..MAX_CHILDREN).map(|n| (long(n), newest)).collect(),
    };
    let parts = update.clone().split();
    assert_eq!(parts.len(), 3);
    let mut joined = ChildsUpdate::default();
    for part in parts {
        let body = Body::ChildsUpdate(part);
        let message = Message { time: Millis(u64::MAX), from: None, to: None, body };
        let xml = message.to_xml();
        assert!(xml.len() <= MAX_MESSAGE, "{}", xml.len());
        let Body::ChildsUpdate(part) = Message::from_xml(&xml).expect("within limits").body else {
            panic!("another type");
        };
        joined.added.extend(part.added);
        joined.removed.extend(part.removed);
    }
    assert_eq!(joined, update);
    assert!(ChildsUpdate::default().split().is_empty());
    let swapped = ChildsUpdate {
        added: update.added[..1].to_vec(),
        removed: (0..nodes).map(|n| (long(n), newest)).collect(),
    };
    let parts: Vec<_> =
        swapped.split().iter().map(|part| (part.removed.len(), part.added.len())).collect();
    assert_eq!(parts, [(MAX_CHILDREN, 0), (MAX_CHILDREN, 0), (1, 1)]);
}

#[test]
fn neighbours_speak_the_lower_version() {
    assert_eq!(common_version(VERSION), Some(VERSION));
    assert_eq!(common_version(VERSION + 1), Some(VERSION));
    assert_eq!(common_version(VERSION - 1), Some(VERSION - 1));
    assert_eq!(common_version(VERSION + 2), None);
}
