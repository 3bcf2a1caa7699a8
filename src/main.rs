//! The command line of Ringway.

fn main() {}
