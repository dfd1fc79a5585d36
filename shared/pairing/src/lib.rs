//! Wardlink pairing.
