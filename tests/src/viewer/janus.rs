//! The HTTP interface of Janus' streaming plugin, as far as watching needs it: a session, a handle,
//! Janus' offer, our answer, keepalives, and the end. Janus answers some requests by events, which
//! are asked for by a long poll.

use super::answer::AnsweringError;
use crate::http::{self, HttpError};
use serde::Deserialize;
use serde_json::{Value, json};

/// Plugin that sends one source to many viewers.
const PLUGIN: &str = "janus.plugin.streaming";
/// Long polls in which the awaited event may fail to come: Janus answers an idle one after 30 s, and
/// our HTTP client has given up before.
const MAX_POLLS: usize = 20;

/// Why Janus does not serve a viewer.
#[derive(Debug, thiserror::Error)]
pub(super) enum JanusError {
    /// No HTTP answer.
    #[error("Janus: {0}")]
    Http(#[from] HttpError),
    /// Not what Janus says.
    #[error("Janus: not its JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The gateway or the plugin refuses.
    #[error("Janus: {reason} ({code})")]
    Refused {
        /// Janus' number for it.
        code: i64,
        /// Janus' words.
        reason: String,
    },
    /// It says something else than what was asked.
    #[error("Janus: {0} instead of {1}")]
    Unexpected(String, &'static str),
    /// Its offer is of no use.
    #[error("Janus' offer: {0}")]
    Offer(#[from] AnsweringError),
}

/// A message of Janus, as far as we read it.
#[derive(Debug, Clone, Deserialize)]
struct Message {
    janus: String,
    #[serde(default)]
    transaction: Option<String>,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<Refusal>,
    #[serde(default)]
    plugindata: Option<PluginData>,
    #[serde(default)]
    jsep: Option<Jsep>,
}

#[derive(Debug, Clone, Deserialize)]
struct Data {
    id: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct Refusal {
    code: i64,
    reason: String,
}

#[derive(Debug, Clone, Deserialize)]
struct PluginData {
    data: PluginEvent,
}

#[derive(Debug, Clone, Deserialize)]
struct PluginEvent {
    #[serde(default)]
    error_code: Option<i64>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Jsep {
    #[serde(rename = "type")]
    kind: String,
    sdp: String,
}

impl Message {
    fn read(text: &[u8]) -> Result<Self, JanusError> {
        serde_json::from_slice::<Self>(text)?.checked()
    }

    /// The answer to a long poll: one message or several.
    fn read_events(text: &[u8]) -> Result<Vec<Self>, JanusError> {
        let value: Value = serde_json::from_slice(text)?;
        let list = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        list.into_iter().map(|value| Ok(serde_json::from_value(value)?)).collect()
    }

    /// Errors of the gateway and of the plugin.
    fn checked(self) -> Result<Self, JanusError> {
        if let Some(Refusal { code, reason }) = self.error {
            return Err(JanusError::Refused { code, reason });
        }
        let event = self.plugindata.as_ref().map(|p| &p.data);
        if let Some(code) = event.and_then(|e| e.error_code) {
            let reason = event.and_then(|e| e.error.clone()).unwrap_or_default();
            return Err(JanusError::Refused { code, reason });
        }
        Ok(self)
    }

    fn id(self) -> Result<u64, JanusError> {
        match self.data {
            Some(data) if self.janus == "success" => Ok(data.id),
            _ => Err(JanusError::Unexpected(self.janus, "success")),
        }
    }

    fn offer(self) -> Result<String, JanusError> {
        match self.jsep {
            Some(jsep) if jsep.kind == "offer" => Ok(jsep.sdp),
            Some(jsep) => Err(JanusError::Unexpected(jsep.kind, "offer")),
            None => Err(JanusError::Unexpected(self.janus, "offer")),
        }
    }
}

/// A viewer's session at Janus, with a handle of the streaming plugin.
#[derive(Debug)]
pub(super) struct Handle {
    session: String,
    handle: String,
}

impl Handle {
    /// Opens a session; `url` is that of the interface, like `http://localhost:8088/janus`.
    pub fn open(url: &str) -> Result<Self, String> {
        let open = || {
            let url = url.trim_end_matches('/');
            let id = post(url, &json!({ "janus": "create", "transaction": "create" }))?.id()?;
            let session = format!("{url}/{id}");
            let attach = json!({ "janus": "attach", "plugin": PLUGIN, "transaction": "attach" });
            let id = post(&session, &attach)?.id()?;
            let handle = format!("{session}/{id}");
            Ok::<_, JanusError>(Self { session, handle })
        };
        open().map_err(|error| error.to_string())
    }

    /// Asks for a mountpoint; gives Janus' offer.
    pub fn watch(&self, mountpoint: u64) -> Result<String, JanusError> {
        let body = json!({ "request": "watch", "id": mountpoint });
        self.request("watch", json!({ "body": body }))?.offer()
    }

    /// Sends the answer; media flow from now on.
    pub fn start(&self, answer: &str) -> Result<(), JanusError> {
        let jsep = json!({ "type": "answer", "sdp": answer });
        self.request("start", json!({ "body": { "request": "start" }, "jsep": jsep })).map(drop)
    }

    /// Janus ends sessions of which it hears nothing for a minute.
    pub fn keep(&self) -> Result<(), JanusError> {
        let keep = json!({ "janus": "keepalive", "transaction": "keepalive" });
        post(&self.session, &keep).map(drop)
    }

    /// Ends the session.
    pub fn leave(&self) -> Result<(), JanusError> {
        let destroy = json!({ "janus": "destroy", "transaction": "destroy" });
        post(&self.session, &destroy).map(drop)
    }

    /// A message to the plugin, and the event that answers it.
    fn request(&self, transaction: &str, mut message: Value) -> Result<Message, JanusError> {
        message["janus"] = "message".into();
        message["transaction"] = transaction.into();
        post(&self.handle, &message)?;
        for _ in 0..MAX_POLLS {
            let answer = http::request("GET", &format!("{}?maxev=10", self.session), &[], &[])?;
            for event in Message::read_events(&answer.body)? {
                if event.transaction.as_deref() == Some(transaction) {
                    return event.checked();
                }
                tracing::debug!(kind = event.janus, "event of Janus");
            }
        }
        Err(JanusError::Unexpected("other events".to_owned(), "the answer"))
    }
}

fn post(url: &str, message: &Value) -> Result<Message, JanusError> {
    let headers = [("Content-Type", "application/json")];
    let answer = http::request("POST", url, &headers, message.to_string().as_bytes())?;
    Message::read(&answer.body)
}

#[cfg(test)]
mod tests;
