//! The file of Ringway: text → Config.
