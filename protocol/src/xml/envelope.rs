//! The envelope: `<message type time from to>`, and which body belongs to which type.

use super::error::{Fault, XmlError};
use super::tree::{self, Element};
use super::write::{Attributes, Out};
use super::{nodes, statistics, streams};
use crate::address::Address;
use crate::limits;
use crate::message::{Body, Message};
use crate::text::clip;
use crate::time::Millis;
use std::fmt::Display;

impl Message {
    /// The message as XML. What XML cannot carry (control characters) is replaced by U+FFFD and
    /// sentences are clipped to their bound; lists are written whole, so keep them within
    /// [`crate::limits`] or the receiver refuses them.
    pub fn to_xml(&self) -> String {
        let mut attributes: Vec<(&'static str, &dyn Display)> = Vec::with_capacity(4);
        let kind = self.body.kind();
        attributes.push(("type", &kind));
        attributes.push(("time", &self.time.0));
        if let Some(from) = &self.from {
            attributes.push(("from", from));
        }
        if let Some(to) = &self.to {
            attributes.push(("to", to));
        }
        document(&attributes, &self.body)
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`XmlError`] tells malformed from over a limit from an unknown type; it converts into the
    /// [`crate::message::ErrorReport`] for the sender.
    pub fn from_xml(xml: &str) -> Result<Message, XmlError> {
        let root = tree::parse(xml).map_err(|broken| {
            let root = broken.root.unwrap_or_default();
            broken.fault.about(time_of(&root), root.attribute("type").unwrap_or_default())
        })?;
        let about =
            |fault: Fault| fault.about(time_of(&root), root.attribute("type").unwrap_or_default());
        if &*root.name != "message" {
            return Err(about(Fault::Malformed("the element at the top is not message".into())));
        }
        let kind: String = root.need("type").map_err(about)?;
        let time = Millis(root.need("time").map_err(about)?);
        let from: Option<Address> = root.parse("from").map_err(about)?;
        let to: Option<Address> = root.parse("to").map_err(about)?;
        if from == Some(Address::All) {
            return Err(about(Fault::Malformed("a message cannot be from everybody".into())));
        }
        if from == Some(Address::Root) && to == Some(Address::Root) {
            return Err(about(Fault::Malformed("a message from the root to the root".into())));
        }
        match body(&kind, &root).map_err(about)? {
            Some(body) => Ok(Message { time, from, to, body }),
            None => {
                let kind = clip(&kind, limits::MAX_TYPE).to_owned();
                Err(XmlError::UnknownType { kind, time, from, to })
            }
        }
    }
}

fn time_of(root: &Element) -> Option<Millis> {
    root.attribute("time").and_then(|text| text.parse().ok()).map(Millis)
}

fn document(attributes: Attributes<'_>, body: &Body) -> String {
    let mut out = Out::default();
    out.element("message", attributes, |out| match body {
        Body::Hello(hello) => nodes::write_hello(out, hello),
        Body::Bye(bye) => nodes::write_bye(out, bye),
        Body::ChildsUpdate(update) => nodes::write_childs_update(out, update),
        Body::Error(report) => nodes::write_error(out, report),
        Body::Kill(kill) => nodes::write_kill(out, kill),
        Body::Ping(echo) | Body::Pong(echo) => nodes::write_echo(out, echo),
        Body::Redirect(redirect) => nodes::write_redirect(out, redirect),
        Body::PipeDef(pipe_def) => streams::write_pipe_def(out, pipe_def),
        Body::PipeDefInfo(info) => streams::write_pipe_def_info(out, info),
        Body::PlayPipeline(play) => streams::write_play(out, play),
        Body::StopPipeline(stop) => streams::write_stop(out, stop),
        Body::RemovePipeline(remove) => streams::write_remove(out, remove),
        Body::RoutePipeline(route) => streams::write_route(out, route),
        Body::Stats(containers) => statistics::write_stats(out, containers),
        Body::ReqFullStats(request) => statistics::write_request(out, request),
        Body::FullStats(full) => statistics::write_full(out, full),
    });
    out.into_string()
}

fn body(kind: &str, root: &Element) -> Result<Option<Body>, Fault> {
    Ok(Some(match kind {
        "hello" => Body::Hello(Box::new(nodes::read_hello(root)?)),
        "bye" => Body::Bye(nodes::read_bye(root)?),
        "childsupdate" => Body::ChildsUpdate(nodes::read_childs_update(root)?),
        "error" => Body::Error(nodes::read_error(root)?),
        "kill" => Body::Kill(nodes::read_kill(root)?),
        "ping" => Body::Ping(nodes::read_echo(root)?),
        "pong" => Body::Pong(nodes::read_echo(root)?),
        "redirect" => Body::Redirect(Box::new(nodes::read_redirect(root)?)),
        "pipedef" => Body::PipeDef(streams::read_pipe_def(root)?),
        "pipedefinfo" => Body::PipeDefInfo(streams::read_pipe_def_info(root)?),
        "playpipeline" => Body::PlayPipeline(streams::read_play(root)?),
        "stoppipeline" => Body::StopPipeline(streams::read_stop(root)?),
        "removepipeline" => Body::RemovePipeline(streams::read_remove(root)?),
        "routepipeline" => Body::RoutePipeline(streams::read_route(root)?),
        "stats" => Body::Stats(statistics::read_stats(root)?),
        "reqfullstats" => Body::ReqFullStats(statistics::read_request(root)?),
        "fullstats" => Body::FullStats(statistics::read_full(root)?),
        _ => return Ok(None),
    }))
}
