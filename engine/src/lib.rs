//! The mechanism of Ringway.

pub mod http1;
pub mod message;
