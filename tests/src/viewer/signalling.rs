//! How a viewer and a server find together: the viewer offers (WHEP) or the server does (Janus). One
//! blocking exchange for a join; what it leaves at the server is ended, and kept, through [`Place`].

use super::answer::Answering;
use super::bridge::Bridge;
use super::janus::{self, Handle};
use super::{Options, Signalling};
use crate::http;

/// What a viewer says to a server.
#[derive(Debug, Clone)]
pub(super) struct Hello {
    /// Its offer.
    pub offer: String,
    /// What it answers from, if the server offers.
    pub answering: Answering,
}

/// What the server said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Description {
    /// It answered the viewer's offer.
    Answer(String),
    /// It offers; the viewer's answer is on its way.
    Offer(String),
}

/// What a viewer has at a server.
#[derive(Debug)]
pub(super) enum Place {
    /// A WHEP session.
    Whep {
        /// Its URL, if the server gave one.
        location: Option<String>,
        /// Of a viewer over TCP; it ends with this.
        _bridge: Option<Bridge>,
    },
    /// A session of Janus.
    Janus(Handle),
}

impl Place {
    /// The URL of a WHEP session.
    pub fn location(&self) -> Option<&str> {
        match self {
            Self::Whep { location, .. } => location.as_deref(),
            Self::Janus(_) => None,
        }
    }

    /// Tells a server that wants to be told that the viewer is still there.
    pub fn keep(&self) {
        if let Self::Janus(handle) = self
            && let Err(error) = handle.keep()
        {
            tracing::warn!(%error, "keepalive");
        }
    }

    /// Leaves properly; whether the server agrees.
    pub fn leave(&self) -> bool {
        match self {
            Self::Whep { location: Some(location), .. } => {
                http::request("DELETE", location, &[], &[])
                    .is_ok_and(|answer| (200..300).contains(&answer.status))
            }
            Self::Whep { location: None, .. } => false,
            Self::Janus(handle) => handle.leave().is_ok(),
        }
    }
}

/// Joins. `told` gets the server's description as soon as the viewer can begin with it.
pub(super) fn join(
    url: &str,
    hello: &Hello,
    options: &Options,
    mut told: impl FnMut(Description),
) -> Result<Place, String> {
    match options.signalling {
        Signalling::Whep => {
            let (mut sdp, location) = post(url, &hello.offer, options)?;
            let mut bridge = None;
            if options.tcp {
                let (made, through) = Bridge::before(&sdp)?;
                (bridge, sdp) = (Some(made), through);
            }
            told(Description::Answer(sdp));
            Ok(Place::Whep { location, _bridge: bridge })
        }
        Signalling::Janus { mountpoint } => {
            let handle = Handle::open(url)?;
            let watched = watch(&handle, mountpoint, hello, told);
            if watched.is_err() {
                // The first reason counts.
                let _ = handle.leave();
            }
            watched.map(|()| Place::Janus(handle)).map_err(|error| error.to_string())
        }
    }
}

fn watch(
    handle: &Handle,
    mountpoint: u64,
    hello: &Hello,
    mut told: impl FnMut(Description),
) -> Result<(), janus::JanusError> {
    let offer = handle.watch(mountpoint)?;
    let answer = hello.answering.to_sdp(&offer)?;
    // Before Janus has the answer: it checks the path at once.
    told(Description::Offer(offer));
    handle.start(&answer)
}

/// Posts an offer; gives the answer and where the session is.
fn post(url: &str, offer: &str, options: &Options) -> Result<(String, Option<String>), String> {
    let bearer = options.token.as_ref().map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Content-Type", "application/sdp"), ("Accept", "application/sdp")];
    headers.extend(bearer.as_deref().map(|value| ("Authorization", value)));
    let response =
        http::follow("POST", url, &headers, offer.as_bytes()).map_err(|e| e.to_string())?;
    if response.status != 201 {
        let text = response.text();
        return Err(format!("HTTP {} {}", response.status, text.trim()));
    }
    let location = response
        .header("location")
        .and_then(|location| http::resolve(&response.url, location).ok());
    Ok((response.text(), location))
}
