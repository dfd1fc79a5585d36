//! Wardlink app.
