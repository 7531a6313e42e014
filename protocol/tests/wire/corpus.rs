//! Every file of the fuzz target's corpus, in the ordinary test run. What the fuzzer once found is
//! in there too and stays found.

use crate::samples;
use soleil_protocol::Message;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/message_xml")
}

#[test]
fn every_file_is_read_without_panic_and_stable() {
    let mut files = 0;
    for entry in std::fs::read_dir(corpus()).expect("the corpus is there") {
        let path = entry.expect("a file").path();
        let bytes = std::fs::read(&path).expect("readable");
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(message) = Message::from_xml(&text) {
            let again = Message::from_xml(&message.to_xml());
            assert_eq!(again.as_ref(), Ok(&message), "{}", path.display());
        }
        files += 1;
    }
    assert!(files >= 30, "{files} files");
}

/// One of each type is in the corpus, as it is written today. With `UPDATE_EXPECT` set the files
/// are written.
#[test]
fn one_of_each_type_is_there() {
    for (heading, message) in samples::all() {
        let name = heading.to_lowercase().replace(' ', "-");
        let path = corpus().join(format!("type-{name}.xml"));
        if samples::updating() {
            std::fs::write(&path, message.to_xml()).expect("writable");
        }
        let xml = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(xml, message.to_xml(), "UPDATE_EXPECT=1 writes {}", path.display());
    }
}
