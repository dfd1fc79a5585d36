//! Wardlink bridge.
