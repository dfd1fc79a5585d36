//! Wardlink tests.
