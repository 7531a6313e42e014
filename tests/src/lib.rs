//! Everything that tests Soleil from outside: the test picture and the broadcaster that sends it,
//! the link emulator, the headless viewer, and the harness that starts a tree of real processes.
//! Nothing here is part of a running system.

pub mod picture;
