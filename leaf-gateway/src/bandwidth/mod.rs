//! How much a viewer's link carries, and what to send it. All pure: time is an argument, nothing is
//! sent from here.

pub mod twcc;
