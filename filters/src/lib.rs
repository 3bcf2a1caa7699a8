//! The policy of Ringway: one file a filter.
