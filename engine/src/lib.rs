//! The mechanism of Ringway.

pub mod balance;
pub mod route;
pub mod template;
