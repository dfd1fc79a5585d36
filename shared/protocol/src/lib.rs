//! Wardlink protocol.
