//! Wardlink worker.
