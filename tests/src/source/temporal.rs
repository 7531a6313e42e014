//! Three temporal layers out of the VP8 encoder: frames that later ones build upon, frames that
//! only the layer above builds upon, and every second frame one that nothing builds upon. A
//! receiver may leave the upper layers out and has half or a quarter of the frames.

use gstreamer::glib::ValueArray;
use gstreamer::{Element, prelude::*};

/// What each frame of eight builds upon and is kept for. Layer 0 is kept as the last frame, layer 1
/// as the golden frame, layer 2 not at all. In the first half layers 1 and 2 build upon layer 0 alone
/// (`true`: a receiver may take them up there), then upon their own past as well.
const PATTERN: [(i32, bool, &str); 8] = [
    (0, false, BASE),
    (2, true, "no-ref-golden+no-ref-alt+no-upd-last+no-upd-golden+no-upd-alt"),
    (1, true, "no-ref-golden+no-ref-alt+no-upd-last+no-upd-alt"),
    (2, false, TOP),
    (0, false, BASE),
    (2, false, TOP),
    (1, false, "no-ref-alt+no-upd-last+no-upd-alt"),
    (2, false, TOP),
];
const BASE: &str = "no-ref-golden+no-ref-alt+no-upd-golden+no-upd-alt";
const TOP: &str = "no-ref-alt+no-upd-last+no-upd-golden+no-upd-alt+no-upd-entropy";

/// Sets the encoder up for three temporal layers of so many bits per second together.
pub(super) fn set_up(encoder: &Element, bitrate: u32) {
    let flags = PATTERN.map(|(_, _, flags)| format!("(GstVPXEncTsLayerFlags){flags}"));
    let bitrate = i32::try_from(bitrate).unwrap_or(i32::MAX);
    let part = |percent: i32| bitrate / 100 * percent;
    encoder.set_property("temporal-scalability-number-layers", 3);
    encoder.set_property("temporal-scalability-periodicity", PATTERN.len() as i32);
    encoder.set_property("temporal-scalability-layer-id", numbers(PATTERN.map(|(id, _, _)| id)));
    encoder.set_property("temporal-scalability-rate-decimator", numbers([4, 2, 1]));
    // Each layer's number counts those below it.
    let bitrates = numbers([part(40), part(60), part(100)]);
    encoder.set_property("temporal-scalability-target-bitrate", bitrates);
    encoder.set_property_from_str("temporal-scalability-layer-flags", &array(&flags));
    let sync = array(&PATTERN.map(|(_, sync, _)| sync));
    encoder.set_property_from_str("temporal-scalability-layer-sync-flags", &sync);
}

fn array(values: &[impl ToString]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("<{}>", values.join(","))
}

fn numbers<const N: usize>(numbers: [i32; N]) -> ValueArray {
    ValueArray::from_values(numbers.map(|n| n.to_value()))
}
