//! The mechanism of Ringway.
