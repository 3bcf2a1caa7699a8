//! The mechanism of Ringway.

pub mod route;
pub mod template;
