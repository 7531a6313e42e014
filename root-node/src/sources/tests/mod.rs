//! Tests of what is pure in sources.

mod reorder;
mod rtmp;
mod supervise;
mod timeline;
mod words;
