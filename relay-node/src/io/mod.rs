//! Everything that touches sockets: the UDP port and its thread, the control links and the
//! driver that runs a control core. No decision is made here (DESIGN 2).

pub mod udp;
