//! The messages that manage streams: PIPEDEF, PIPEDEFINFO, PLAYPIPELINE, STOPPIPELINE,
//! REMOVEPIPELINE, ROUTEPIPELINE.

use super::error::Fault;
use super::nodes::{read_removed, read_wrapped, write_removed, write_wrapped};
use super::read::bounded;
use super::tree::Element;
use super::write::{Attributes, Out};
use crate::ids::{PacketIndex, Ssrc};
use crate::limits;
use crate::message::{LayerInfo, PipeDef, PipeDefInfo, Play, RemovePipeline, RoutePipeline, Stop};
use crate::pipeline::{Codec, EpochKey, Layer, PipelineDef, Track};
use std::collections::BTreeSet;

const SSRCS: (&str, usize) = ("layers", limits::MAX_SSRCS);

pub(super) fn write_pipe_def(out: &mut Out, pipe_def: &PipeDef) {
    let PipelineDef { id, name, live, tracks } = &pipe_def.def;
    out.element("pipeline", &[("id", id), ("live", live)], |out| {
        out.words("name", name, limits::MAX_STREAM_NAME);
        tracks.iter().for_each(|track| write_track(out, track));
    });
    out.nested("keys", &pipe_def.keys, |out, key| {
        out.element("key", &[("epoch", &key.epoch)], |out| write_wrapped(out, &key.key));
    });
    write_removed(out, &pipe_def.removed);
}

fn write_track(out: &mut Out, track: &Track) {
    let codec = track.codec.name();
    let attributes: Attributes<'_> = &[
        ("name", &track.name),
        ("codec", &codec),
        ("clockRate", &track.clock_rate),
        ("channels", &track.channels),
    ];
    out.element("track", attributes, |out| {
        out.words("fmtp", &track.fmtp, limits::MAX_FMTP);
        for layer in &track.layers {
            let mut attributes: Vec<(&'static str, &dyn std::fmt::Display)> =
                vec![("ssrc", &layer.ssrc), ("payloadType", &layer.payload_type)];
            if let Some(width) = &layer.width {
                attributes.push(("width", width));
            }
            if let Some(height) = &layer.height {
                attributes.push(("height", height));
            }
            if let Some(bitrate) = &layer.bitrate {
                attributes.push(("bitrate", bitrate));
            }
            if let Some(scalability) = &layer.scalability {
                attributes.push(("scalability", scalability));
            }
            out.empty("layer", &attributes);
        }
    });
}

pub(super) fn read_pipe_def(root: &Element) -> Result<PipeDef, Fault> {
    let pipeline = root.child("pipeline")?;
    let name = pipeline.words("name", limits::MAX_STREAM_NAME)?;
    if name.is_empty() {
        return Err(Fault::missing("name"));
    }
    let mut tracks = Vec::new();
    for track in pipeline.list("track", "tracks", limits::MAX_TRACKS)? {
        tracks.extend(read_track(track)?);
    }
    let def = PipelineDef { id: pipeline.need("id")?, name, live: pipeline.need("live")?, tracks };
    let mut seen = BTreeSet::new();
    if !def.ssrcs().all(|ssrc| seen.insert(ssrc)) {
        return Err(Fault::Malformed("two layers have one ssrc".into()));
    }
    if seen.len() > limits::MAX_SSRCS {
        return Err(Fault::Limit(SSRCS.0, SSRCS.1));
    }
    let key = |element: &Element| {
        Ok(EpochKey { epoch: element.need("epoch")?, key: read_wrapped(element)? })
    };
    let keys = root.nested(("keys", "key"), ("keys", limits::MAX_KEYS), key)?;
    let removed = read_removed(root, ("removed nodes", limits::MAX_REMOVALS))?;
    Ok(PipeDef { def, keys, removed })
}

/// `None` for a codec that a later version brought: the rest of the pipeline is still of use.
fn read_track(track: &Element) -> Result<Option<Track>, Fault> {
    let name: String = track.need("name")?;
    bounded(&name, "track name", limits::MAX_WORD)?;
    if name.is_empty() {
        return Err(Fault::value("name", &name));
    }
    let clock_rate = track.need("clockRate")?;
    if clock_rate == 0 {
        return Err(Fault::value("clockRate", "0"));
    }
    let Some(codec) = Codec::from_name(&track.need::<String>("codec")?) else { return Ok(None) };
    let layers: Vec<Layer> = track
        .list("layer", "layers of a track", limits::MAX_LAYERS)?
        .map(read_layer)
        .collect::<Result<_, _>>()?;
    if layers.is_empty() {
        return Err(Fault::missing("layer"));
    }
    Ok(Some(Track {
        name,
        codec,
        clock_rate,
        channels: track.parse("channels")?.unwrap_or(0),
        fmtp: track.words("fmtp", limits::MAX_FMTP)?,
        layers,
    }))
}

