//! Real sockets on loopback with a small test core.
