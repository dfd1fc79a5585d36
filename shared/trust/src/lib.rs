//! Wardlink trust.
