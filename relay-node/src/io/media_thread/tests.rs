//! Two media threads on real sockets.
