//! What messages can do for those who make them.

use super::{Body, Capacity, ChildsUpdate, ErrorCode, ErrorReport, Hello, Message, VERSION};
use crate::ids::{Incarnation, NodeId};
use crate::limits;

impl Hello {
    /// A HELLO that says nothing but a name, in our version.
    pub fn new(name: NodeId) -> Self {
        Self {
            name,
            server: None,
            client: None,
            pipelines: Vec::new(),
            version: VERSION,
            role: None,
            incarnation: Incarnation(0),
            capacity: Capacity::default(),
            region: String::new(),
            labels: Vec::new(),
            media: Vec::new(),
            http: None,
            csr: None,
            wrap_key: None,
            ticket: None,
            nonce: None,
            warm: false,
        }
    }
}

impl ChildsUpdate {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// Cuts it into parts that one message can carry ([`limits::MAX_CHILDREN`]), all removals
    /// before the first addition, as readers take them. Nothing comes out if it is empty.
    pub fn split(self) -> Vec<ChildsUpdate> {
        let mut parts: Vec<ChildsUpdate> = self
            .removed
            .chunks(limits::MAX_CHILDREN)
            .map(|removed| ChildsUpdate { added: Vec::new(), removed: removed.to_vec() })
            .collect();
        for added in self.added.chunks(limits::MAX_CHILDREN) {
            match parts.last_mut().filter(|part| part.added.is_empty()) {
                Some(part) => part.added = added.to_vec(),
                None => parts.push(ChildsUpdate { added: added.to_vec(), removed: Vec::new() }),
            }
        }
        parts
    }
}

impl ErrorReport {
    /// The report about a message that could not be handled. `None` if that message is an ERROR
    /// itself: errors are never answered, or two nodes could throw them at each other for ever.
    pub fn about(failed: &Message, code: ErrorCode, text: impl Into<String>) -> Option<Self> {
        (!matches!(failed.body, Body::Error(_))).then(|| Self {
            code,
            text: text.into(),
            failed_time: Some(failed.time),
            failed_type: failed.body.kind().to_owned(),
        })
    }
}
