//! How much a viewer's link carries, and what to send it: reader of transport-wide feedback
//! ([`twcc`]), estimator ([`gcc`]), probing ([`probe`]). All pure: time is an argument, nothing is
//! sent from here.

pub mod gcc;
pub mod probe;
pub mod twcc;
