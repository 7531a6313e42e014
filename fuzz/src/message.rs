//! Control messages.

use soleil_protocol::message::{Body, ErrorReport};
use soleil_protocol::{Message, Millis};

/// Reads bytes as a control message. Whatever they are: no panic, what is read reads the same
/// after it was written, and what is refused gives an ERROR that can itself be read.
pub fn message_xml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Message::from_xml(text) {
        Ok(message) => {
            let written = message.to_xml();
            assert_eq!(Message::from_xml(&written).as_ref(), Ok(&message), "{written}");
        }
        Err(error) => {
            let body = Body::Error(ErrorReport::from(error));
            let answer = Message { time: Millis(0), from: None, to: None, body };
            let written = answer.to_xml();
            assert!(Message::from_xml(&written).is_ok(), "{written}");
        }
    }
}
