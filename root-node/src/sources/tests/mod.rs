//! Tests of what is pure in sources.

mod reorder;
mod supervise;
mod timeline;
mod words;
