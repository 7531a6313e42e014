//! Tests of what is pure in sources.

mod supervise;
