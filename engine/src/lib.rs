//! The mechanism of Ringway.

pub mod balance;
pub mod http1;
pub mod message;
pub mod route;
pub mod template;