fn read_layer(layer: &Element) -> Result<Layer, Fault> {
    let payload_type: u8 = layer.need("payloadType")?;
    // 64-95 would be taken for RTCP (RFC 5761 section 4).
    if payload_type > 127 || (64..=95).contains(&payload_type) {
        return Err(Fault::value("payloadType", &payload_type.to_string()));
    }
    Ok(Layer {
        ssrc: layer.need("ssrc")?,
        payload_type,
        width: layer.parse("width")?,
        height: layer.parse("height")?,
        bitrate: layer.parse("bitrate")?,
        // A mode that a later version has brought says nothing here.
        scalability: layer.attribute("scalability").and_then(|name| name.parse().ok()),
    })
}

/// A packet index that fits into 48 bits.
fn index(index: PacketIndex) -> Result<PacketIndex, Fault> {
    if index > PacketIndex::MAX {
        return Err(Fault::value("packet index", &index.to_string()));
    }
    Ok(index)
}

pub(super) fn write_pipe_def_info(out: &mut Out, info: &PipeDefInfo) {
    out.leaf("pipeid", info.pipeline);
    out.leaf("state", info.state);
    out.nested("layers", &info.layers, |out, layer| {
        let LayerInfo { ssrc, last, first, epoch } = layer;
        out.empty("layer", &[("ssrc", ssrc), ("first", first), ("last", last), ("epoch", epoch)]);
    });
}

pub(super) fn read_pipe_def_info(root: &Element) -> Result<PipeDefInfo, Fault> {
    let layer = |element: &Element| {
        Ok(LayerInfo {
            ssrc: element.need("ssrc")?,
            last: index(element.need("last")?)?,
            first: index(element.need("first")?)?,
            epoch: element.need("epoch")?,
        })
    };
    Ok(PipeDefInfo {
        pipeline: root.need_leaf("pipeid")?,
        state: root.need_leaf("state")?,
        layers: root.nested(("layers", "layer"), SSRCS, layer)?,
    })
}

pub(super) fn write_play(out: &mut Out, play: &Play) {
    out.leaf("pipeid", play.pipeline);
    out.nested("layers", &play.layers, |out, (ssrc, from)| match from {
        Some(from) => out.empty("layer", &[("ssrc", ssrc), ("from", from)]),
        None => out.empty("layer", &[("ssrc", ssrc)]),
    });
}

pub(super) fn read_play(root: &Element) -> Result<Play, Fault> {
    let layer = |element: &Element| {
        Ok((element.need::<Ssrc>("ssrc")?, element.parse("from")?.map(index).transpose()?))
    };
    Ok(Play {
        pipeline: root.need_leaf("pipeid")?,
        layers: root.nested(("layers", "layer"), SSRCS, layer)?,
    })
}

pub(super) fn write_stop(out: &mut Out, stop: &Stop) {
    out.leaf("pipeid", stop.pipeline);
    out.nested("layers", &stop.layers, |out, ssrc| out.empty("layer", &[("ssrc", ssrc)]));
}

pub(super) fn read_stop(root: &Element) -> Result<Stop, Fault> {
    Ok(Stop {
        pipeline: root.need_leaf("pipeid")?,
        layers: root.nested(("layers", "layer"), SSRCS, |layer| layer.need("ssrc"))?,
    })
}

pub(super) fn write_remove(out: &mut Out, remove: &RemovePipeline) {
    out.leaf("pipeid", remove.pipeline);
    out.words("reason", &remove.reason, limits::MAX_SENTENCE);
}

pub(super) fn read_remove(root: &Element) -> Result<RemovePipeline, Fault> {
    Ok(RemovePipeline {
        pipeline: root.need_leaf("pipeid")?,
        reason: root.words("reason", limits::MAX_SENTENCE)?,
    })
}

pub(super) fn write_route(out: &mut Out, route: &RoutePipeline) {
    out.leaf("pipeid", route.pipeline);
    out.nested("path", &route.path, |out, node| out.leaf("node", node));
}

pub(super) fn read_route(root: &Element) -> Result<RoutePipeline, Fault> {
    Ok(RoutePipeline {
        pipeline: root.need_leaf("pipeid")?,
        path: root.nested(("path", "node"), ("path", limits::MAX_PATH), Element::value)?,
    })
}
