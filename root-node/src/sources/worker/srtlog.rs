//! Why an SRT caller was refused. `srtsrc` has a signal for callers that it refuses itself, but one with
//! a wrong passphrase is refused by libsrt, which tells its log only, and GStreamer's debug log has that.

use super::bridge::{Bridge, Event};
use gstreamer as gst;
use std::sync::Arc;

/// The category of GStreamer's log in which libsrt's lines are.
const CATEGORY: &str = "srtlib";
/// What libsrt writes in front of the reason (libsrt 1.4 and 1.5).
const REFUSED: &str = "rsp(REJECT): ";
/// Who wants GStreamer's debug log sees it, on the standard error.
const DEBUG: &str = "GST_DEBUG";

/// Makes remarks of callers that are refused.
pub fn listen(bridge: &Arc<Bridge>) {
    if std::env::var_os(DEBUG).is_none() {
        gst::log::remove_default_log_function();
    }
    gst::log::set_threshold_for_name(CATEGORY, gst::DebugLevel::Info);
    let to = Arc::downgrade(bridge);
    gst::log::add_log_function(move |category, _, _, _, _, _, message| {
        if category.name() != CATEGORY {
            return;
        }
        let message = message.get().map(|m| m.to_string()).unwrap_or_default();
        if let (Some(why), Some(bridge)) = (reason(&message), to.upgrade()) {
            bridge.tell(Event::Remark(format!("an SRT caller was refused: {why}")));
        }
    });
}

/// The reason out of a line like `...: rsp(REJECT): 1010 - Incorrect passphrase`.
pub(super) fn reason(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(REFUSED)?;
    Some(rest.split_once(" - ").map_or(rest, |(_, why)| why).trim())
}
