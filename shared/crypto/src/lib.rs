//! Wardlink crypto.
