//! How much a viewer's link carries, and what to send it: reader of transport-wide feedback
//! ([`twcc`]), estimator ([`gcc`]), probing ([`probe`]), choice of layers ([`choice`]) by what they
//! take ([`meter`]). All pure: time is an argument, nothing is sent from here.

pub mod choice;
pub mod gcc;
pub mod meter;
pub mod pilot;
pub mod probe;
pub mod twcc;
